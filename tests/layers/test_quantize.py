"""Rounding against numpy's, gradients against the slope of the stand-in."""

import math

import numpy as np
import pytest
import torch

from sr_plugins.layers import quantize


def gradient(x, **kwargs):
    x = x.clone().requires_grad_()
    quantize(x, **kwargs).sum().backward()
    return x.grad


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
@pytest.mark.parametrize('alpha', [0, 0.5, 1])
def test_values_are_those_of_an_8_bit_image(dtype, alpha):
    x = torch.linspace(-0.3, 1.3, 4001, dtype=dtype).requires_grad_()
    stored = np.clip(x.detach().numpy() * 255, 0, 255).round().astype(np.uint8)
    expected = torch.from_numpy(stored).to(dtype) / 255
    assert torch.equal(quantize(x, alpha), expected)


def test_straight_through():
    x = torch.tensor([-0.1, 0.0, 0.2, 0.5 / 255, 1.0, 1.1])
    assert gradient(x).tolist() == [0, 1, 1, 1, 1, 0]


@pytest.mark.parametrize('alpha', [0.3, 1.0])
def test_soft_rounding(alpha):
    """The slope of v - alpha sin(2 pi v) / (2 pi), by differences."""
    x = torch.linspace(0.0003, 0.9996, 777, dtype=torch.float64)

    def smooth(x):
        return x - alpha * (2 * math.pi * 255 * x).sin() / (2 * math.pi * 255)

    step = 1e-7
    slope = (smooth(x + step) - smooth(x - step)) / (2 * step)
    found = gradient(x, soft_round_alpha=alpha)
    torch.testing.assert_close(found, slope, rtol=1e-4, atol=1e-6)


def test_soft_rounding_at_and_between_levels():
    levels = torch.tensor([0, 3, 3.5, 254.5, 255], dtype=torch.float64) / 255
    found = gradient(levels, soft_round_alpha=1.0)
    expected = torch.tensor([0, 0, 2, 2, 0], dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    outside = torch.tensor([-0.01, 1.01])
    assert gradient(outside, soft_round_alpha=1.0).tolist() == [0, 0]
