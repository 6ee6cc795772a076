"""Plugins for BasicSR and MMagic: super-resolution networks that train today."""

__version__ = '0.1.0'

__all__ = ['__version__']
