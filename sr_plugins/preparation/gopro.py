"""GoPro's pairs of blurred and sharp photographs, in two folders a split."""

import os
from pathlib import Path

from .images import copy_file, list_images
from .runner import Report

SPLITS = ('train', 'test')
KINDS = ('blur', 'sharp')


def prepare_gopro(source: Path, out: Path) -> Report:
    """Lay out the unpacked archive of GoPro as `out`/GoPro.

    `train/<sequence>/sharp/<name>.png` becomes
    `GoPro/train/sharp/<sequence>-<name>.png`, and so do `blur` and `test`. Files are
    linked, or copied to another disk; those that are there are kept.

    Args:
        source: folder with `train` and `test`.
        out: where the folder `GoPro` goes.

    Raises:
        ValueError: when a folder is missing or empty, or a photograph has no partner.
    """
    pairs = {
        place: path
        for split in SPLITS
        for sequence in _sequences(source / split)
        for place, path in _pairs(sequence, out / 'GoPro' / split)
    }
    report = Report()
    for place, path in pairs.items():
        if _is_same(place, path):
            report.kept += 1
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            place.unlink(missing_ok=True)
            os.link(path, place)
        except OSError:
            copy_file(path, place)
        report.made += 1
    report.notes.append(f'{len(pairs) // 2} pairs of photographs in {out / "GoPro"}.')
    return report


def _sequences(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.glob('*') if path.is_dir())
    if not found:
        raise ValueError(
            f'Expected the folder of GoPro to have sequences in {folder}, such as '
            f'GOPR0372_07_00, but there are none. Name the folder above '
            f'{" and ".join(SPLITS)}.'
        )
    return found


def _pairs(sequence: Path, out: Path) -> list[tuple[Path, Path]]:
    """Where each photograph goes, and where it is."""
    images = {kind: list_images(sequence / kind) for kind in KINDS}
    blurred, sharp = ({path.name for path in images[kind]} for kind in KINDS)
    lonely = sorted(blurred ^ sharp)
    if lonely:
        raise ValueError(
            f'Expected {" and ".join(KINDS)} of {sequence} to hold the same names, but '
            f'{lonely[0]} is in one only. Unpack the archive anew.'
        )
    return [
        (out / kind / f'{sequence.name}-{path.name}', path)
        for kind in KINDS
        for path in images[kind]
    ]


def _is_same(place: Path, path: Path) -> bool:
    """Whether a photograph is there already: the same file, or a copy of it."""
    if not place.exists():
        return False
    mine, other = place.stat(), path.stat()
    return os.path.samestat(mine, other) or (
        (mine.st_size, mine.st_mtime_ns) == (other.st_size, other.st_mtime_ns)
    )
