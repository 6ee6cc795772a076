"""What a repair says about itself."""

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ['Repair']


@dataclass(frozen=True)
class Repair:
    """One repair of an upstream package.

    Attributes:
        name: Short name, as the doctor shows it.
        symptom: What a user sees without the repair.
        versions: The versions that need it.
        needed: Whether the installed versions need it; may import them.
        install: Put the repair in place; must not import anything heavy.
    """

    name: str
    symptom: str
    versions: str
    needed: Callable[[], bool]
    install: Callable[[], None]
