"""Sums over 3x3 shifts of a matrix of pixels by cells, the core of CSNLN's attention.

In a matrix M[p, l] of pixels p = (i, j) and cells l = (k, m) both indices shift
together: the sum is over M[p + d, l + d] for d in {-1, 0, 1}^2, and what lies outside
is 0. It is separable: i and k first, then j and m. It is its own transpose.

Layout: (N, rows, W, cells). Each row of cells ends with one column of padding, zero
where it is read, so that a shift by one cell is a slice of the last dimension,
whatever rows it crosses. `stride` is the length of a row of cells with it.

The functions fill tensors that are handed to them, since fresh memory costs more than
the sums. On a GPU the kernels of `shift_sum_triton.py` take over, where there is
Triton, the environment does not say SR_PLUGINS_TRITON=0, and a small matrix comes out
right.
"""

import importlib.util
import os
import warnings
from functools import cache
from types import ModuleType

import torch
from torch import Tensor

KERNEL_DEVICES = {'cuda'}
"""Kinds of devices whose tensors go to the kernels."""


def _kernels(matrix: Tensor) -> ModuleType | None:
    """What replaces this module for a matrix like that, if anything does."""
    device = matrix.device
    if device.type not in KERNEL_DEVICES or not matrix.numel():
        return None
    if matrix.dtype not in (torch.float32, torch.float64) or not _usable(device):
        return None
    from . import shift_sum_triton

    return shift_sum_triton


@cache
def _usable(device: torch.device) -> bool:
    """Whether Triton is wanted, is there, and does on this device what it should."""
    if os.environ.get('SR_PLUGINS_TRITON') == '0':
        return False
    if importlib.util.find_spec('triton') is None:
        return False
    try:
        reason = None if _agree(device) else 'other results'
    # Whatever goes wrong in a compiler, there is another way.
    except Exception as error:
        reason = f'{type(error).__name__}: {error}'
    if reason is not None:
        warnings.warn(
            f'Expected the Triton kernels of CSNLN to work on {device}, but got '
            f'{reason}. The slower operators of torch take their place. '
            f'SR_PLUGINS_TRITON=0 in the environment does without this message.',
            stacklevel=2,
        )
    return reason is None


def _agree(device: torch.device) -> bool:
    """Hold the kernels against torch's operators on a small matrix."""
    from . import shift_sum_triton

    rng = torch.Generator().manual_seed(0)
    stride, shape = 6, (2, 3, 7, 24)
    products = torch.randn(2, 5, 7, 24, generator=rng)
    products[..., stride - 1 :: stride] = 0
    gain, grad = (
        torch.rand(2, 1, 1, 24, generator=rng),
        torch.randn(shape, generator=rng),
    )
    products, gain, grad = (x.to(device) for x in (products, gain, grad))
    results = []
    for forward, backward in (
        (shift_sum_triton.match, shift_sum_triton.match_backward),
        (_match, _match_backward),
    ):
        scratch, sums, weights, out = grad.new_zeros(4, *shape)
        forward(products, gain, stride, scratch, sums, weights)
        results.append((weights, backward(grad, weights, sums, gain, out), out))
    return all(
        torch.allclose(a, b, rtol=1e-3, atol=1e-5)
        for a, b in zip(*results, strict=True)
    )


def shift_sum(matrix: Tensor, stride: int, scratch: Tensor, out: Tensor) -> None:
    """Sum the shifts of (N, rows + 2, W, cells) into `out`, (N, rows, W, cells).

    Args:
        matrix: has one row more at either end than `out`.
        stride: of a row of cells.
        scratch: like `out`; may be overwritten.
        out: its padding is left finite, but not zero.
    """
    if kernels := _kernels(matrix):
        kernels.shift_sum(matrix, stride, scratch, out)
    else:
        _shift_sum(matrix, stride, scratch, out)


def _shift_sum(matrix: Tensor, stride: int, scratch: Tensor, out: Tensor) -> None:
    above, here, below = matrix[:, :-2], matrix[:, 1:-1], matrix[:, 2:]
    scratch[..., :stride] = here[..., :stride]
    torch.add(here[..., stride:], above[..., :-stride], out=scratch[..., stride:])
    scratch[..., :-stride] += below[..., stride:]
    out[:, :, 0] = scratch[:, :, 0]
    out[..., 0] = scratch[..., 0]
    torch.add(scratch[:, :, 1:, 1:], scratch[:, :, :-1, :-1], out=out[:, :, 1:, 1:])
    out[:, :, :-1, :-1] += scratch[:, :, 1:, 1:]


def match(
    products: Tensor,
    gain: Tensor,
    stride: int,
    scratch: Tensor,
    sums: Tensor,
    out: Tensor,
) -> None:
    """Softmax over the cells of `gain` times the shift-sum of `products`.

    Args:
        products: (N, rows + 2, W, cells), of single pixels and cells.
        gain: (N, 1, 1, cells).
        stride: of a row of cells.
        scratch: (N, rows, W, cells); may be overwritten.
        sums: like `scratch`; gets the shift-sum.
        out: like `scratch`; its padding becomes 0.
    """
    if kernels := _kernels(products):
        kernels.match(products, gain, stride, scratch, sums, out)
    else:
        _match(products, gain, stride, scratch, sums, out)


def _match(
    products: Tensor,
    gain: Tensor,
    stride: int,
    scratch: Tensor,
    sums: Tensor,
    out: Tensor,
) -> None:
    _shift_sum(products, stride, scratch, sums)
    torch.mul(sums, gain, out=scratch)
    scratch.unflatten(-1, (-1, stride))[..., -1] = -torch.inf
    torch.softmax(scratch, -1, out=out)


def match_backward(
    grad: Tensor, weights: Tensor, sums: Tensor, gain: Tensor, out: Tensor
) -> Tensor:
    """Back from the weights to the shift-sum; `products` take one more of its result.

    Args:
        grad: (N, rows, W, cells), of the weights.
        weights: that `match` gave.
        sums: that `match` gave; may be overwritten.
        gain: (N, 1, 1, cells).
        out: like `grad`; gets the gradient of the shift-sum.

    Returns:
        (N, cells), the gradient of `gain`.
    """
    if kernels := _kernels(grad):
        return kernels.match_backward(grad, weights, sums, gain, out)
    return _match_backward(grad, weights, sums, gain, out)


def _match_backward(
    grad: Tensor, weights: Tensor, sums: Tensor, gain: Tensor, out: Tensor
) -> Tensor:
    torch.mul(grad, weights, out=out)
    out.addcmul_(weights, out.sum(-1, keepdim=True), value=-1)
    grad_gain = sums.mul_(out).sum((1, 2))
    out.mul_(gain)
    return grad_gain
