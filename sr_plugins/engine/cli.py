"""How the tools begin and end."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mmengine.config import DictAction


@contextmanager
def plain_errors() -> Iterator[None]:
    """Show errors that the user can mend as a message rather than a traceback.

    Those are the ones that say 'Expected ...', as all of ours do. Others keep their
    traceback: they are bugs, or need one to be understood.
    """
    try:
        yield
    except (ValueError, TypeError, OSError, ImportError) as error:
        text = str(getattr(error, 'strerror', None) or error)
        # A loader process sends its traceback as text, the message at its end.
        _, _, inner = text.rpartition(f'\n{type(error).__name__}: ')
        if not inner.startswith('Expected '):
            raise
        shown = inner if inner != text else error
        sys.exit(f'{Path(sys.argv[0]).name}: {shown}')
    except KeyboardInterrupt:
        sys.exit(130)


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Add `--cfg-options`."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='replace entries of the config',
    )


def add_image_options(parser: argparse.ArgumentParser) -> None:
    """Add what `set_image_options` takes: how to go through images."""
    parser.add_argument(
        '--chop',
        nargs='*',
        type=int,
        metavar=('SHAVE', 'MIN_SIZE'),
        help='go through images in quarters, as the published CSNLN (10 3600)',
    )
    parser.add_argument(
        '--tile',
        type=int,
        metavar='SIZE',
        help='go through images in tiles of SIZE x SIZE pixels',
    )
    parser.add_argument(
        '--overlap',
        help='pixels that the network sees beyond a tile: auto, all that count; or N',
    )
    parser.add_argument(
        '--seams',
        choices=('exact', 'blended'),
        help='cut tiles where they meet, or fade one into the other (exact)',
    )
    parser.add_argument(
        '--self-ensemble',
        action='store_true',
        help='average the outputs of the eight poses of an image',
    )
    parser.add_argument(
        '--amp', choices=('bf16',), help='calculate in bfloat16, faster and coarser'
    )


def is_basicsr(config: str | Path) -> bool:
    """Whether a file is one of BasicSR's options rather than a config of mmengine."""
    return Path(config).suffix in ('.yml', '.yaml')


def refuse_options(
    args: argparse.Namespace, names: Sequence[str], because: str
) -> None:
    """Raise when a command line has options that BasicSR's pipeline cannot heed.

    Args:
        args: of a tool, with `config`.
        names: attributes of `args`; what is None or False was not given.
        because: what BasicSR does not do, for the message.

    Raises:
        ValueError: with the options that were given.
    """
    given = [
        f'`--{name.replace("_", "-")}`'
        for name in names
        if getattr(args, name) not in (None, False)
    ]
    if given:
        raise ValueError(
            f'Expected {" and ".join(given)} to come with a config of mmengine (.py), '
            f'but got {args.config}: BasicSR {because}. Leave it out, or use a config.'
        )
