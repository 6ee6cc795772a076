"""Which images to work on, and which files they become."""

import glob
from collections.abc import Iterable
from pathlib import Path

from ..preparation.images import SUFFIXES


def find_images(pattern: str | Path) -> list[Path]:
    """Files that a path, folder or glob pattern names, sorted.

    Folders and patterns give the visible files with a suffix of `SUFFIXES`; a path
    gives its file, whatever the suffix. `**` in a pattern means any folders.

    Raises:
        FileNotFoundError: when there is no image.
    """
    path = Path(pattern).expanduser()
    if path.is_file():
        return [path]
    if path.is_dir():
        candidates: Iterable[Path] = path.iterdir()
    else:
        candidates = map(Path, glob.glob(str(path), recursive=True))
    found = sorted(
        candidate
        for candidate in candidates
        if candidate.suffix.lower() in SUFFIXES
        and not candidate.name.startswith('.')
        and candidate.is_file()
    )
    if not found:
        raise FileNotFoundError(
            f'Expected an image, a folder of images or a pattern that matches some '
            f'({" ".join(SUFFIXES)}), but found none at {pattern} (from {Path.cwd()}).'
        )
    return found


def plan_outputs(
    sources: Iterable[Path], folder: str | Path, ending: str
) -> dict[Path, Path]:
    """Where to write what each image becomes: `<folder>/<name><ending>.png`.

    Raises:
        ValueError: when two images would get the same file, or one would replace an
            image that is still to be read.
    """
    folder = Path(folder).expanduser()
    sources = list(sources)
    outputs = {path: folder / f'{path.stem}{ending}.png' for path in sources}
    inputs = {path.resolve(): path for path in sources}
    taken: dict[Path, Path] = {}
    for source, target in outputs.items():
        other = taken.setdefault(target, source)
        if other is not source:
            raise ValueError(
                f'Expected images of different names, but got {other} and {source}, '
                f'which would both become {target}. Rename one, or choose different '
                f'output folders.'
            )
        if target.resolve() in inputs:
            raise ValueError(
                f'Expected an output folder in which no input is replaced, but got '
                f'{folder}, where {source} would become {target}. Choose another one.'
            )
    return outputs
