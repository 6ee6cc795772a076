"""CAR: its downscaling network, published and our own, and both networks as one.

Its upscaling network is an EDSR. Published are two files for each scale, both for
images of [0, 1] and from networks in a DataParallel: kgn.pth and usn.pth.
"""

from collections.abc import Mapping

from torch import Tensor

from . import edsr
from .dialect import Dialect, State, Table, count, mean_shift, only_rgb
from .family import Architecture, Family, Part

_PUBLISHED_SIZE = {'mid_channels': 128, 'num_blocks': 5}


def _describe_kgn(state: State) -> Architecture:
    width = state['down_2.weight'].shape[0]
    blocks = count(state, r'body\.(\d+)\.')
    taps = state['kernels_head.conv2.weight'].shape[0]
    scale = round(taps**0.5) // 3
    return Architecture(
        network='KGN',
        options={
            'scale': scale,
            'in_channels': state['conv_first.weight'].shape[1],
            'mid_channels': width,
            'num_blocks': blocks,
        },
        summary=f'KGN x{scale} with {blocks} blocks of {width} channels',
    )


def _trunk(name: str) -> Table:
    return (
        (f'{name}.1.', f'{name}.body.0.'),
        (f'{name}.4.', f'{name}.body.2.'),
        (f'{name}.7.', f'{name}.body.4.'),
        (f'{name}.9.upsample.0.', f'{name}.upsample.0.'),
        (f'{name}.11.', f'{name}.conv_last.'),
    )


def _head(theirs: str, ours: str) -> Table:
    return (f'{theirs}.1.', f'{ours}.conv1.'), (f'{theirs}.4.', f'{ours}.conv2.')


_PUBLISHED = (
    ('ds_1.1.', 'conv_first.'),
    ('ds_2.downsample.1.', 'down_2.'),
    ('ds_4.downsample.1.', 'down_4.'),
    ('ds_8.downsample.1.', 'down_8.'),
    ('res_4.#.transform.1.', 'body.#.conv1.'),
    ('res_4.#.transform.4.', 'body.#.conv2.'),
    *_trunk('kernels_trunk'),
    *_trunk('offsets_trunk'),
    *_head('kernels_weight', 'kernels_head'),
    *_head('offsets_h_generation', 'offsets_h_head'),
    *_head('offsets_v_generation', 'offsets_v_head'),
)


def _constants(state: State, value_range: float) -> dict[str, Tensor]:
    return mean_shift('sub_mean', -1, value_range)


def _refused_as_published(options: Mapping) -> str:
    if {key: options[key] for key in _PUBLISHED_SIZE} != _PUBLISHED_SIZE:
        return 'its KGN has 5 blocks of 128 channels'
    return only_rgb(options)


KGN = Family(
    network='KGN',
    marker=r'kernels_trunk\.',
    first='conv_first',
    last='kernels_head.conv2',
    means={'in_mean': 'sub_mean.bias'},
    describe=_describe_kgn,
    dialects=(
        Dialect(
            name='published',
            packages=('published',),
            marker=r'ds_1\.1\.',
            table=lambda state: _PUBLISHED,
            constants=_constants,
            prefix='module.',
            refuses=_refused_as_published,
        ),
        Dialect(name='sr_plugins', packages=('sr_plugins',), marker=r'kernels_trunk\.'),
    ),
)


def _describe_car(state: State) -> Architecture:
    kgn, usn = (
        part.family.describe(
            {
                key.removeprefix(part.prefix): value
                for key, value in state.items()
                if key.startswith(part.prefix)
            }
        )
        for part in _PARTS
    )

    def without_scale(options: Mapping) -> dict:
        return {key: value for key, value in options.items() if key != 'scale'}

    return Architecture(
        network='CAR',
        options={
            'scale': kgn.options['scale'],
            'downscaler': without_scale(kgn.options),
            'upscaler': without_scale(usn.options),
        },
        summary=f'CAR of {kgn.summary} and {usn.summary}',
        assumed={'upscaler': usn.assumed},
    )


_PARTS = (
    Part('downscaler.', KGN, 'kgn.pth'),
    Part('upscaler.', edsr.EDSR, 'usn.pth'),
)

CAR = Family(
    network='CAR',
    marker=r'downscaler\.',
    first='downscaler.conv_first',
    last='upscaler.conv_last',
    means={},
    describe=_describe_car,
    dialects=(
        Dialect(name='sr_plugins', packages=('sr_plugins',), marker=r'downscaler\.'),
    ),
    parts=_PARTS,
)
