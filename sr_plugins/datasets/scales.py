"""Several scales in one data set: the samples of each in turn, images in one order."""

from collections.abc import Sequence

from ..layers import check_scale


def check_scales(
    scale: 'int | Sequence[int]', indices: object = None
) -> tuple[int, ...]:
    """The scales as a tuple.

    Raises:
        ValueError: on others than 1 to 4, on one twice, or on `indices` of several,
            which would count samples rather than images.
    """
    scales = tuple(scale) if isinstance(scale, list | tuple) else (scale,)
    for each in scales or (scale,):
        check_scale('a data set', each, (1, 2, 3, 4))
    if len(set(scales)) < len(scales):
        raise ValueError(
            f'Expected `scale` of a data set to be different ones of 1, 2, 3, 4, but '
            f'got {scale!r}.'
        )
    if len(scales) > 1 and indices is not None:
        raise ValueError(
            f'Expected a data set with `indices` to have one scale, but got {scales}. '
            f'Leave `indices` out.'
        )
    return scales


def at_scale(index: int, count: int, scales: Sequence[int], scale: int) -> int:
    """The sample of the image of sample `index`, at `scale`, of `count` samples."""
    images = count // len(scales)
    return index % images + scales.index(scale) * images
