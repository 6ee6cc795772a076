"""CSNLN: published and our own."""

from collections.abc import Mapping

import torch
from torch import Tensor

from ...layers.cross_scale import MIN_NORM
from .dialect import Dialect, State, Table, only_rgb
from .edsr import mean_shifts
from .family import Architecture, Family

_ATTENTION = 'SEM.multi_source_projection'
_PUBLISHED_WIDTH = 128


def _describe(state: State) -> Architecture:
    first = state['head.0.0.weight']
    width = first.shape[0]
    kernel = state['cell.stages.0.error_encode.0.weight'].shape[-1]
    scale = 4 if _has_two_stages(state) else kernel // 3
    recurrences = state['tail.weight'].shape[1] // width
    return Architecture(
        network='CSNLN',
        options={
            'scale': scale,
            'in_channels': first.shape[1],
            'mid_channels': width,
            'num_recurrences': recurrences,
        },
        summary=f'CSNLN x{scale} with {recurrences} recurrences of {width} channels',
    )


def _has_two_stages(state: State) -> bool:
    """Whether the scale is 4, under published names or ours."""
    return any(
        key.startswith(('SEM.error_encode_2.', 'cell.stages.1.error_encode.'))
        for key in state
    )


def _projection(theirs: str, stage: int) -> Table:
    ours = f'cell.stages.{stage}.projection.'
    return (
        (f'{theirs}.up_attention.conv_match_1.', f'{ours}cross_scale.query.'),
        (f'{theirs}.up_attention.conv_match_2.', f'{ours}cross_scale.key.'),
        (f'{theirs}.up_attention.conv_assembly.', f'{ours}cross_scale.value.'),
        (f'{theirs}.down_attention.conv_match1.', f'{ours}in_scale.query.'),
        (f'{theirs}.down_attention.conv_match2.', f'{ours}in_scale.key.'),
        (f'{theirs}.down_attention.conv_assembly.', f'{ours}in_scale.value.'),
        (f'{theirs}.encoder.body.', f'{ours}encoder.'),
        (f'{theirs}.', ours),
    )


def _published(state: State) -> Table:
    last = 4 if _has_two_stages(state) else 2
    return (
        *_projection(_ATTENTION, 0),
        *_projection(f'{_ATTENTION}_2', 1),
        ('SEM.down_sample_1.', 'cell.stages.0.down_error.'),
        ('SEM.down_sample_3.', 'cell.stages.1.down_error.'),
        (f'SEM.down_sample_{last}.', 'cell.down.'),
        ('SEM.error_encode.', 'cell.stages.0.error_encode.'),
        ('SEM.error_encode_2.', 'cell.stages.1.error_encode.'),
        ('SEM.post_conv.', 'cell.post_conv.'),
        ('tail.0.', 'tail.'),
    )


def _constants(state: State, value_range: float) -> dict[str, Tensor]:
    attentions = [_ATTENTION]
    if _has_two_stages(state):
        attentions.append(f'{_ATTENTION}_2')
    bounds = {
        f'{name}.up_attention.escape_NaN': torch.tensor([MIN_NORM])
        for name in attentions
    }
    return {**mean_shifts(state, value_range), **bounds}


def _refused_as_published(options: Mapping) -> str:
    if options['mid_channels'] != _PUBLISHED_WIDTH:
        return f'its attention has {_PUBLISHED_WIDTH} channels'
    return only_rgb(options)


CSNLN = Family(
    network='CSNLN',
    marker=r'cell\.post_conv\.',
    first='head.0.0',
    last='tail',
    means={'mean': 'sub_mean.bias'},
    describe=_describe,
    dialects=(
        Dialect(
            name='published',
            packages=('published',),
            marker=r'SEM\.post_conv\.',
            table=_published,
            reads_range=True,
            constants=_constants,
            refuses=_refused_as_published,
        ),
        Dialect(
            name='sr_plugins', packages=('sr_plugins',), marker=r'cell\.post_conv\.'
        ),
    ),
)
