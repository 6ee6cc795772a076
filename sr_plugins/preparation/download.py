"""Fetching the published archives of DIV2K, over connections that may be cut.

What was fetched is in `<out>/DIV2K/downloads`: `NAME.zip.part` grows until it is whole
and becomes `NAME.zip`, and beside it `NAME.zip.part.json` remembers which version of
the file on the server it is. `NAME.json` remembers the images of an archive that was
unpacked.
"""

import json
import os
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, build_opener, getproxies, proxy_bypass

from tqdm import tqdm

from .archives import CHUNK, check_space, show_bytes, unpack_images
from .images import PART_SUFFIX, write_text
from .runner import Report

DIV2K_URL = 'http://data.vision.ee.ethz.ch/cvl/DIV2K/'
PUBLISHED_SCALES = (2, 3, 4)
# Seconds, to connect and for each read.
TIMEOUT = 30.0
# Seconds before a connection that was cut is tried again. The count starts anew
# when a try brought this many bytes.
WAITS = (1.0, 3.0, 10.0, 30.0)
PROGRESS = 1 << 20
_NO_HEAD = (405, 501)
_NO_SUCH_RANGE = 416


@dataclass(frozen=True)
class Archive:
    """A published zip of images.

    Attributes:
        name: Its name without suffix.
        folder: The folder that all its images are in.
    """

    name: str
    folder: str


def download_div2k(
    out: Path,
    scales: Sequence[int] = PUBLISHED_SCALES,
    url: str = DIV2K_URL,
    keep_archives: bool = False,
) -> Report:
    """Fetch DIV2K and unpack it as `out`/DIV2K.

    An archive that is in `out`/DIV2K/downloads already is used as it is.

    Args:
        out: Where the folder `DIV2K` goes.
        scales: Those of the low-resolution images: 2, 3 and 4 are published.
        url: The folder of the archives on a server.
        keep_archives: Whether the archives stay when their images are there.

    Raises:
        ValueError: A scale is not published, `url` is no address of the web, or an
            archive is damaged or holds what does not belong there.
        ConnectionError: The server does not give a file.
        OSError: The disk is too small, or writing failed.
    """
    archives = _published(scales)
    if urlsplit(url).scheme not in ('http', 'https') or not urlsplit(url).hostname:
        raise ValueError(
            'Expected `url` to start with http:// or https:// and the name of a '
            f'server, but got {url}.'
        )
    url = url.rstrip('/') + '/'
    root = out / 'DIV2K'
    downloads = root / 'downloads'
    report = Report()
    pending = []
    for archive in archives:
        names = _read_json(downloads / f'{archive.name}.json').get('names', [])
        missing = [n for n in names if not (root / archive.folder / n).exists()]
        if missing:
            _say(f'{len(missing)} images are missing in {root / archive.folder}.')
        if missing or not names:
            pending.append(archive)
        else:
            _count(report, root / archive.folder, names, made=0)

    absent = [a for a in pending if not _zip(downloads, a).exists()]
    # First what needs no server, so that closed networks do not stop it.
    for archive in pending:
        if archive not in absent:
            _unpack(archive, root, keep_archives, report)
    if absent:
        _announce(url, absent, root, keep_archives)
    for archive in absent:
        path = _zip(downloads, archive)
        fetch(url + path.name, path)
        _unpack(archive, root, keep_archives, report)
    if absent:
        report.notes.append(f'{len(absent)} archives fetched from {url}.')
    report.notes.append(
        f'{report.made + report.kept} images of {len(archives)} archives in {root}.'
    )
    return report


