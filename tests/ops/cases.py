"""Inputs of the operator, its gradients, and how to compare them."""

import numpy as np
import torch

from sr_plugins.ops import adaptive_grid_sample as sample

# Scale, batch, channels, rows and columns of the output, reach of the offsets.
CASES = [
    (1, 1, 1, 3, 5, 1.0),
    (2, 2, 3, 6, 5, 1.0),
    (2, 1, 1, 3, 2, 9.0),
    (3, 1, 5, 4, 3, 2.0),
    (4, 2, 3, 4, 5, 1.5),
    # More than the loops take at a time, and a channel in a group of its own.
    (2, 1, 9, 2, 133, 1.0),
    (4, 1, 4, 9, 2, 1e3),
    (2, 1, 2, 5, 4, 1e30),
]


def make(scale, n, channels, rows, columns, reach, dtype=torch.float64):
    """img, kernels, offsets_h, offsets_v."""
    rng = np.random.default_rng(scale * 100 + rows * 10 + columns)
    taps = (3 * scale + 1) ** 2
    kernels = rng.random((n, taps, rows, columns))
    kernels /= kernels.sum(1, keepdims=True)
    arrays = [
        rng.random((n, channels, rows * scale, columns * scale)),
        kernels,
        rng.uniform(-reach, reach, kernels.shape),
        rng.uniform(-reach, reach, kernels.shape),
    ]
    return [torch.from_numpy(array).to(dtype) for array in arrays]


def everything(inputs, scale, function=sample, seed=0):
    """The output, and gradients of all inputs for a random one of the output."""
    leaves = [tensor.detach().requires_grad_() for tensor in inputs]
    output = function(*leaves, scale)
    generator = torch.Generator().manual_seed(seed)
    grad = torch.rand(output.shape, generator=generator, dtype=torch.float64)
    gradients = torch.autograd.grad(output, leaves, grad.to(output.dtype))
    return [output.detach(), *gradients]


def agree(found, expected, tolerance):
    for a, b in zip(found, expected, strict=True):
        a, b = a.detach(), b.detach()
        assert a.shape == b.shape
        scale = max(float(b.abs().max()), 1e-30)
        assert float((a.double() - b.double()).abs().max()) <= tolerance * scale
