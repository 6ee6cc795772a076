"""Where the configs are, in a checkout and in an installed package."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def config_path(name: str) -> Path:
    """Path of a config such as `csnln_x2.py`.

    Raises:
        FileNotFoundError: when there is no such config.
    """
    folders = (_PACKAGE / 'configs', _PACKAGE.parent / 'configs')
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(
        f'Expected a config {name} in {folders[0]} or {folders[1]}, but there is none.'
    )
