"""Which stores to make of which folders, and the room they take."""

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ...preparation.archives import check_space, show_bytes
from ...preparation.images import encode_png, list_images, read_rgb, read_size
from . import raw
from .files import DATA, LAYOUTS, PARTIAL, PNG_LEVEL, store_path

# LMDB's own bound on a key.
_KEY_BYTES = 511
# LMDB's page, what it keeps at the start of one, and for each image besides its key.
_PAGE = 4096
_PAGE_HEADER = 16
_NODE = 24
# Pages of the tree that are rewritten by the next transaction, and empty ones.
_SPARE = 16 * _PAGE
# Sub-images of these scales lie at the same places, whichever of them are made.
_SCALES = (2, 3, 4)


class Cut(NamedTuple):
    """How images are cut into overlapping sub-images, in pixels.

    Attributes:
        size: side of a sub-image.
        step: from one to the next; the last reaches the image's end.
        unit: images are cropped to a multiple of it, so that sub-images of LR images
            lie where those of HR images do.
    """

    size: int
    step: int
    unit: int = 1

    def windows(self, height: int, width: int) -> list[tuple[slice, slice]]:
        """Give the sub-images of an image of this size, row by row."""
        rows, columns = (self._spans(side) for side in (height, width))
        return [(row, column) for row in rows for column in columns]

    def _spans(self, side: int) -> list[slice]:
        side = side - side % self.unit or side
        size = min(self.size, side)
        starts = list(range(0, side - size + 1, self.step))
        if starts[-1] + size < side:
            starts.append(side - size)
        return [slice(start, start + size) for start in starts]


@dataclass(frozen=True)
class StorePlan:
    """A store to make; `str()` says what it will take.

    Attributes:
        folder: where the images are.
        path: where the store goes.
        layout: 'raw' or 'png'.
        sources: the image files by their key.
        cut: how to cut sub-images, None for whole images.
        bytes: size of the store; about, for layout 'png'.
    """

    folder: Path
    path: Path
    layout: str
    sources: dict[str, Path]
    cut: Cut | None
    bytes: int

    @property
    def partial(self) -> Path:
        """Where the store is until it is whole."""
        return self.path.with_name(self.path.name + PARTIAL)

    def __str__(self) -> str:
        about = 'about ' if self.layout == 'png' else ''
        return (
            f'{self.path}: {len(self.sources)} images of {self.folder}, layout '
            f'{self.layout}, {about}{show_bytes(self.bytes)}'
        )


