"""The partial total variation against loops, and numbers worked by hand."""

import pytest
import torch

from sr_plugins.losses import PartialTVLoss, partial_tv_loss


def slow(kernels, offsets_h, offsets_v):
    n, taps, height, width = kernels.shape
    total = 0.0
    for image in range(n):
        for tap in range(taps):
            k, h, v = (x[image, tap].tolist() for x in (kernels, offsets_h, offsets_v))
            for y in range(height):
                for x in range(width):
                    if x + 1 < width:
                        total += abs(v[y][x + 1] - v[y][x]) * k[y][x]
                    if y + 1 < height:
                        total += abs(h[y + 1][x] - h[y][x]) * k[y][x]
    return total / (n * height * width)


def random_maps(*shape, **kwargs):
    torch.manual_seed(0)
    kernels = torch.rand(*shape, **kwargs)
    offsets = (torch.rand(*shape, **kwargs) * 2 - 1 for _ in range(2))
    return kernels / kernels.sum(1, keepdim=True), *offsets


@pytest.mark.parametrize('size', [(3, 4), (1, 5), (6, 1), (1, 1)])
def test_loops(size):
    maps = random_maps(2, 49, *size, dtype=torch.float64)
    found = partial_tv_loss(*maps).item()
    assert found == pytest.approx(slow(*maps), rel=1e-9, abs=1e-12)


def test_by_hand():
    """Side by side only vertical offsets count, on top of each other horizontal."""
    kernels = torch.full((1, 1, 2, 2), 1.0)
    kernels[0, 0, 0, 0] = 0.25
    ramp = torch.tensor([[[[0.0, 0.8], [0.0, 0.0]]]])
    nothing = torch.zeros(1, 1, 2, 2)
    # Only from left to right, weighed by the left kernel, over 4 pixels.
    assert partial_tv_loss(kernels, nothing, ramp).item() == pytest.approx(0.2 / 4)
    # Only downwards on the right, weighed by the upper kernel.
    assert partial_tv_loss(kernels, ramp, nothing).item() == pytest.approx(0.8 / 4)


def test_weight_of_the_default():
    """MindSpore: 0.005 times the sum over 48 x 48 LR pixels, for each image."""
    maps = random_maps(2, 49, 48, 48, dtype=torch.float64)
    expected = 0.005 * slow(*maps) * 48 * 48
    assert PartialTVLoss()(*maps).item() == pytest.approx(expected, rel=1e-9)


def test_constant_offsets_cost_nothing():
    kernels, h, v = random_maps(1, 49, 1, 1)
    maps = (x.expand(1, 49, 5, 4) for x in (kernels, h, v))
    assert partial_tv_loss(*maps).item() == 0


def test_gradient():
    maps = random_maps(1, 9, 3, 3, dtype=torch.float64)
    assert torch.autograd.gradcheck(partial_tv_loss, [x.requires_grad_() for x in maps])


def test_kernels_may_be_left_out():
    kernels, h, v = (x.requires_grad_() for x in random_maps(1, 9, 3, 3))
    loss = PartialTVLoss(2.0, detach_kernels=True)(kernels, h, v)
    torch.testing.assert_close(loss, 2 * partial_tv_loss(kernels, h, v))
    loss.backward()
    assert kernels.grad is None
    assert h.grad.abs().sum() > 0


def test_wrong_shapes():
    with pytest.raises(ValueError, match='to be of one shape'):
        partial_tv_loss(*(torch.zeros(1, 9, 2, w) for w in (2, 2, 3)))
