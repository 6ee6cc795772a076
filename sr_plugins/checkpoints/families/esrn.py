"""ESRN: as published in Vega, for BGR in [0, 255], and our own."""

import re
from collections.abc import Mapping

from .dialect import Dialect, State, Table, count, only_rgb
from .family import Architecture, Family


def _describe(state: State) -> Architecture:
    first, last = state['conv_first.weight'], state['conv_last.weight']
    width = first.shape[0]
    scale = 4
    if 'upsample.2.weight' not in state:
        scale = round((state['upsample.0.weight'].shape[0] / last.shape[1]) ** 0.5)
    codes = []
    for i in range(count(state, r'blocks\.(\d+)\.')):
        block = f'blocks.{i}.'
        layers = count(state, rf'blocks\.{i}\.convs\.(\d+)\.')
        growth = state[f'{block}convs.0.weight'].shape[0]
        fuse = state.get(f'{block}fuse.weight')
        kind = 'G'
        if fuse is None:
            fuse = state[f'{block}shrinks.{layers - 1}.weight']
            kind = 'S' if fuse.shape[1] == (layers + 1) * growth else 'C'
        codes.append(f'{kind}_{layers}_{growth}_{fuse.shape[0]}')
    return Architecture(
        network='ESRN',
        options={
            'architecture': codes,
            'scale': scale,
            'in_channels': first.shape[1],
            'mid_channels': width,
            'bias': 'conv_first.bias' in state,
        },
        summary=(
            f'ESRN x{scale} with {width} channels and the blocks {" ".join(codes)}'
        ),
        assumed={'mean_shift': False, 'global_skip': False},
    )


def _published(state: State) -> Table:
    """Names that depend on the kind of a block, and on the number of pixel shuffles."""
    kind = re.compile(r'(?:ERDBLayer\.ERBD|blocks)\.(\d+)\.(?:LFF|fuse)\.')
    groups = {m[1] for key in state if (m := kind.match(key))}
    # Of x4 the last convolution is the third of the upsampler, else the second.
    shuffles_twice = any(key.startswith(('UPNet.4.', 'upsample.2.')) for key in state)
    return (
        ('SFENet1.', 'conv_first.'),
        ('ERDBLayer.SFENet2.', 'conv_second.'),
        ('ERDBLayer.ERBD.#.InConv.', 'blocks.#.in_conv.'),
        ('ERDBLayer.ERBD.#.OutConv.', 'blocks.#.out_conv.'),
        ('ERDBLayer.ERBD.#.LFF.', 'blocks.#.fuse.'),
        *(
            (f'ERDBLayer.ERBD.{i}.convs.#.conv.0.', f'blocks.{i}.convs.#.')
            for i in sorted(groups, key=int)
        ),
        ('ERDBLayer.ERBD.#.Convs.#.0.', 'blocks.#.convs.#.'),
        ('ERDBLayer.ERBD.#.ShrinkConv.#.', 'blocks.#.shrinks.#.'),
        ('ERDBLayer.GFF.', 'fuse.'),
        (f'UPNet.{4 if shuffles_twice else 2}.', 'conv_last.'),
        ('UPNet.', 'upsample.'),
    )


def _refused_as_published(options: Mapping) -> str:
    if options['scale'] == 3:
        return 'its pixel shuffle of x3 does not fit'
    return only_rgb(options)


ESRN = Family(
    network='ESRN',
    marker=r'conv_second\.',
    first='conv_first',
    last='conv_last',
    means={},
    describe=_describe,
    dialects=(
        Dialect(
            name='published',
            packages=('published',),
            marker=r'UPNet\.\d+\.',
            table=_published,
            value_range=255.0,
            is_bgr=True,
            refuses=_refused_as_published,
        ),
        Dialect(name='sr_plugins', packages=('sr_plugins',), marker=r'conv_second\.'),
    ),
    is_homogeneous=True,
)
