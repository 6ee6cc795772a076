"""Cross-scale non-local attention of CSNLN in bounded memory.

Mei et al., CVPR 2020, https://arxiv.org/abs/2006.01424. The result is the published
one (`attention_reference.py`), computed without patches: the product of two 3x3 patches
is the sum over shifts of products of single pixels, and laying 3x3 patches over each
other is the same sum of their weights. docs/csnln.md derives it.

The matrix of pixels by cells is made for a band of rows at a time, from top to bottom.
The backward pass makes it again.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from .memory import check_budget, product, rows_within
from .shift_sum import match, match_backward, shift_sum

SOFTMAX_SCALE = 10.0
"""Sharpness of the softmax."""
MIN_NORM = 1e-4
"""Lower bound of a key patch's norm; the published `escape_NaN`."""
_OVERLAP = 6
"""The published divisor of up to 9 overlapping patches."""


def cross_scale_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    factor: int,
    memory_budget_mb: float | None = None,
) -> Tensor:
    """Every 3x3 patch finds its like at `1 / factor` and copies what is there.

    Patches of `query` are matched with l2-normalised patches of the smaller `key`;
    the result is the weighted overlap of the `3 * factor` patches of `value` that lie
    where the keys lie, divided by 6.

    Scores and weights are float32 at least, whatever the inputs are; the weights meet
    `value` in the type of `value`.

    Args:
        query: (N, C, H, W), H and W divisible by `factor`.
        key: (N, C, H / factor, W / factor).
        value: (N, D, H, W).
        factor: how much larger the output is than the input.
        memory_budget_mb: MiB for scores and weights; None takes 64 on a CPU and 1024
            elsewhere. No less than a band of one row is taken. The result does not
            depend on it.

    Returns:
        (N, D, factor * H, factor * W), of the type of `value`.

    Raises:
        ValueError: on sizes that do not fit, or a budget that is not positive.
    """
    check_budget(memory_budget_mb)
    n, channels, *size = query.shape
    cells = [side // factor for side in size]
    if (
        key.shape != (n, channels, *cells)
        or [side * factor for side in cells] != size
        or (n, *size) != (value.shape[0], *value.shape[2:])
    ):
        raise ValueError(
            f'Expected `query` to be (N, C, H, W), `key` (N, C, H / {factor}, W / '
            f'{factor}) and `value` (N, D, H, W), but got {tuple(query.shape)}, '
            f'{tuple(key.shape)} and {tuple(value.shape)}.'
        )
    precision = torch.promote_types(query.dtype, torch.float32)
    query, key = query.to(precision), key.to(precision)
    energy = key.square().sum(1, keepdim=True)
    energy = F.avg_pool2d(energy, 3, stride=1, padding=1, divisor_override=1)
    gain = SOFTMAX_SCALE * energy.clamp_min(MIN_NORM**2).rsqrt()
    return torch.ops.sr_plugins.cross_scale_attention(
        query, key, gain, value, factor, memory_budget_mb
    )


class _Operands(NamedTuple):
    """Inputs laid out as matrices; rows of pixels are padded to whole bands.

    Attributes:
        queries: (N, rows, W, C).
        keys: (N, C, cells).
        gain: (N, 1, 1, cells).
        blocks: (N, D * factor**2, cells), what of the output a cell stands for.
        stride: of a row of cells, with its column of zeros.
        band: rows of pixels worked on at once.
    """

    queries: Tensor
    keys: Tensor
    gain: Tensor
    blocks: Tensor
    stride: int
    band: int

    def buffer(self, extra_rows: int) -> Tensor:
        """Zeros for a band of the matrix of pixels by cells."""
        n, _, width, _ = self.queries.shape
        cells = self.keys.shape[2]
        return self.queries.new_zeros(n, self.band + extra_rows, width, cells)


def _lay_out(
    query: Tensor,
    key: Tensor,
    gain: Tensor,
    value: Tensor,
    factor: int,
    budget_mb: float | None,
    buffers: int,
    extra_rows: int,
) -> _Operands:
    n, _, height, width = query.shape
    keys, gain, blocks = (
        F.pad(x, (0, 1)).flatten(2)
        for x in (key, gain, F.pixel_unshuffle(value, factor))
    )
    row_bytes = n * width * keys.shape[2] * query.element_size()
    band = rows_within(budget_mb, query.device, row_bytes, buffers, extra_rows)
    # Results come two rows late: a shift-sum needs the row below.
    steps = -(-(height + 2) // band)
    band = -(-(height + 2) // steps)
    queries = F.pad(query, (0, 0, 0, steps * band - height)).permute(0, 2, 3, 1)
    return _Operands(
        queries.contiguous(), keys, gain.unsqueeze(1), blocks, key.shape[3] + 1, band
    )


def _advance(window: Tensor) -> Tensor:
    """Move the last two rows to the front; the rest is to be filled."""
    window[:, :2] = window[:, -2:].clone()
    return window[:, 2:]


def _clear_outside(rows: Tensor, first: int, height: int) -> None:
    """Zero the rows, of which the first has number `first`, that no pixel lies in."""
    rows[:, : max(0, -first)] = 0
    rows[:, max(0, height - first) :] = 0


_NAME = 'sr_plugins::cross_scale_attention'
_INPUTS = (
    'Tensor query, Tensor key, Tensor gain, Tensor value, int factor, float? budget_mb'
)
torch.library.define(_NAME, f'({_INPUTS}) -> Tensor')
torch.library.define(
    f'{_NAME}_backward', f'(Tensor grad, {_INPUTS}) -> (Tensor, Tensor, Tensor, Tensor)'
)


@torch.library.impl(_NAME, 'CompositeExplicitAutograd')
def _attend(
    query: Tensor,
    key: Tensor,
    gain: Tensor,
    value: Tensor,
    factor: int,
    budget_mb: float | None,
) -> Tensor:
    with torch.autocast(query.device.type, enabled=False):
        x = _lay_out(query, key, gain, value / _OVERLAP, factor, budget_mb, 4, 4)
        height = query.shape[2]
        products, weights = x.buffer(2), x.buffer(2)
        scratch, sums = x.buffer(0), x.buffer(0)
        n, channels, _, width = value.shape
        output = value.new_empty(n, channels, height * factor, width * factor)
        for start in range(0, x.queries.shape[1], x.band):
            queries = x.queries[:, start : start + x.band].flatten(1, 2)
            torch.bmm(queries, x.keys, out=_advance(products).flatten(1, 2))
            new = _advance(weights)
            match(products, x.gain, x.stride, scratch, sums, new)
            _clear_outside(new, start - 1, height)
            shift_sum(weights, x.stride, scratch, sums)
            first = max(0, start - 2)
            last = max(first, min(start - 2 + x.band, height))
            mixed = sums[:, first - start + 2 : last - start + 2].flatten(1, 2)
            piece = x.blocks @ mixed.transpose(1, 2).to(x.blocks.dtype)
            output[:, :, first * factor : last * factor] = F.pixel_shuffle(
                piece.unflatten(2, (-1, width)), factor
            )
        return output


@torch.library.register_fake(_NAME)
def _(query, key, gain, value, factor, budget_mb):
    n, channels, height, width = value.shape
    return value.new_empty(n, channels, height * factor, width * factor)


@torch.library.impl(f'{_NAME}_backward', 'CompositeExplicitAutograd')
def _attend_backward(
    grad: Tensor,
    query: Tensor,
    key: Tensor,
    gain: Tensor,
    value: Tensor,
    factor: int,
    budget_mb: float | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    with torch.autocast(query.device.type, enabled=False):
        x = _lay_out(query, key, gain, value, factor, budget_mb, 7, 8)
        _, _, height, width = query.shape
        rows = x.queries.shape[1]
        grad = F.pixel_unshuffle(grad.to(value.dtype) / _OVERLAP, factor)
        grad = F.pad(grad, (0, 0, 0, rows - height))
        products, weights, d_mixed, d_sums = (x.buffer(2) for _ in range(4))
        scratch, sums, work = (x.buffer(0) for _ in range(3))
        d_queries = torch.empty_like(x.queries[:, :height])
        d_keys, d_blocks = (torch.zeros_like(k) for k in (x.keys, x.blocks))
        d_gain = torch.zeros_like(x.gain[:, 0, 0])
        for start in range(0, rows, x.band):
            band = slice(start, start + x.band)
            queries = x.queries[:, band].flatten(1, 2)
            torch.bmm(queries, x.keys, out=_advance(products).flatten(1, 2))
            product(
                grad[:, :, band].flatten(2).transpose(1, 2),
                x.blocks,
                out=_advance(d_mixed).flatten(1, 2),
            )
            new = _advance(weights)
            match(products, x.gain, x.stride, scratch, sums, new)
            _clear_outside(new, start - 1, height)
            shift_sum(d_mixed, x.stride, scratch, work)
            d_gain += match_backward(work, new, sums, x.gain, _advance(d_sums))

            first = max(0, start - 2)
            last = max(first, min(start - 2 + x.band, height))
            inside = slice(first - start + 2, last - start + 2)
            shift_sum(weights, x.stride, scratch, work)
            mixed = work[:, inside].flatten(1, 2).to(x.blocks.dtype)
            d_blocks.baddbmm_(grad[:, :, first:last].flatten(2), mixed)
            shift_sum(d_sums, x.stride, scratch, work)
            d_products = work[:, inside].flatten(1, 2)
            d_queries[:, first:last] = (d_products @ x.keys.transpose(1, 2)).unflatten(
                1, (-1, width)
            )
            queries = x.queries[:, first:last].flatten(1, 2)
            d_keys.baddbmm_(queries.transpose(1, 2), d_products)
        d_key, d_gain, d_blocks = (
            d.unflatten(-1, (-1, x.stride))[..., :-1]
            for d in (d_keys, d_gain.unsqueeze(1), d_blocks)
        )
        return (
            d_queries.permute(0, 3, 1, 2).contiguous(),
            d_key.contiguous(),
            d_gain.contiguous(),
            F.pixel_shuffle(d_blocks, factor),
        )


@torch.library.register_fake(f'{_NAME}_backward')
def _(grad, query, key, gain, value, factor, budget_mb):
    return tuple(torch.empty_like(x) for x in (query, key, gain, value))


def _save(ctx, inputs, output):
    *tensors, ctx.factor, ctx.budget_mb = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx, grad):
    backward = torch.ops.sr_plugins.cross_scale_attention_backward
    gradients = backward(grad, *ctx.saved_tensors, ctx.factor, ctx.budget_mb)
    return *gradients, None, None


torch.library.register_autograd(_NAME, _backward, setup_context=_save)