def plan_pairs(
    data_root: Path,
    hr: str,
    lr: str,
    scales: Sequence[int],
    out: Path | None = None,
    layout: str = 'raw',
    sub_images: tuple[int, int] | None = None,
) -> list[StorePlan]:
    """Plan the stores of a folder of HR images and its folders of LR images.

    Stores get the paths of their folders and `.lmdb`, sub-images `_sub.lmdb`.

    Args:
        data_root: folder above `hr` and `lr`.
        hr: folder of HR images.
        lr: folder of LR images, named as `0001x2.png`; `{scale}` in it is replaced.
        scales: which LR images; none for HR only.
        out: goes in place of `data_root` for the stores.
        layout: 'raw' or 'png'.
        sub_images: their size and step in HR pixels, or None for whole images.

    Raises:
        ValueError: as `plan_store`; or sub-images cannot be shared among the scales;
            or two stores would go to one place.
    """
    if any(scale < 1 for scale in scales):
        raise ValueError(f'Expected scales above 0, but got {tuple(scales)}.')
    unit = math.lcm(*_SCALES, *scales)
    if sub_images is not None and any(side < 1 or side % unit for side in sub_images):
        raise ValueError(
            f'Expected size and step of sub-images to be multiples of {unit}, so that '
            f'LR sub-images lie where HR ones do, but got {sub_images}.'
        )
    plans = []
    for scale in (1, *scales):
        folder = Path(data_root, _folder(hr, lr, scale))
        path = pair_store(out or data_root, hr, lr, scale, sub_images is not None)
        suffix = '' if scale == 1 else f'x{scale}'
        cut = None
        if sub_images is not None:
            cut = Cut(*(side // scale for side in (*sub_images, unit)))
        plans.append(plan_store(folder, path, layout, suffix, cut))
    if len({plan.path for plan in plans}) < len(plans):
        raise ValueError(
            f'Expected folders of their own for HR images and for each of the scales '
            f'{tuple(scales)}, but got {hr!r} and {lr!r}. Put `{{scale}}` in the '
            f'latter.'
        )
    return plans


def pair_store(
    data_root: Path, hr: str, lr: str, scale: int, sub_images: bool = False
) -> Path:
    """Give the store of HR images (scale 1) or of the LR images of a scale."""
    folder = Path(data_root, _folder(hr, lr, scale))
    if Path(hr).is_absolute() or Path(lr).is_absolute():
        raise ValueError(
            f'Expected the folders of HR and LR images to be named from the data root, '
            f'but got {hr} and {lr}. Name what is above both with `--data-root`.'
        )
    return store_path(Path(f'{folder}_sub') if sub_images else folder)


def _folder(hr: str, lr: str, scale: int) -> str:
    return hr if scale == 1 else lr.replace('{scale}', str(scale))


def plan_store(
    folder: Path,
    path: Path,
    layout: str = 'raw',
    suffix: str = '',
    cut: Cut | None = None,
) -> StorePlan:
    """Look through a folder and work out the store to make of it.

    Args:
        folder: of images.
        path: where the store goes.
        layout: 'raw' or 'png'.
        suffix: end of the names that keys do without: `x2`, so that an LR image has
            the key of its HR image.
        cut: how to cut sub-images, None for whole images.

    Raises:
        ValueError: there are no images, a file is none, or a name makes no key.
    """
    if layout not in LAYOUTS:
        raise ValueError(f'Expected `layout` to be one of {LAYOUTS}, but got {layout}.')
    sources: dict[str, Path] = {}
    for source in list_images(folder):
        key = source.stem.removesuffix(suffix)
        _require_key(key, source, layout)
        if key in sources:
            raise ValueError(
                f'Expected images of different names in {folder}, but got '
                f'{sources[key].name} and {source.name}. Rename or remove one.'
            )
        sources[key] = source
    paths = list(sources.values())
    pixels = [_image_bytes(path, layout, cut) for path in paths]
    ratio = 1.0 if layout == 'raw' else _png_ratio(paths)
    size = _SPARE + sum(
        # Pages of the tree may be half empty.
        math.ceil((_PAGE_HEADER + ratio * count) / _PAGE) * _PAGE
        + 2 * (_NODE + len(key.encode()))
        for key, counts in zip(sources, pixels, strict=True)
        for count in counts
    )
    return StorePlan(folder, path, layout, sources, cut, size)


def require_room(plans: Sequence[StorePlan]) -> None:
    """Raise OSError where the disk has not the room for all of these stores."""
    if not plans:
        return
    needed = 0
    for plan in plans:
        # What is there already of one that is not whole.
        data = plan.partial / DATA
        needed += plan.bytes - (data.stat().st_size if data.exists() else 0)
    check_space(plans[0].path.parent, needed)


def _require_key(key: str, source: Path, layout: str) -> None:
    longest = _KEY_BYTES - len('_s000')
    # Printable first: some that are not cannot be encoded.
    if not key or not key.isprintable() or len(key.encode()) > longest:
        raise ValueError(
            f'Expected a name of 1 to {longest} bytes without its ending and no '
            f'control characters, but got {source.name!r}. Rename it.'
        )
    if layout == 'png' and ('.' in key or not key.isascii()):
        raise ValueError(
            f'Expected a name of ASCII without a dot, since BasicSR takes no other, '
            f'but got {source.name!r}. Rename it, or make a store of layout `raw`.'
        )


def _image_bytes(path: Path, layout: str, cut: Cut | None) -> list[int]:
    """Give the bytes of each image that is made of a file, uncompressed."""
    # Also where the two change places, the number of bytes is that.
    height, width = read_size(path)
    shapes = [(height, width)]
    if cut is not None:
        shapes = [
            (row.stop - row.start, column.stop - column.start)
            for row, column in cut.windows(height, width)
        ]
    if layout == 'png':
        return [3 * h * w for h, w in shapes]
    return [raw.geometry(h, w, 3).total_bytes for h, w in shapes]


def _png_ratio(paths: Sequence[Path]) -> float:
    """Give compressed over plain size, from three of the images."""
    compressed = plain = 0
    for place in range(3):
        # One that is broken is named when its turn comes.
        with suppress(ValueError):
            image = read_rgb(paths[place * (len(paths) - 1) // 2])
            compressed += len(encode_png(image, PNG_LEVEL))
            plain += image.nbytes
    return compressed / plain if plain else 1.0
