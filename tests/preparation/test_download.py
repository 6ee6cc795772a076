"""`prepare_data.py div2k --download`, with a server in a thread of this process."""

import io
import json
import re
import runpy
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections import namedtuple
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from sr_plugins.preparation import archives, download, download_div2k
from sr_plugins.preparation.archives import unpack_images
from sr_plugins.preparation.images import write_png

TOOL = Path(__file__).resolve().parents[2] / 'tools' / 'prepare_data.py'
TRAIN_HR = 'DIV2K_train_HR'
TRAIN_X2 = 'DIV2K_train_LR_bicubic/X2'
CHUNK = 4096


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_CONNECT(self):
        self.send_error(403)

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        server = self.server
        asked = self.headers.get('Range')
        name = self.path.rpartition('/')[2]
        if self.path.startswith('/moved/'):
            self.send_response(302)
            self.send_header('Location', self.server.url + name)
            self.end_headers()
            return
        server.log.append((self.command, name, asked))
        status = server.statuses.get((self.command, name)) or server.statuses.get(name)
        if status or name not in server.files:
            self.send_error(status or 404)
            return
        body, start = server.files[name], 0
        if asked and server.has_ranges:
            same = self.headers.get('If-Range') in (None, server.etag, server.date)
            if same or server.ignores_if_range:
                start = int(re.fullmatch('bytes=([0-9]+)-', asked)[1])
        if start and start >= len(body):
            self.send_response(416)
            self.send_header('Content-Range', f'bytes */{len(body)}')
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            end = f'{len(body) - 1}/{len(body)}'
            self.send_header('Content-Range', f'bytes {start}-{end}')
        if server.says_length:
            self.send_header('Content-Length', len(body) - start + server.lie)
        for key, value in (('ETag', server.etag), ('Last-Modified', server.date)):
            if value:
                self.send_header(key, value)
        self.end_headers()
        if self.command == 'HEAD':
            return
        end = server.cuts.pop(0) if server.cuts else None
        try:
            for at in range(start, len(body) if end is None else end, CHUNK):
                self.wfile.write(body[at : min(at + CHUNK, end or len(body))])
                time.sleep(server.pause)
        except (BrokenPipeError, ConnectionResetError):
            pass


class Server(ThreadingHTTPServer):
    """Serves `files`; the other attributes say how badly."""

    daemon_threads = True

    def __init__(self, files):
        super().__init__(('127.0.0.1', 0), Handler)
        self.files = files
        self.log = []
        self.statuses = {}
        self.cuts = []
        self.etag, self.date = '"one"', None
        self.has_ranges, self.ignores_if_range = True, False
        self.says_length, self.lie, self.pause = True, 0, 0
        self.url = f'http://127.0.0.1:{self.server_port}/DIV2K/'

    def handle_error(self, request, client_address):
        pass

    def gets(self, name):
        """What `Range` was in the requests for the file."""
        return [ranges for m, n, ranges in self.log if (m, n) == ('GET', name)]


def png(seed, side=40):
    image = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        write_png(Path(folder, 'image.png'), image, origin='test')
        return Path(folder, 'image.png').read_bytes()


