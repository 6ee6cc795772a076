"""Under which names options files find what is ours.

BasicSR's registries refuse a name that is taken, and `EDSR` is one of its own. So every
network and loss has its name with a suffix, `EDSR_sr_plugins`, and those whose own name
is free also have that: `CSNLN`.
"""

from basicsr.utils.registry import ARCH_REGISTRY, LOSS_REGISTRY, Registry

from .. import archs, losses

SUFFIX = 'sr_plugins'


def register_all() -> None:
    """Register every network and every loss that is a module; once is enough."""
    for name in archs.__all__:
        _register(ARCH_REGISTRY, getattr(archs, name))
    for name in losses.__all__:
        if isinstance(getattr(losses, name), type):
            _register(LOSS_REGISTRY, getattr(losses, name))


def _register(registry: Registry, kind: type) -> None:
    if f'{kind.__name__}_{SUFFIX}' not in registry:
        registry.register(kind, suffix=SUFFIX)
    if kind.__name__ not in registry:
        registry.register(kind)
