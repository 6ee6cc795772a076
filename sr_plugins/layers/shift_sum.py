"""Sums over 3x3 shifts of a matrix of pixels by cells, the core of CSNLN's attention.

In a matrix M[p, l] of pixels p = (i, j) and cells l = (k, m) both indices shift
together: the sum is over M[p + d, l + d] for d in {-1, 0, 1}^2, and what lies outside
is 0. It is separable: i and k first, then j and m. It is its own transpose.

Layout: (N, rows, W, cells). Each row of cells ends with one column of padding, zero
where it is read, so that a shift by one cell is a slice of the last dimension,
whatever rows it crosses. `stride` is the length of a row of cells with it.

The functions fill tensors that are handed to them, since fresh memory costs more than
the sums. They are what a fused kernel has to replace.
"""

import torch
from torch import Tensor


def shift_sum(matrix: Tensor, stride: int, scratch: Tensor, out: Tensor) -> None:
    """Sum the shifts of (N, rows + 2, W, cells) into `out`, (N, rows, W, cells).

    Args:
        matrix: has one row more at either end than `out`.
        stride: of a row of cells.
        scratch: like `out`; overwritten.
        out: its padding is left finite, but not zero.
    """
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
        scratch: (N, rows, W, cells); overwritten.
        sums: like `scratch`; gets the shift-sum.
        out: like `scratch`; its padding becomes 0.
    """
    shift_sum(products, stride, scratch, sums)
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
        sums: that `match` gave; overwritten.
        gain: (N, 1, 1, cells).
        out: like `grad`; gets the gradient of the shift-sum.

    Returns:
        (N, cells), the gradient of `gain`.
    """
    torch.mul(grad, weights, out=out)
    out.addcmul_(weights, out.sum(-1, keepdim=True), value=-1)
    grad_gain = sums.mul_(out).sum((1, 2))
    out.mul_(gain)
    return grad_gain