def zipped(members, method=zipfile.ZIP_DEFLATED):
    """Make a zip of pairs of a name or ZipInfo and the content."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w', method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return file.getvalue()


@pytest.fixture(scope='module')
def images():
    """Content of every image of a tiny DIV2K, by its path."""
    found = {}
    for split, numbers in (('train', (1, 2, 3)), ('valid', (801, 802))):
        for n in numbers:
            found[f'DIV2K_{split}_HR/{n:04d}.png'] = png(n, 80)
            for s in (2, 3, 4):
                lr = f'DIV2K_{split}_LR_bicubic/X{s}/{n:04d}x{s}.png'
                found[lr] = png(10 * n + s, 80 // s)
    return found


@pytest.fixture(scope='module')
def published(images):
    """The zips, by name; with members for the folders as the real ones have."""
    folders = {}
    for path, content in images.items():
        folder = path.rpartition('/')[0]
        folders.setdefault(folder, [(f'{folder}/', b'')]).append((path, content))
    return {
        f'{folder.replace("/", "_")}.zip': zipped(members)
        for folder, members in folders.items()
    }


@pytest.fixture
def server(published, monkeypatch):
    monkeypatch.setattr(download, 'WAITS', (0.01, 0.02))
    monkeypatch.setenv('no_proxy', '*')
    with Server(dict(published)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def hr_zip(published):
    return published[f'{TRAIN_HR}.zip']


def tree(folder):
    """Content of all files but those of `downloads`, by path."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob('*')
        if path.is_file() and 'downloads' not in path.parts
    }


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def run_tool(*args, cwd):
    return subprocess.run(
        [sys.executable, str(TOOL), 'div2k', *map(str, args)],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_all_is_fetched_and_laid_out_from_the_command_line(tmp_path, server, images):
    command = ('--download', '--url', server.url.rstrip('/'))
    done = run_tool(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    root = tmp_path / 'data' / 'DIV2K'
    assert tree(root) == images
    total = sum(map(len, server.files.values()))
    largest = max(map(len, server.files.values()))
    assert (
        f'Fetching 8 archives from {server.url}: {total / 1e3:.1f} kB.' in done.stderr
    )
    peak = float(re.search(r'takes ([0-9.]+) kB of disk', done.stderr)[1]) * 1e3
    assert total < peak <= total + largest + 100
    assert '20 images made, 0 kept as they were, 0 failed.' in done.stdout
    assert names(root / 'downloads') == sorted(
        name.replace('.zip', '.json') for name in server.files
    )
    note = json.loads((root / 'downloads' / f'{TRAIN_HR}.json').read_text())
    assert note['bytes'] == len(server.files[f'{TRAIN_HR}.zip'])
    assert note['images'] == 3

    server.log.clear()
    again = run_tool(*command, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert 'Nothing to do: all 20 images are there already.' in again.stdout
    assert server.log == []


def test_scales_and_archives_that_stay(tmp_path, server, published):
    report = download_div2k(tmp_path, [3, 3], server.url, keep_archives=True)
    assert report.made == 10
    kept = sorted((tmp_path / 'DIV2K' / 'downloads').glob('*.zip'))
    assert [path.stem for path in kept] == [
        'DIV2K_train_HR',
        'DIV2K_train_LR_bicubic_X3',
        'DIV2K_valid_HR',
        'DIV2K_valid_LR_bicubic_X3',
    ]
    assert all(path.read_bytes() == published[path.name] for path in kept)


def test_missing_images_are_fetched_again(tmp_path, server, images, capsys):
    download_div2k(tmp_path, [2], server.url)
    root = tmp_path / 'DIV2K'
    (root / TRAIN_X2 / '0002x2.png').unlink()
    (root / TRAIN_X2 / 'mine.png').write_bytes(b'')
    server.log.clear()
    report = download_div2k(tmp_path, [2], server.url)
    assert {name for _, name, _ in server.log} == {'DIV2K_train_LR_bicubic_X2.zip'}
    assert (report.made, report.kept) == (1, 9)
    assert f'1 images are missing in {root / TRAIN_X2}' in capsys.readouterr().err
    image = f'{TRAIN_X2}/0002x2.png'
    assert tree(root)[image] == images[image]
    assert report.strangers == [root / TRAIN_X2 / 'mine.png']
    assert not download_div2k(tmp_path, [2], server.url).made


def test_zips_that_the_user_brought_need_no_server(tmp_path, published, images):
    downloads = tmp_path / 'DIV2K' / 'downloads'
    downloads.mkdir(parents=True)
    for name, content in published.items():
        (downloads / name).write_bytes(content)
    closed = 'http://127.0.0.1:9/'
    assert download_div2k(tmp_path, url=closed).made == 20
    assert tree(tmp_path / 'DIV2K') == images


def test_zips_that_the_user_brought_are_unpacked_before_the_network_fails(
    tmp_path, published, monkeypatch
):
    monkeypatch.setenv('no_proxy', '*')
    downloads = tmp_path / 'DIV2K' / 'downloads'
    downloads.mkdir(parents=True)
    valid = 'DIV2K_valid_HR'
    (downloads / f'{valid}.zip').write_bytes(published[f'{valid}.zip'])
    (downloads / f'{valid}.zip.part').write_bytes(b'of an earlier call')
    with pytest.raises(ConnectionError, match=f'fetch .*{TRAIN_HR}.zip'):
        download_div2k(tmp_path, [2], 'http://127.0.0.1:9/')
    assert len(tree(tmp_path / 'DIV2K')) == 2
    assert names(downloads) == [f'{valid}.json']


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        ([], 'one of the arguments --hr --download is required'),
        (['--download', '--hr', 'x'], '--hr: not allowed with argument --download'),
        (
            ['--download', '--valid-hr', 'x'],
            '--valid-hr: not allowed with argument --download',
        ),
        (['--hr', 'x', '--url', 'x'], '--url: only allowed with --download'),
        (['--hr', 'x', '--keep-archives'], '--keep-archives: only allowed with'),
    ],
)
def test_arguments_that_exclude_each_other(monkeypatch, capsys, args, message):
    monkeypatch.setattr(sys, 'argv', ['prepare_data.py', 'div2k', *args])
    monkeypatch.setattr(sys, 'path', list(sys.path))
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(TOOL), run_name='__main__')
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_bad_scales_and_addresses_are_named(tmp_path):
    with pytest.raises(ValueError, match=r'among 2, 3 and 4, .* but got 8'):
        download_div2k(tmp_path, [2, 8])
    for url in ('ftp://host/', 'host/DIV2K', 'http://'):
        with pytest.raises(ValueError, match=f'http:// or https:// .* but got {url}'):
            download_div2k(tmp_path, url=url)
    assert not list(tmp_path.iterdir())


