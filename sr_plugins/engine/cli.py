"""How the tools end."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def plain_errors() -> Iterator[None]:
    """Show errors that the user can mend as a message rather than a traceback.

    Those are the ones that say 'Expected ...', as all of ours do. Others keep their
    traceback: they are bugs, or need one to be understood.
    """
    try:
        yield
    except (ValueError, TypeError, OSError) as error:
        text = str(getattr(error, 'strerror', None) or error)
        # A loader process sends its traceback as text, the message at its end.
        _, _, inner = text.rpartition(f'\n{type(error).__name__}: ')
        if not inner.startswith('Expected '):
            raise
        shown = inner if inner != text else error
        sys.exit(f'{Path(sys.argv[0]).name}: {shown}')
    except KeyboardInterrupt:
        sys.exit(130)
