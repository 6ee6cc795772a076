"""Plugins for BasicSR and MMagic: super-resolution networks that train today."""

from . import compat  # noqa: F401  (repairs go before any upstream import)

__version__ = '0.1.0'

__all__ = ['__version__']
