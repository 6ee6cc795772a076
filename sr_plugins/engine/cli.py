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
        if not text.startswith('Expected '):
            raise
        sys.exit(f'{Path(sys.argv[0]).name}: {error}')
    except KeyboardInterrupt:
        sys.exit(130)