def fetch_hr(server, folder):
    """Fetch one archive and give its content."""
    path = folder / 'downloads' / f'{TRAIN_HR}.zip'
    download.fetch(server.url + path.name, path)
    assert names(path.parent) == [path.name], 'left-overs'
    return path.read_bytes()


def leave_part(server, folder, size):
    """Let the server cut the only connection after `size` bytes."""
    server.cuts = [size]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(download, 'WAITS', ())
        with pytest.raises(ConnectionError, match=f'ended after {size} of'):
            fetch_hr(server, folder)
    part = folder / 'downloads' / f'{TRAIN_HR}.zip.part'
    assert part.stat().st_size == size
    server.log.clear()
    return part


@pytest.mark.parametrize('date', [None, 'Mon, 01 Jan 2018 00:00:00 GMT'])
def test_cut_connection_is_resumed(tmp_path, server, hr_zip, date, capsys):
    if date:
        server.etag, server.date = 'W/"weak"', date
    half = len(hr_zip) // 2
    server.cuts = [half]
    assert fetch_hr(server, tmp_path) == hr_zip
    assert server.gets(f'{TRAIN_HR}.zip') == [None, f'bytes={half}-']
    said = capsys.readouterr().err
    assert f'ended after {half} of {len(hr_zip)} bytes. Trying again in' in said


def test_second_call_resumes(tmp_path, server, hr_zip, capsys, monkeypatch):
    leave_part(server, tmp_path / 'DIV2K', 10_000)
    monkeypatch.setattr(download, 'WAITS', ())
    download_div2k(tmp_path, [2], server.url)
    assert server.gets(f'{TRAIN_HR}.zip') == ['bytes=10000-']
    assert ', of which 10.0 kB are here already.' in capsys.readouterr().err


def test_silent_server_is_given_up_and_tried_again(
    tmp_path, server, hr_zip, monkeypatch
):
    monkeypatch.setattr(download, 'TIMEOUT', 0.2)
    server.pause = 0.4
    server.cuts = [CHUNK]
    timer = threading.Timer(0.3, setattr, (server, 'pause', 0))
    timer.start()
    assert fetch_hr(server, tmp_path) == hr_zip
    timer.join()
    assert server.gets(f'{TRAIN_HR}.zip')[:2] == [None, f'bytes={CHUNK}-']


def test_server_without_ranges(tmp_path, server, hr_zip):
    server.has_ranges = False
    server.cuts = [10_000]
    assert fetch_hr(server, tmp_path) == hr_zip
    assert server.gets(f'{TRAIN_HR}.zip') == [None, 'bytes=10000-']


def test_server_without_versions_is_not_resumed(tmp_path, server, hr_zip):
    server.etag = None
    server.cuts = [10_000]
    assert fetch_hr(server, tmp_path) == hr_zip
    assert server.gets(f'{TRAIN_HR}.zip') == [None, None]


def test_server_that_says_no_length(tmp_path, server, hr_zip, images, capsys):
    server.says_length = False
    assert fetch_hr(server, tmp_path) == hr_zip
    download_div2k(tmp_path, [2], server.url)
    assert len(tree(tmp_path / 'DIV2K')) == 10
    assert 'at least 0 bytes' in capsys.readouterr().err


