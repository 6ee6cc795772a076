"""Checks of what a caller hands to a network."""

from collections.abc import Sequence

from torch import Tensor


def check_scale(network: str, scale: int, allowed: Sequence[int]) -> None:
    """Raise ValueError unless `scale` is one that `network` is defined for."""
    if isinstance(scale, bool) or not isinstance(scale, int) or scale not in allowed:
        choices = ', '.join(str(s) for s in allowed)
        raise ValueError(
            f'Expected `scale` of {network} to be one of {choices}, but got {scale!r}.'
        )


def check_image(network: str, x: Tensor, channels: int) -> None:
    """Raise ValueError unless `x` is (N, channels, H, W) with no empty side."""
    if x.dim() != 4 or x.shape[1] != channels or 0 in x.shape:
        raise ValueError(
            f'Expected the input of {network} to be (N, {channels}, H, W) with every '
            f'side at least 1, but got {tuple(x.shape)}.'
        )
