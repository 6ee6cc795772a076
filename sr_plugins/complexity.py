"""Parameters and multiply-adds of a network, module by module.

As papers on super-resolution count: multiply-adds of convolutions and matrix products
for one image, by custom an HR image of 1280 x 720 (Ahn et al., ECCV 2018,
https://arxiv.org/abs/1803.08664). Biases, activations, pooling and resampling are left
out. FLOPs are twice as many.

torch's FlopCounterMode counts, on tensors without memory; what it cannot know are our
own ops, for which there are formulas here. Another op takes one:

    @multiply_adds_of(torch.ops.sr_plugins.my_op)
    def _(x, weight, *_):  # shapes, in place of tensors
        return ...
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import nn
from torch._ops import OpOverloadPacket
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode, register_flop_formula

from . import layers, ops  # noqa: F401  (define the operators)
from .nas import HR_SIZE

__all__ = ['Cost', 'format_costs', 'measure', 'multiply_adds_of', 'summary']

HR_SHAPE = (3, *HR_SIZE)
"""Channels, height and width of the image for which papers count."""


class Cost(NamedTuple):
    """What a module costs, with all inside it.

    Attributes:
        name: dotted, as in `named_modules`; '' for the network.
        kind: name of its class.
        params: each counted once, where the network has it first.
        multiply_adds: for one image; 0 where weights are used from outside.
    """

    name: str
    kind: str
    params: int
    multiply_adds: int


def multiply_adds_of(op: OpOverloadPacket) -> Callable[[Callable], Callable]:
    """Decorate a function that gives an op's multiply-adds.

    It gets the op's arguments, the shapes of tensors in place of tensors.
    """

    def register(formula: Callable[..., int]) -> Callable[..., int]:
        @register_flop_formula(op)
        def flops(*shapes, out_shape=None, **options) -> int:
            return 2 * formula(*shapes, **options)

        return formula

    return register


@multiply_adds_of(torch.ops.sr_plugins.in_scale_attention)
def _(query, key, value, *_) -> int:
    n, channels, pixels = query
    return n * pixels**2 * (channels + value[1])


@multiply_adds_of(torch.ops.sr_plugins.cross_scale_attention)
def _(query, key, gain, value, factor, *_) -> int:
    n, channels, height, width = query
    pairs = n * height * width * key[2] * key[3]
    return pairs * (channels + value[1] * factor**2)


@multiply_adds_of(torch.ops.sr_plugins.adaptive_grid_sample)
def _(img, kernels, *_) -> int:
    n, num_taps, height, width = kernels
    # Four pixels a sample.
    return 4 * n * num_taps * height * width * img[1]


def measure(network: nn.Module, hr_shape: Sequence[int] = HR_SHAPE) -> list[Cost]:
    """Count a network and all its modules; nothing is computed or allocated.

    Attention is counted as it is computed here (docs/csnln.md), which takes a ninth of
    the multiply-adds of the published form.

    Args:
        network: on any device, with `scale`, and `in_channels` if not 3.
        hr_shape: channels, height and width of the output. The input has as many whole
            pixels as `scale` leaves; networks with `takes_hr` take the HR image.

    Returns:
        The network itself first, then its modules in their order.

    Raises:
        ValueError: on a shape that is none, or too small for the scale.
    """
    scale = network.scale
    channels = getattr(network, 'in_channels', 3)
    sides = list(hr_shape[1:])
    if not getattr(network, 'takes_hr', False):
        sides = [side // scale for side in sides]
    if len(hr_shape) != 3 or hr_shape[0] != channels or min(sides) < 1:
        raise ValueError(
            f'Expected the shape of the HR image to be {channels} channels, height and '
            f'width, sides of at least {scale}, but got {" ".join(map(str, hr_shape))}.'
        )
    was_training = network.training
    counter = FlopCounterMode(display=False)
    tensors = dict([*network.named_parameters(), *network.named_buffers()])
    with FakeTensorMode(), torch.no_grad():
        # On the CPU, whose path through a network has our ops. Without gradients, as
        # the counter cannot do with views of what wants them.
        tensors = {
            name: torch.empty(tensor.shape, dtype=tensor.dtype)
            for name, tensor in tensors.items()
        }
        x = torch.empty(1, channels, *sides)
        x = x.to(next(iter(tensors.values()), x).dtype)
        with counter:
            functional_call(network.eval(), tensors, (x,))
    network.train(was_training)
    root = type(network).__name__
    flops = {
        name.removeprefix(root).removeprefix('.'): sum(by_op.values())
        for name, by_op in counter.get_flop_counts().items()
    }
    params = {name: p.numel() for name, p in network.named_parameters()}
    return [
        Cost(
            name,
            type(module).__name__,
            sum(n for key, n in params.items() if key.startswith(name and f'{name}.')),
            _flops(flops, name, module) // 2,
        )
        for name, module in network.named_modules()
    ]


def _flops(flops: dict[str, int], name: str, module: nn.Module) -> int:
    """Of a module's calls, or of those of its parts where they are called alone."""
    prefix = f'{name}.' if name else ''
    parts = sum(
        _flops(flops, prefix + child, part) for child, part in module.named_children()
    )
    return max(flops.get(name, 0), parts)


def summary(network: nn.Module, hr_shape: Sequence[int] = HR_SHAPE) -> str:
    """One line: what the figures of `measure` are for."""
    scale = network.scale
    height, width = (side // scale for side in hr_shape[1:])
    return (
        f'{type(network).__name__} x{scale}, for one HR image of {width * scale} x '
        f'{height * scale} from {width} x {height} pixels: multiply-adds of '
        f'convolutions and matrix products. FLOPs are twice as many.'
    )


def format_costs(costs: Sequence[Cost], depth: int = 2) -> str:
    """A Markdown table of modules down to `depth`, the network's total last.

    Modules that cost nothing are left out.
    """
    rows = [('module', 'kind', 'parameters', 'multiply-adds')]
    total, *parts = costs
    for cost in [*parts, total._replace(name='total')]:
        if cost.name.count('.') < depth and any(cost[2:]):
            rows.append(
                (
                    cost.name,
                    cost.kind,
                    f'{cost.params:,}',
                    f'{cost.multiply_adds / 1e9:,.3f} G',
                )
            )
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    lines = [
        f'| {a:<{widths[0]}} | {b:<{widths[1]}} | {c:>{widths[2]}} | {d:>{widths[3]}} |'
        for a, b, c, d in rows
    ]
    lines.insert(1, '|' + '|'.join('-' * (width + 2) for width in widths) + '|')
    return '\n'.join(lines)
