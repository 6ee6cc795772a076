"""MDSR: published and our own."""

from .dialect import Dialect, State, Table, count, only_rgb
from .edsr import MDSR_ONLY, mean_shifts, published_blocks, upsampler_scale
from .family import Architecture, Family


def _describe(state: State) -> Architecture:
    first, last = state['conv_first.weight'], state['conv_last.weight']
    width = first.shape[0]
    blocks = count(state, r'body\.(\d+)\.')
    scales = tuple(
        upsampler_scale(state, rf'upsample\.{i}\.', width)
        for i in range(count(state, r'pre_process\.(\d+)\.'))
    )
    listed = ', '.join(f'x{scale}' for scale in scales)
    return Architecture(
        network='MDSR',
        options={
            'scales': scales,
            'mid_channels': width,
            'num_blocks': blocks,
            'in_channels': first.shape[1],
            'out_channels': last.shape[0],
        },
        summary=f'MDSR for {listed} with {blocks} blocks of {width} channels',
    )


def _published(state: State) -> Table:
    return (
        ('head.0.', 'conv_first.'),
        ('pre_process.#.#.body.0.', 'pre_process.#.#.conv1.'),
        ('pre_process.#.#.body.2.', 'pre_process.#.#.conv2.'),
        *published_blocks(state),
        ('upsample.#.0.', 'upsample.#.0.upsample_conv.'),
        ('upsample.#.2.', 'upsample.#.1.upsample_conv.'),
        ('tail.0.', 'conv_last.'),
    )


MDSR = Family(
    network='MDSR',
    marker=MDSR_ONLY,
    first='conv_first',
    last='conv_last',
    means={'in_mean': 'sub_mean.bias', 'out_mean': 'add_mean.bias'},
    describe=_describe,
    dialects=(
        Dialect(
            name='published',
            packages=('published',),
            marker=r'pre_process\.\d+\.\d+\.body\.0\.weight',
            table=_published,
            value_range=255.0,
            reads_range=True,
            constants=mean_shifts,
            refuses=only_rgb,
        ),
        Dialect(name='sr_plugins', packages=('sr_plugins',), marker=MDSR_ONLY),
    ),
)
