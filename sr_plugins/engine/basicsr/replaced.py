"""Other values for a module's or a class's names, for a while."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def replaced(owner: Any, **values: Any) -> Iterator[None]:
    """Let the attributes of `owner` be `values`, and then what they were.

    Raises:
        AttributeError: when `owner` has no such attribute, as in another version.
    """
    stock = {name: getattr(owner, name) for name in values}
    try:
        for name, value in values.items():
            setattr(owner, name, value)
        yield
    finally:
        for name, value in stock.items():
            setattr(owner, name, value)
