"""How testing and inference go through images, from a command line into a config."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.config import Config

from ..models import Tiling


def set_image_options(
    cfg: Config,
    chop: Sequence[int] | None = None,
    tile: int | None = None,
    overlap: str | int | None = None,
    seams: str | None = None,
    self_ensemble: bool = False,
    amp: str | None = None,
) -> None:
    """Put the options into `model.test_cfg`, and take the model that heeds them.

    Args:
        cfg: the config.
        chop: of `--chop`, nothing or two numbers; None for no quarters.
        tile: of `--tile`; None for no tiles.
        overlap: of `--overlap`, pixels or 'auto'.
        seams: of `--seams`.
        self_ensemble: whether there is `--self-ensemble`.
        amp: of `--amp`; None for float32.

    Raises:
        ValueError: on wrong values, or for a model that takes whole images.
    """
    test_cfg = cfg.get('model', {}).get('test_cfg') or {}
    options = parse_image_options(
        chop, tile, overlap, seams, self_ensemble, amp, test_cfg.get('tile')
    )
    if not options:
        return
    if cfg.model['type'] == 'BaseEditModel':
        # It takes whole images only, and is what many configs name.
        cfg.model['type'] = 'sr_plugins.SRModel'
    heeding = ['sr_plugins.SRModel', 'sr_plugins.MultiScaleModel']
    if 'chop' not in options:
        heeding.append('sr_plugins.CARModel')
    if cfg.model['type'] not in heeding:
        name = next(iter(options)).replace('_', '-')
        raise ValueError(
            f'Expected `--{name}` for a model that enlarges LR images, but got '
            f'{cfg.model["type"]}, which does not. Leave it out.'
        )
    test_cfg = {**test_cfg, **options}
    if len({'chop', 'tile'} & set(options)) == 1:
        # What is told replaces what the config has.
        test_cfg.pop('tile' if 'chop' in options else 'chop', None)
    cfg.model['test_cfg'] = test_cfg


def parse_image_options(
    chop: Sequence[int] | None = None,
    tile: int | None = None,
    overlap: str | int | None = None,
    seams: str | None = None,
    self_ensemble: bool = False,
    amp: str | None = None,
    known_tile: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Arguments of `ImageForward`, of those of `set_image_options`.

    Args:
        chop: as there.
        tile: as there.
        overlap: as there.
        seams: as there.
        self_ensemble: as there.
        amp: as there.
        known_tile: what tiles are as far as nothing else is told.

    Raises:
        ValueError: on wrong values.
    """
    options: dict[str, Any] = {}
    if chop is not None:
        options['chop'] = _chop(chop)
    if tile is not None or overlap is not None or seams is not None:
        options['tile'] = _tile(tile, overlap, seams, known_tile)
    if self_ensemble:
        options['self_ensemble'] = True
    if amp is not None:
        options['amp'] = amp
    return options


def set_scale(cfg: Config, scale: int) -> None:
    """Validate, test and use a network of several scales, MDSR, at one of them.

    Args:
        cfg: the config. One of a single scale may be told that one.
        scale: of `--scale`.

    Raises:
        ValueError: when the network of the config does not have that scale.
    """
    generator = cfg.get('model', {}).get('generator', {})
    scales = generator.get('scales') or [generator.get('scale')]
    if scale not in scales:
        raise ValueError(
            f'Expected `--scale` to be one that the network of the config has, '
            f'{", ".join(map(str, scales))}, but got {scale}. Take a config of that '
            f'scale.'
        )
    generator['scale'] = scale
    for part in ('val', 'test'):
        if f'{part}_dataloader' in cfg:
            cfg[f'{part}_dataloader']['dataset']['scale'] = scale


def _chop(values: Sequence[int]) -> dict[str, int]:
    shave, min_size = values if len(values) == 2 else (10, 3600)
    if len(values) not in (0, 2) or shave < 0 or min_size < 1:
        raise ValueError(
            f'Expected `--chop` to be followed by nothing or by SHAVE, at least 0, and '
            f'MIN_SIZE, at least 1, but got {" ".join(map(str, values))}.'
        )
    return {'shave': shave, 'min_size': min_size}


def _tile(
    size: int | None,
    overlap: str | int | None,
    seams: str | None,
    known: Mapping[str, Any] | None,
) -> dict:
    """Arguments of `Tiling`; those that are not told are the config's."""
    tile = dict(known or {})
    if size is None and not tile:
        raise ValueError(
            'Expected `--overlap` and `--seams` to come with `--tile`, but got them '
            'alone. Add the side of a tile, such as `--tile 256`.'
        )
    if isinstance(overlap, str) and overlap != 'auto':
        if not overlap.isdecimal():
            raise ValueError(
                f"Expected `--overlap` to be a number of LR pixels or 'auto', but got "
                f'{overlap!r}.'
            )
        overlap = int(overlap)
    given = {'size': size, 'overlap': overlap, 'seams': seams}
    tile.update((key, value) for key, value in given.items() if value is not None)
    Tiling(**tile)
    return tile
