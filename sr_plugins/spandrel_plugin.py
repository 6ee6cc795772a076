"""Our networks in spandrel's registry, which finds out what a file of weights is.

    from sr_plugins import spandrel_plugin
    import spandrel

    spandrel_plugin.install()
    model = spandrel.ModelLoader().load_from_file('edsr_x2-0edfb8a3.pt')

They are asked after spandrel's own architectures, and take only what holds all weights
of a network and no other. Needs `pip install sr_plugins[spandrel]`.
"""

from typing import Any

import sr_plugins.compat  # noqa: F401  (first: it repairs what follows)

from spandrel import (
    MAIN_REGISTRY,
    Architecture,
    ArchRegistry,
    ArchSupport,
    ImageModelDescriptor,
    ModelTiling,
)
from torch import nn

from .checkpoints import build, inspect

__all__ = ['ARCHITECTURES', 'NetworkArchitecture', 'install']

_NETWORKS = ('EDSR', 'MDSR', 'CSNLN', 'ESRN')


class NetworkArchitecture(Architecture[nn.Module]):
    """Detects and loads one of our networks, whoever named its weights.

    Args:
        network: its class in `sr_plugins.archs`; one that enlarges images.
    """

    def __init__(self, network: str) -> None:
        super().__init__(id=f'sr_plugins.{network}', name=network, detect=self._is_it)
        self._network = network

    def _is_it(self, state: dict[str, Any]) -> bool:
        try:
            found = inspect(state)
        except (ValueError, OSError):
            return False
        return found.network == self._network and not (
            found.missing
            or found.unexpected
            or found.misshapen
            or _may_be_of_basicsr(state, found.options)
        )

    def load(self, state_dict: dict[str, Any]) -> ImageModelDescriptor[nn.Module]:
        """Build the network; MDSR for the first of its scales.

        Raises:
            ValueError: when weights are NaN or infinite.
        """
        found = inspect(state_dict)
        network = build(state_dict)
        channels = network.in_channels
        return ImageModelDescriptor(
            network,
            network.state_dict(),
            architecture=self,
            purpose='Restoration' if network.scale == 1 else 'SR',
            tags=_tags(found.options),
            # Inside, values are those of [0, 255] images: too large for float16.
            supports_half=False,
            supports_bfloat16=True,
            scale=network.scale,
            input_channels=channels,
            output_channels=found.options.get('out_channels', channels),
            tiling=(
                ModelTiling.SUPPORTED
                if network.receptive_field
                else ModelTiling.DISCOURAGED
            ),
        )


def _may_be_of_basicsr(state: dict[str, Any], options: dict[str, Any]) -> bool:
    """Whether nothing tells an EDSR of BasicSR from ours: spandrel has unwrapped it."""
    return options.get('scale') == 1 and 'conv_first.weight' in state


def _tags(options: dict[str, Any]) -> list[str]:
    tags = [f'{options["mid_channels"]}nf']
    for key, unit in (('num_blocks', 'nb'), ('num_recurrences', 'nr')):
        if key in options:
            tags.append(f'{options[key]}{unit}')
    return tags


ARCHITECTURES = tuple(
    ArchSupport.from_architecture(NetworkArchitecture(name)) for name in _NETWORKS
)
"""For `ArchRegistry.add`."""


def install(
    registry: ArchRegistry = MAIN_REGISTRY, ignore_duplicates: bool = False
) -> list[ArchSupport]:
    """Add our networks to a registry of spandrel.

    Args:
        registry: spandrel's main one, which every `ModelLoader` uses unless told.
        ignore_duplicates: do nothing when they are in it, rather than raise.

    Returns:
        What was added.

    Raises:
        DuplicateArchitectureError: when they are in it already.
    """
    return registry.add(*ARCHITECTURES, ignore_duplicates=ignore_duplicates)