def test_server_that_sends_elsewhere(tmp_path, server):
    leave_part(server, tmp_path / 'DIV2K', 10_000)
    moved = server.url.replace('DIV2K', 'moved')
    assert download_div2k(tmp_path, [2], moved).made == 10
    assert 'bytes=10000-' in server.gets(f'{TRAIN_HR}.zip')


def test_server_without_head(tmp_path, server):
    server.statuses = {('HEAD', name): 405 for name in server.files}
    assert download_div2k(tmp_path, [2], server.url).made == 10


@pytest.mark.parametrize('ignores_if_range', [False, True])
@pytest.mark.parametrize('is_shorter', [False, True])
def test_changed_file_is_fetched_from_its_start(
    tmp_path, server, hr_zip, ignores_if_range, is_shorter
):
    """Even where the server sends the rest of another version, or has no rest."""
    leave_part(server, tmp_path, 10_000)
    new = bytes(reversed(hr_zip))[: 5000 if is_shorter else None]
    server.files[f'{TRAIN_HR}.zip'] = new
    server.etag = '"two"'
    server.ignores_if_range = ignores_if_range
    assert fetch_hr(server, tmp_path) == new
    asked = server.gets(f'{TRAIN_HR}.zip')
    assert asked == ['bytes=10000-', None][: 1 + ignores_if_range]


def test_whole_part_needs_no_request_and_a_longer_one_is_not_used(
    tmp_path, server, hr_zip
):
    part = leave_part(server, tmp_path, 10_000)
    note = part.with_name(part.name + '.json').read_text()
    part.write_bytes(hr_zip)
    assert fetch_hr(server, tmp_path) == hr_zip
    assert server.log == []

    part.write_bytes(hr_zip + b'more')
    part.with_name(part.name + '.json').write_text(note)
    assert fetch_hr(server, tmp_path) == hr_zip
    assert server.gets(f'{TRAIN_HR}.zip') == [None]


def test_whole_part_of_unknown_length_is_recognised(tmp_path, server, hr_zip):
    """The answer is 416 then: there is nothing after the last byte."""
    part = leave_part(server, tmp_path, 10_000)
    part.write_bytes(hr_zip)
    note = {'version': server.etag, 'bytes': None}
    part.with_name(part.name + '.json').write_text(json.dumps(note))
    assert fetch_hr(server, tmp_path) == hr_zip
    assert server.gets(f'{TRAIN_HR}.zip') == [f'bytes={len(hr_zip)}-']


@pytest.mark.parametrize('note', ['', '[]', '{"bytes"'])
def test_part_with_a_damaged_note_is_not_used(tmp_path, server, hr_zip, note):
    part = leave_part(server, tmp_path, 10_000)
    part.with_name(part.name + '.json').write_text(note)
    assert fetch_hr(server, tmp_path) == hr_zip
    assert server.gets(f'{TRAIN_HR}.zip') == [None]


def test_other_size_than_the_server_said_fails_loudly(tmp_path, server, hr_zip, capsys):
    server.lie = 7
    size = f'{len(hr_zip)} of {len(hr_zip) + 7} bytes'
    with pytest.raises(ConnectionError, match=size) as caught:
        fetch_hr(server, tmp_path)
    assert 'Run the same command again' in str(caught.value)
    assert capsys.readouterr().err.count('Trying again') == len(download.WAITS)
    assert not (tmp_path / 'downloads' / f'{TRAIN_HR}.zip').exists()


def test_progress_renews_the_tries(tmp_path, server, hr_zip, monkeypatch):
    monkeypatch.setattr(download, 'PROGRESS', 1000)
    server.cuts = [*range(2000, 2000 * 7, 2000)]
    assert fetch_hr(server, tmp_path) == hr_zip
    assert len(server.gets(f'{TRAIN_HR}.zip')) == 7 > 1 + len(download.WAITS)


