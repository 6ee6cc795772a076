"""EDSR: published, by BasicSR, and by mmagic, whose names are ours."""

import re
from collections.abc import Mapping

from torch import Tensor

from .dialect import Dialect, State, Table, count, mean_shift, only_rgb
from .family import Architecture, Family

MDSR_ONLY = r'pre_process\.'
"""What MDSR has and EDSR, whose other names are the same, has not."""
_MANY_CHANNELS = 256


def upsampler_scale(state: State, prefix: str, width: int) -> int:
    """Scale of the pixel shuffles under `prefix`, a pattern."""
    scale = 1
    for key, value in state.items():
        if re.fullmatch(rf'{prefix}\d+\.upsample_conv\.weight', key):
            scale *= round((value.shape[0] / width) ** 0.5)
    return scale


def depth(state: State) -> int:
    """Number of blocks, under published names or ours."""
    # As published, the convolution after the body has the number of blocks.
    last = [int(m[1]) for k in state if (m := re.match(r'body\.(\d+)\.weight$', k))]
    return max(last, default=count(state, r'body\.(\d+)\.'))


def describe(state: State) -> Architecture:
    first, last = state['conv_first.weight'], state['conv_last.weight']
    width = first.shape[0]
    blocks = count(state, r'body\.(\d+)\.')
    scale = upsampler_scale(state, r'upsample\.', width)
    return Architecture(
        network='EDSR',
        options={
            'scale': scale,
            'in_channels': first.shape[1],
            'out_channels': last.shape[0],
            'mid_channels': width,
            'num_blocks': blocks,
        },
        summary=f'EDSR x{scale} with {blocks} blocks of {width} channels',
        # As published: 0.1 for 256 channels, else 1.
        assumed={'res_scale': 0.1 if width >= _MANY_CHANNELS else 1.0},
    )


def published_blocks(state: State) -> Table:
    """The body, which EDSR and MDSR share."""
    return (
        ('body.#.body.0.', 'body.#.conv1.'),
        ('body.#.body.2.', 'body.#.conv2.'),
        (f'body.{depth(state)}.', 'conv_after_body.'),
    )


def _published(state: State) -> Table:
    return (
        ('head.0.', 'conv_first.'),
        *published_blocks(state),
        ('tail.0.0.', 'upsample.0.upsample_conv.'),
        ('tail.0.2.', 'upsample.1.upsample_conv.'),
        ('tail.1.', 'conv_last.'),
    )


def mean_shifts(state: State, value_range: float) -> dict[str, Tensor]:
    return {
        **mean_shift('sub_mean', -1, value_range),
        **mean_shift('add_mean', 1, value_range),
    }


def _refused_by_basicsr(options: Mapping) -> str:
    if options['scale'] == 1:
        return (
            'its file of scale 1 has our names and a range of 255, so that nobody '
            'could tell what it holds'
        )
    return only_rgb(options)


EDSR = Family(
    network='EDSR',
    marker=r'conv_after_body\.',
    first='conv_first',
    last='conv_last',
    means={'in_mean': 'sub_mean.bias', 'out_mean': 'add_mean.bias'},
    describe=describe,
    dialects=(
        Dialect(
            name='published',
            packages=('published',),
            marker=r'body\.\d+\.body\.0\.weight',
            table=_published,
            value_range=255.0,
            reads_range=True,
            constants=mean_shifts,
            refuses=only_rgb,
        ),
        Dialect(
            name='BasicSR',
            packages=('basicsr',),
            marker=r'upsample\.\d+\.weight',
            table=lambda state: (
                ('upsample.0.', 'upsample.0.upsample_conv.'),
                ('upsample.2.', 'upsample.1.upsample_conv.'),
            ),
            value_range=255.0,
            refuses=_refused_by_basicsr,
        ),
        Dialect(
            name='sr_plugins or mmagic',
            packages=('sr_plugins', 'mmagic'),
            marker=r'conv_first\.',
        ),
    ),
    foreign=MDSR_ONLY,
)