def fetch(url: str, path: Path) -> None:
    """Fetch a file, going on with what an earlier call left of it.

    Args:
        url: Address of the file.
        path: Where it goes, when it is whole.

    Raises:
        ConnectionError: The server does not give the file, or cuts the connection
            again and again. What was fetched is kept.
        OSError: The disk is too small, or writing failed.
    """
    part = _part(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    failures, furthest = 0, _size(part)
    while True:
        try:
            _fetch_rest(url, part)
            break
        except _Failure as failure:
            if _size(part) >= furthest + PROGRESS:
                failures, furthest = 0, _size(part)
            if not failure.passes or failures == len(WAITS):
                raise _unreachable(url, [path], failure) from failure
            wait = WAITS[failures]
            failures += 1
            _say(f'{path.name}: {failure}. Trying again in {wait:g} s.')
            time.sleep(wait)
    os.replace(part, path)
    _note(part).unlink(missing_ok=True)


class _Failure(Exception):
    """A server, or the way to it, failed; `code` is what HTTP says, if it does."""

    def __init__(self, reason: object, code: int | None = None) -> None:
        super().__init__(str(reason) or repr(reason))
        self.code = code

    @property
    def passes(self) -> bool:
        """Tell whether another try may do better."""
        return self.code is None or self.code >= 500 or self.code in (408, 429)


def _fetch_rest(url: str, part: Path) -> None:
    """Make `part` whole, from its present end where that is possible.

    Raises:
        _Failure: The connection failed; `part` has what came until then.
    """
    known = _read_json(_note(part))
    version, total, have = known.get('version'), known.get('bytes'), _size(part)
    if have and have == total:
        return
    # Without its version the rest might be that of another file.
    if have and version and (total is None or have < total):
        headers = {'Range': f'bytes={have}-', 'If-Range': version}
        with _open(url, headers=headers) as response:
            if response.status == 200:
                _receive_whole(response, part)
                return
            start, new_total = _content_range(response)
            total = total or new_total
            if response.status == _NO_SUCH_RANGE and have == total:
                return
            same = _version(response) in (None, version) and new_total in (None, total)
            if response.status == 206 and start == have and same:
                _receive(response, part, have, total)
                return
    with _open(url) as response:
        _receive_whole(response, part)


def _receive_whole(response: HTTPResponse, part: Path) -> None:
    if response.status != 200:
        raise _Failure(f'{response.status} {response.reason}', response.status)
    total = _content_length(response)
    # In this order: a part must never have the note of another version.
    part.unlink(missing_ok=True)
    note = {'version': _version(response), 'bytes': total}
    write_text(_note(part), json.dumps(note))
    _receive(response, part, 0, total)


def _receive(response: HTTPResponse, part: Path, have: int, total: int | None) -> None:
    """Append what comes to `part`, whose size is `have`, until it has `total` bytes."""
    check_space(part.parent, (total or have) - have)
    with (
        open(part, 'ab') as file,
        tqdm(
            total=total,
            initial=have,
            desc=part.name.removesuffix(PART_SUFFIX),
            unit='B',
            unit_scale=True,
            disable=None,
        ) as bar,
    ):
        while total is None or have < total:
            left = CHUNK if total is None else min(CHUNK, total - have)
            try:
                chunk = response.read1(left)
            except (OSError, HTTPException) as error:
                raise _Failure(error) from error
            if not chunk:
                break
            file.write(chunk)
            # What came is kept if this process is killed.
            file.flush()
            have += len(chunk)
            bar.update(len(chunk))
    size = _size(part)
    if total is not None and size != total:
        raise _Failure(f'a connection that ended after {size} of {total} bytes')


def _open(
    url: str, method: str = 'GET', headers: dict[str, str] | None = None
) -> HTTPResponse:
    """Send a request; the answer may be that there is no such range."""
    headers = {'User-Agent': 'sr_plugins', **(headers or {})}
    request = Request(url, headers=headers, method=method)
    try:
        # Not urlopen, which stays with the proxies that were set at its first call.
        return build_opener().open(request, timeout=TIMEOUT)
    except HTTPError as error:
        if error.code == _NO_SUCH_RANGE:
            return error
        error.close()
        raise _Failure(f'{error.code} {error.reason}', error.code) from error
    except (OSError, HTTPException) as error:
        raise _Failure(getattr(error, 'reason', error)) from error


def _announce(url: str, archives: list[Archive], root: Path, keep: bool) -> None:
    """Say how much is to be fetched, and make sure that the disk has room for it.

    Raises:
        ConnectionError: The server does not answer, or has no such file.
        OSError: The disk is too small.
    """
    sizes = []
    paths = [_zip(root / 'downloads', archive) for archive in archives]
    for path in paths:
        try:
            with _open(url + path.name, 'HEAD') as response:
                sizes.append((_content_length(response) or 0, _size(_part(path))))
        except _Failure as failure:
            if failure.code not in _NO_HEAD:
                raise _unreachable(url + path.name, paths, failure) from failure
            sizes.append((0, 0))
    # PNGs do not shrink in a zip: the images take as much as their archive.
    needed = peak = 0
    for size, have in sizes:
        needed += max(2 * size - have, 0)
        peak = max(peak, needed)
        needed -= 0 if keep else size
    total, have = map(sum, zip(*sizes, strict=True))
    at_least = 'at least ' if any(not size for size, _ in sizes) else ''
    here = f', of which {show_bytes(have)} are here already' if have else ''
    _say(
        f'Fetching {len(archives)} archives from {url}: {at_least}{show_bytes(total)}'
        f'{here}. With the images this takes {at_least}{show_bytes(peak)} of disk '
        f'space in {root}.'
    )
    check_space(root, peak)


def _unpack(archive: Archive, root: Path, keep: bool, report: Report) -> None:
    """Unpack a zip, note that it was, and clear up."""
    downloads = root / 'downloads'
    path = _zip(downloads, archive)
    size = path.stat().st_size
    names, made = unpack_images(path, root, archive.folder)
    note = {'bytes': size, 'images': len(names), 'names': names}
    write_text(downloads / f'{archive.name}.json', json.dumps(note))
    # The zip may have been put there while its part was from an earlier call.
    for left in (_part(path), _note(_part(path))):
        left.unlink(missing_ok=True)
    if not keep:
        path.unlink()
    _count(report, root / archive.folder, names, made)


def _count(report: Report, folder: Path, names: Sequence[str], made: int) -> None:
    report.made += made
    report.kept += len(names) - made
    present = (path for path in folder.glob('*.png') if path.name[0] != '.')
    report.strangers += sorted(path for path in present if path.name not in set(names))


def _published(scales: Sequence[int]) -> list[Archive]:
    for scale in scales:
        if scale not in PUBLISHED_SCALES:
            raise ValueError(
                'Expected `scales` to be among 2, 3 and 4, which are published, but '
                f'got {scale}. Make others from the images with `--hr`.'
            )
    splits = ('train', 'valid')
    names = [(f'DIV2K_{split}_HR',) * 2 for split in splits]
    for scale in dict.fromkeys(scales):
        for split in splits:
            lr = f'DIV2K_{split}_LR_bicubic'
            names.append((f'{lr}_X{scale}', f'{lr}/X{scale}'))
    return [Archive(name, folder) for name, folder in names]


def _unreachable(url: str, paths: list[Path], failure: _Failure) -> ConnectionError:
    """Give the error that tells the user what to do to get `paths`."""
    parts = urlsplit(url)
    proxy = None
    if not proxy_bypass(parts.hostname):
        # Without the password that may stand before the name.
        proxy = getproxies().get(parts.scheme, '').rpartition('@')[2]
    through = f' through the proxy {proxy}' if proxy else ''
    return ConnectionError(
        f'Expected to fetch {url}{through}, but got {failure}. Run the same command '
        'again when the server can be reached (`--url` names another one): what came '
        'until now is kept. Or run it again after you fetched by other means '
        f'{", ".join(path.name for path in paths)} and put that into '
        f'{paths[0].parent.absolute()}.'
    )


def _say(text: str) -> None:
    # Unlike print, this leaves progress bars whole.
    tqdm.write(text, file=sys.stderr)


def _zip(downloads: Path, archive: Archive) -> Path:
    return downloads / f'{archive.name}.zip'


def _part(path: Path) -> Path:
    return path.with_name(path.name + PART_SUFFIX)


def _note(part: Path) -> Path:
    return part.with_name(part.name + '.json')


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _read_json(path: Path) -> dict:
    """Give a note; an empty one where there is none, or a damaged one."""
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _version(response: HTTPResponse) -> str | None:
    """Give what tells this version of the file from others, if the server says."""
    etag = response.headers.get('ETag', '')
    # Weak ones (W/) do not promise the same bytes.
    strong = etag if etag.startswith('"') else None
    return strong or response.headers.get('Last-Modified')


def _content_length(response: HTTPResponse) -> int | None:
    text = response.headers.get('Content-Length', '')
    return int(text) if re.fullmatch('[0-9]+', text) else None


def _content_range(response: HTTPResponse) -> tuple[int | None, int | None]:
    """Give the first byte of a range and the size of the whole file."""
    text = response.headers.get('Content-Range', '')
    match = re.fullmatch(r'bytes (?:([0-9]+)-[0-9]+|[*])/([0-9]+|[*])', text.strip())
    start, total = match.groups() if match else (None, None)
    return (
        int(start) if start is not None else None,
        int(total) if total not in (None, '*') else None,
    )