def test_killed_download_goes_on(tmp_path, server, images):
    server.pause = 0.02
    command = ['--download', '--url', server.url, '--scales', '4']
    process = subprocess.Popen(
        [sys.executable, str(TOOL), 'div2k', *command],
        cwd=tmp_path,
        stderr=subprocess.DEVNULL,
    )
    part = tmp_path / 'data' / 'DIV2K' / 'downloads' / f'{TRAIN_HR}.zip.part'
    deadline = time.monotonic() + 20
    while not (part.exists() and part.stat().st_size >= 3 * CHUNK):
        assert time.monotonic() < deadline, 'the tool fetched nothing'
        assert process.poll() is None
        time.sleep(0.002)
    process.kill()
    process.wait()
    size = part.stat().st_size
    assert size < len(server.files[f'{TRAIN_HR}.zip'])
    server.pause = 0
    server.log.clear()
    done = run_tool(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert server.gets(f'{TRAIN_HR}.zip') == [f'bytes={size}-']
    written = tree(tmp_path / 'data' / 'DIV2K')
    assert len(written) == 10
    assert all(images[name] == content for name, content in written.items())


def assert_names_the_remedy(message, url, folder):
    assert f'Expected to fetch {url}{TRAIN_HR}.zip' in message
    assert 'Run the same command again' in message
    assert 'DIV2K_valid_HR.zip, DIV2K_train_LR_bicubic_X2.zip' in message
    assert str(folder / 'DIV2K' / 'downloads') in message


def test_closed_network_from_the_command_line(tmp_path, monkeypatch):
    monkeypatch.setenv('no_proxy', '*')
    with socket.create_server(('127.0.0.1', 0)) as closed:
        url = f'http://127.0.0.1:{closed.getsockname()[1]}/'
    done = run_tool('--download', '--url', url, cwd=tmp_path)
    assert done.returncode == 1
    assert 'Traceback' not in done.stderr
    assert 'Connection refused.' in done.stderr
    assert_names_the_remedy(done.stderr, url, tmp_path / 'data')
    assert not list(tmp_path.iterdir())


def test_unknown_host(tmp_path, monkeypatch):
    monkeypatch.setenv('no_proxy', '*')

    def unknown(*args, **kwargs):
        raise socket.gaierror(-2, 'Name or service not known')

    monkeypatch.setattr(socket, 'getaddrinfo', unknown)
    with pytest.raises(ConnectionError, match='Name or service not known') as caught:
        download_div2k(tmp_path)
    assert_names_the_remedy(str(caught.value), download.DIV2K_URL, tmp_path)


@pytest.mark.parametrize('status', [403, 404, 503])
def test_refusing_server(tmp_path, server, status):
    server.statuses[f'{TRAIN_HR}.zip'] = status
    with pytest.raises(ConnectionError, match=f'but got {status} ') as caught:
        download_div2k(tmp_path, url=server.url)
    assert_names_the_remedy(str(caught.value), server.url, tmp_path)
    assert len(server.log) == 1


@pytest.mark.parametrize(('status', 'tries'), [(404, 1), (503, 3)])
def test_server_that_refuses_only_the_file(tmp_path, server, status, tries):
    server.statuses[('GET', f'{TRAIN_HR}.zip')] = status
    with pytest.raises(ConnectionError, match=f'but got {status} '):
        download_div2k(tmp_path, [2], server.url)
    assert len(server.gets(f'{TRAIN_HR}.zip')) == tries


@pytest.mark.parametrize('scheme', ['http', 'https'])
def test_refusing_proxy_is_named_without_its_password(
    tmp_path, server, scheme, monkeypatch
):
    proxy = f'127.0.0.1:{server.server_port}'
    for name in ('no_proxy', 'NO_PROXY'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(f'{scheme}_proxy', f'http://me:secret@{proxy}')
    server.statuses[f'{TRAIN_HR}.zip'] = 403
    with pytest.raises(ConnectionError, match='403 Forbidden') as caught:
        download_div2k(tmp_path, url=f'{scheme}://div2k.invalid/')
    assert f'through the proxy {proxy}, but got' in str(caught.value)
    assert 'secret' not in str(caught.value)


def limit_disk(monkeypatch, free):
    usage = namedtuple('usage', 'total used free')(10**12, 0, free)
    monkeypatch.setattr(archives.shutil, 'disk_usage', lambda path: usage)


def test_disk_is_too_small_for_the_download(tmp_path, server, monkeypatch):
    limit_disk(monkeypatch, 30_000)
    with pytest.raises(OSError, match=r'[0-9.]+ kB of free .* got 30.0 kB. Make room'):
        download_div2k(tmp_path, [2], server.url)
    assert {method for method, _, _ in server.log} == {'HEAD'}
    assert not list(tmp_path.iterdir())


def test_disk_is_too_small_for_a_file_of_unknown_size(tmp_path, server, monkeypatch):
    limit_disk(monkeypatch, 30_000)
    server.statuses = {('HEAD', name): 501 for name in server.files}
    with pytest.raises(OSError, match=r'but got 30.0 kB'):
        download_div2k(tmp_path, [2], server.url)
    assert not (tmp_path / 'DIV2K' / 'downloads' / f'{TRAIN_HR}.zip').exists()


def put(folder, content):
    """Put an archive where the tool looks for it."""
    path = folder / 'DIV2K' / 'downloads' / f'{TRAIN_HR}.zip'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def unpack(path):
    return unpack_images(path, path.parents[1], TRAIN_HR)


def test_disk_is_too_small_for_the_images(tmp_path, hr_zip, monkeypatch):
    path = put(tmp_path, hr_zip)
    limit_disk(monkeypatch, 1000)
    with pytest.raises(OSError, match=r'Expected 5[0-9.]+ kB of free .* got 1.0 kB'):
        unpack(path)
    assert not tree(tmp_path)


def entry(name, mode=0, **attributes):
    info = zipfile.ZipInfo('placeholder')
    # The constructor would clean the name.
    info.filename = info.orig_filename = name
    info.external_attr = mode << 16
    for key, value in attributes.items():
        setattr(info, key, value)
    return info


GOOD = f'{TRAIN_HR}/0001.png'
BAD = f'{TRAIN_HR}/0002.png'
MALICIOUS = {
    'absolute': (entry('/tmp/evil.png'), 'does not belong'),
    'drive': (entry('C:/evil.png'), 'does not belong'),
    'drive inside': (entry(f'{TRAIN_HR}/C:evil.png'), 'does not belong'),
    'backslash': (entry(f'{TRAIN_HR}\\evil.png'), 'does not belong'),
    'backslash up': (entry(f'{TRAIN_HR}/..\\..\\evil.png'), 'does not belong'),
    'up': (entry('../evil.png'), 'does not belong'),
    'up from inside': (entry(f'{TRAIN_HR}/../../evil.png'), 'does not belong'),
    'folder up': (entry(f'{TRAIN_HR}/../'), 'does not belong'),
    'other folder': (entry('DIV2K_valid_HR/0001.png'), 'does not belong'),
    'longer folder': (entry(f'{TRAIN_HR}2/0001.png'), 'does not belong'),
    'no folder': (entry('0001.png'), 'does not belong'),
    'deeper': (entry(f'{TRAIN_HR}/more/0001.png'), 'does not belong'),
    'hidden': (entry(f'{TRAIN_HR}/.png'), 'does not belong'),
    'new line': (entry(f'{BAD}\n'), 'does not belong'),
    'suffix': (entry(f'{TRAIN_HR}/0002.py'), 'does not belong'),
    'no suffix': (entry(f'{TRAIN_HR}/0002'), 'does not belong'),
    'link': (entry(BAD, stat.S_IFLNK | 0o777), 'is a link or a special'),
    'link as folder': (entry(f'{TRAIN_HR}/', stat.S_IFLNK), 'is a link or a special'),
    'fifo': (entry(BAD, stat.S_IFIFO), 'is a link or a special'),
    'device': (entry(BAD, stat.S_IFBLK), 'is a link or a special'),
    'twice': (entry(GOOD), 'is there twice'),
    'other method': (entry(BAD, compress_type=zipfile.ZIP_LZMA), 'unusual method 14'),
}


def assert_refused(path, message):
    """The archive is refused, named with member and remedy; nothing is written."""
    everything = sorted(path.parents[2].rglob('*'))
    with pytest.raises(ValueError, match=message) as caught:
        unpack(path)
    assert f'Expected {path} to hold' in str(caught.value)
    assert 'Nothing was unpacked. Delete the archive' in str(caught.value)
    assert sorted(path.parents[2].rglob('*')) == everything
    return str(caught.value)


@pytest.mark.filterwarnings('ignore:Duplicate name')
@pytest.mark.parametrize('kind', MALICIOUS)
def test_malicious_archive_writes_nothing(tmp_path, kind):
    info, message = MALICIOUS[kind]
    members = [(GOOD, png(1)), (info, b'evil' * 9)]
    path = put(tmp_path, zipped(members))
    assert repr(info.orig_filename) in assert_refused(path, message)


def test_nul_in_a_name(tmp_path):
    """zipfile itself reads such names up to the NUL only."""
    content = zipped([(GOOD, png(1)), (f'{TRAIN_HR}/0002.pngX.sh', b'evil')])
    path = put(tmp_path, content.replace(b'.pngX.sh', b'.png\0.sh'))
    assert_refused(path, 'does not belong')


def test_names_that_differ_in_capitals(tmp_path):
    members = [(f'{TRAIN_HR}/a.png', png(1)), (f'{TRAIN_HR}/A.png', png(2))]
    path = put(tmp_path, zipped(members))
    assert_refused(path, "'DIV2K_train_HR/A.png', which is there twice")


def patch_central(content, offset, value, size):
    """Change a field of the last entry of the central directory."""
    at = content.rindex(b'PK\1\2') + offset
    return content[:at] + value.to_bytes(size, 'little') + content[at + size :]


def test_encrypted_member(tmp_path):
    content = patch_central(zipped([(GOOD, png(1)), (BAD, png(2))]), 8, 1, 2)
    assert_refused(put(tmp_path, content), "0002.png', which is encrypted")


def test_zip_bomb(tmp_path):
    bomb = zipped([(GOOD, png(1)), (BAD, bytes(5_000_000))])
    path = put(tmp_path, bomb)
    message = assert_refused(path, 'would unpack from 4.9 kB to 5.0 MB')
    assert BAD in message


def test_bomb_of_members_that_share_their_bytes(tmp_path):
    content = png(1)
    one = zipped([(GOOD, content)], zipfile.ZIP_STORED)
    start, end = one.rindex(b'PK\1\2'), one.rindex(b'PK\5\6')
    record = one[start:end]
    records = b''.join(
        record.replace(b'0001.png', b'%04d.png' % n) for n in range(1, 100)
    )
    tail = bytearray(one[end:])
    tail[8:12] = (99).to_bytes(2, 'little') * 2
    tail[12:16] = len(records).to_bytes(4, 'little')
    path = put(tmp_path, one[:start] + records + bytes(tail))
    assert_refused(path, 'which shares its bytes with others')


def test_never_more_than_declared_is_written(tmp_path, monkeypatch):
    """A size that is too small in the directory does not let more bytes out."""
    content = patch_central(zipped([(GOOD, png(1)), (BAD, png(2))]), 24, 100, 4)
    path = put(tmp_path, content)
    sizes = {}
    unlink = Path.unlink

    def note_size(part, missing_ok=False):
        if part.exists():
            sizes[part.name[:9]] = part.stat().st_size
        unlink(part, missing_ok)

    monkeypatch.setattr(Path, 'unlink', note_size)
    with pytest.raises(ValueError, match='Delete it and run the same'):
        unpack(path)
    assert list(sizes) == ['.0002.png']
    assert sizes['.0002.png'] <= 100
    assert names(path.parents[1] / TRAIN_HR) == ['0001.png']


def test_size_that_is_too_large_is_damage(tmp_path):
    content = zipped([(GOOD, png(1)), (BAD, png(2))], zipfile.ZIP_STORED)
    path = put(tmp_path, patch_central(content, 24, 10_000, 4))
    with pytest.raises(ValueError, match='does not have its 10000 bytes'):
        unpack(path)
    assert names(path.parents[1] / TRAIN_HR) == ['0001.png']


def test_archive_without_images(tmp_path):
    path = put(tmp_path, zipped([(f'{TRAIN_HR}/', b'')]))
    with pytest.raises(ValueError, match=r'but got none\. Delete it'):
        unpack(path)


def damaged_in_a_member(content):
    at = len(content) // 2
    return content[:at] + bytes(64) + content[at + 64 :]


def damaged_in_a_name(content):
    """The first image's own header has a name that is no UTF-8."""
    bad = bytearray(content)
    at = bad.index(b'PK\3\4', 4)
    bad[at + 7] |= 0x08
    bad[at + 30] = 0xFF
    return bytes(bad)


@pytest.mark.parametrize(
    ('damage', 'written'),
    [
        (lambda content: b'<html>You have no internet</html>', 0),
        (lambda content: b'', 0),
        (lambda content: content[: len(content) // 2], 0),
        (damaged_in_a_name, 0),
        (damaged_in_a_member, 1),
    ],
    ids=['web page', 'empty', 'truncated', 'name', 'crc'],
)
def test_damaged_zip_is_named(tmp_path, hr_zip, damage, written, images):
    path = put(tmp_path, damage(hr_zip))
    done = run_tool('--download', '--out', tmp_path, cwd=tmp_path)
    assert done.returncode == 1
    assert 'Traceback' not in done.stderr
    assert f'Expected {path} to be a whole zip file, but got' in done.stderr
    assert 'Delete it and run the same command again' in done.stderr
    whole = tree(tmp_path / 'DIV2K')
    assert len(whole) == written
    assert all(images[name] == content for name, content in whole.items())


@pytest.mark.parametrize('method', [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_random_damage_ends_in_one_message_or_in_nothing_wrong(tmp_path, method):
    members = {f'{TRAIN_HR}/{n:04d}.png': png(n, 4) for n in range(3)}
    content = zipped(members.items(), method)
    generator = np.random.default_rng(0)
    messages = []
    for _ in range(300):
        bad = bytearray(content)
        for at in generator.integers(0, len(bad), 3):
            bad[at] = generator.integers(256)
        path = put(tmp_path, bytes(bad))
        try:
            unpack(path)
        except ValueError as error:
            messages.append(str(error))
        for name, image in tree(tmp_path / 'DIV2K').items():
            assert members.get(name, image) == image
        shutil.rmtree(path.parents[1] / TRAIN_HR, ignore_errors=True)
        assert names(tmp_path) == ['DIV2K']
        assert names(path.parents[1]) == ['downloads']
    assert len(messages) > 200
    assert all(str(path) in message for message in messages)


def test_killed_unpacking_goes_on(tmp_path, hr_zip, images):
    """The process kills itself when it is about to name the third image."""
    path = put(tmp_path, hr_zip)
    code = (
        'import os, sys, signal\n'
        'from pathlib import Path\n'
        'from sr_plugins.preparation.archives import unpack_images\n'
        'replace, calls = os.replace, []\n'
        'def kill_third(*args):\n'
        '    calls.append(args)\n'
        '    if len(calls) == 3:\n'
        '        os.kill(os.getpid(), signal.SIGKILL)\n'
        '    replace(*args)\n'
        'os.replace = kill_third\n'
        'unpack_images(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])\n'
    )
    root = path.parents[1]
    done = subprocess.run(
        [sys.executable, '-c', code, path, root, TRAIN_HR],
        cwd=TOOL.parents[1],
        check=False,
        timeout=60,
    )
    assert done.returncode == -9
    left = names(root / TRAIN_HR)
    assert left[1:] == ['0001.png', '0002.png']
    assert left[0].startswith('.0003.png')
    times = {p: p.stat().st_mtime_ns for p in (root / TRAIN_HR).glob('[0-9]*')}

    assert unpack(path) == (['0001.png', '0002.png', '0003.png'], 1)
    assert names(root / TRAIN_HR) == ['0001.png', '0002.png', '0003.png']
    assert all(p.stat().st_mtime_ns == then for p, then in times.items())
    whole = {k: v for k, v in images.items() if k.startswith(TRAIN_HR)}
    assert tree(root) == whole


def test_images_with_other_content_are_replaced(tmp_path, hr_zip, images):
    path = put(tmp_path, hr_zip)
    folder = path.parents[1] / TRAIN_HR
    folder.mkdir()
    torn = images[GOOD][:-1]
    (folder / '0001.png').write_bytes(torn)
    (folder / '0002.png').write_bytes(bytes(len(images[BAD])))
    (folder / '0003.png').write_bytes(images[f'{TRAIN_HR}/0003.png'])
    assert unpack(path)[1] == 2
    assert all(images[name] == content for name, content in tree(folder.parent).items())


def test_downloading_imports_nothing_heavy():
    code = (
        'import sys, sr_plugins.preparation.download; '
        'print([m for m in ("torch", "mmengine", "mmagic", "cv2") if m in sys.modules])'
    )
    done = subprocess.run(
        [sys.executable, '-c', code],
        capture_output=True,
        text=True,
        check=True,
        cwd=TOOL.parents[1],
    )
    assert done.stdout.strip() == '[]'
