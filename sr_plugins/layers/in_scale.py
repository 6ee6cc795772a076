"""In-scale non-local attention of CSNLN in bounded memory.

On a CPU queries go through in groups; `scaled_dot_product_attention` would want heads
of equal size there, and its backward pass runs images side by side only.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from .memory import check_budget, product, rows_within

_LEAST = 16
"""Pixels: products with fewer are slow, and are summed up in another order."""


def in_scale_attention(
    query: Tensor, key: Tensor, value: Tensor, memory_budget_mb: float | None = None
) -> Tensor:
    """Softmax attention of every pixel to every pixel, without scaling.

    Scores and softmax are float32 at least, whatever the inputs are; the weights meet
    `value` in the type of `value`.

    Args:
        query: (N, C, H, W).
        key: (N, C, H, W).
        value: (N, D, H, W).
        memory_budget_mb: MiB for scores and weights on a CPU; None takes 64. No less
            than 16 pixels of each image are taken. The result does not depend on it.

    Returns:
        (N, D, H, W), of the type of `value`.

    Raises:
        ValueError: on a budget that is not positive.
    """
    check_budget(memory_budget_mb)
    size = value.shape[2:]
    query, key, value = (x.flatten(2) for x in (query, key, value))
    if query.device.type == 'cpu':
        precision = torch.promote_types(query.dtype, torch.float32)
        query, key = query.to(precision), key.to(precision)
        attend = torch.ops.sr_plugins.in_scale_attention
        output = attend(query, key, value, memory_budget_mb)
    else:
        output = fused_attention(query, key, value)
    return output.unflatten(2, size)


def fused_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """`scaled_dot_product_attention` of (N, C, P), (N, C, P) and (N, D, P)."""
    width = max(query.shape[1], value.shape[1])
    channels = value.shape[1]
    # Kernels that hold no P x P matrix want one size for all.
    query, key, value = (
        F.pad(x.transpose(1, 2), (0, width - x.shape[1])).unsqueeze(1)
        for x in (query, key, value)
    )
    output = F.scaled_dot_product_attention(query, key, value, scale=1.0)
    return output.squeeze(1)[..., :channels].transpose(1, 2)


def _group_size(query: Tensor, budget_mb: float | None, buffers: int) -> int:
    """How many pixels' rows of the matrix fit into the budget together."""
    n, _, pixels = query.shape
    row_bytes = n * pixels * query.element_size()
    size = max(_LEAST, rows_within(budget_mb, query.device, row_bytes, buffers))
    return -(-pixels // -(-pixels // size))


def _weigh(query: Tensor, key: Tensor, scores: Tensor, out: Tensor) -> None:
    torch.bmm(query.transpose(1, 2), key, out=scores)
    torch.softmax(scores, 2, out=out)


_NAME = 'sr_plugins::in_scale_attention'
_INPUTS = 'Tensor query, Tensor key, Tensor value, float? budget_mb'
torch.library.define(_NAME, f'({_INPUTS}) -> Tensor')
torch.library.define(
    f'{_NAME}_backward', f'(Tensor grad, {_INPUTS}) -> (Tensor, Tensor, Tensor)'
)


@torch.library.impl(_NAME, 'CompositeExplicitAutograd')
def _attend(
    query: Tensor, key: Tensor, value: Tensor, budget_mb: float | None
) -> Tensor:
    with torch.autocast(query.device.type, enabled=False):
        n, _, pixels = query.shape
        size = _group_size(query, budget_mb, buffers=2)
        # Fresh memory for each group would cost more than the softmax.
        buffers = query.new_empty(2, n, size, pixels)
        output = torch.empty_like(value)
        for start in range(0, pixels, size):
            group = slice(start, min(start + size, pixels))
            scores, weights = buffers[:, :, : group.stop - start]
            _weigh(query[:, :, group], key, scores, weights)
            mixed = weights.transpose(1, 2).to(value.dtype)
            output[:, :, group] = torch.bmm(value, mixed)
        return output


@torch.library.register_fake(_NAME)
def _(query, key, value, budget_mb):
    return torch.empty_like(value)


@torch.library.impl(f'{_NAME}_backward', 'CompositeExplicitAutograd')
def _attend_backward(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, budget_mb: float | None
) -> tuple[Tensor, Tensor, Tensor]:
    with torch.autocast(query.device.type, enabled=False):
        n, _, pixels = query.shape
        size = _group_size(query, budget_mb, buffers=2)
        buffers = query.new_empty(2, n, size, pixels)
        d_query = torch.empty_like(query)
        d_key, d_value = torch.zeros_like(key), torch.zeros_like(value)
        for start in range(0, pixels, size):
            group = slice(start, min(start + size, pixels))
            queries, d_output = query[:, :, group], grad[:, :, group]
            d_scores, weights = buffers[:, :, : group.stop - start]
            _weigh(queries, key, d_scores, weights)
            d_value.baddbmm_(d_output, weights.to(value.dtype))
            product(d_output.transpose(1, 2), value, out=d_scores)
            d_scores.mul_(weights)
            d_scores.addcmul_(weights, d_scores.sum(2, keepdim=True), value=-1)
            d_query[:, :, group] = torch.bmm(key, d_scores.transpose(1, 2))
            d_key.baddbmm_(queries, d_scores)
        return d_query, d_key, d_value


@torch.library.register_fake(f'{_NAME}_backward')
def _(grad, query, key, value, budget_mb):
    return tuple(torch.empty_like(x) for x in (query, key, value))


def _save(ctx, inputs, output):
    *tensors, ctx.budget_mb = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx, grad):
    query, key, value = ctx.saved_tensors
    backward = torch.ops.sr_plugins.in_scale_attention_backward
    grad = grad.to(value.dtype)
    return *backward(grad, query, key, value, ctx.budget_mb), None


torch.library.register_autograd(_NAME, _backward, setup_context=_save)
