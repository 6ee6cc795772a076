"""The offset loss against loops, and numbers worked by hand."""

import math

import pytest
import torch

from sr_plugins.losses import OffsetLoss, offset_loss


def slow(offsets_h, offsets_v, eta):
    n, taps, height, width = offsets_h.shape
    k = math.isqrt(taps)
    total = 0.0
    for image in range(n):
        for y in range(height):
            for x in range(width):
                for i in range(k):
                    for j in range(k):
                        dx = float(offsets_h[image, k * i + j, y, x])
                        dy = float(offsets_v[image, k * i + j, y, x])
                        away = math.hypot(i - (k - 1) / 2, j - (k - 1) / 2)
                        away /= math.hypot(k / 2, k / 2)
                        total += (eta + away) * math.hypot(dx, dy)
    return total / (n * height * width)


@pytest.mark.parametrize('eta', [0.0, 1.0])
@pytest.mark.parametrize('k', [7, 13])
def test_loops(k, eta):
    torch.manual_seed(0)
    h, v = (torch.rand(2, k * k, 3, 2, dtype=torch.float64) * 2 - 1 for _ in range(2))
    expected = slow(h, v, eta)
    assert offset_loss(h, v, eta).item() == pytest.approx(expected, rel=1e-5)


def test_by_hand():
    """One tap of 49 moves by (0.3, 0.4): half a pixel, times its distance."""
    h, v = torch.zeros(1, 49, 2, 2), torch.zeros(1, 49, 2, 2)
    h[0, 7 * 0 + 6, 1, 0], v[0, 7 * 0 + 6, 1, 0] = 0.3, 0.4
    # The corner is 3 sqrt(2) from the middle, and 7 / sqrt(2) counts as 1: 6 / 7.
    assert offset_loss(h, v).item() == pytest.approx(0.5 * 6 / 7 / 4, rel=1e-4)
    # The middle tap may move at will, unless eta says otherwise.
    h, v = torch.zeros(1, 49, 1, 1), torch.zeros(1, 49, 1, 1)
    h[0, 24] = -0.25
    assert offset_loss(h, v).item() == 0
    assert offset_loss(h, v, eta=1).item() == pytest.approx(0.25, rel=1e-4)


def test_weight_of_the_default():
    """MindSpore: 0.001 times length times distance over k."""
    h, v = torch.zeros(1, 169, 1, 1), torch.zeros(1, 169, 1, 1)
    v[0, 13 * 6 + 12] = 1.0
    assert OffsetLoss()(h, v).item() == pytest.approx(0.001 * 6 / 13, rel=1e-4)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_no_offsets(dtype):
    h, v = (torch.zeros(1, 49, 2, 2, dtype=dtype, requires_grad=True) for _ in '12')
    loss = offset_loss(h, v, eta=1.0)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-8)
    assert not h.grad.any()
    assert not v.grad.any()


def test_size_of_the_image_does_not_matter():
    h, v = torch.rand(1, 49, 3, 4), torch.rand(1, 49, 3, 4)
    tiled = offset_loss(h.repeat(2, 1, 5, 2), v.repeat(2, 1, 5, 2))
    torch.testing.assert_close(tiled, offset_loss(h, v))


@pytest.mark.parametrize('eta', [0.0, 0.5])
def test_gradient(eta):
    torch.manual_seed(0)
    h, v = (
        torch.randn(1, 9, 2, 3, dtype=torch.float64, requires_grad=True) for _ in '12'
    )
    assert torch.autograd.gradcheck(lambda h, v: offset_loss(h, v, eta), (h, v))


@pytest.mark.parametrize(
    'shapes', [[(1, 48, 2, 2)] * 2, [(1, 49, 2, 2), (1, 49, 2, 3)]]
)
def test_wrong_shapes(shapes):
    with pytest.raises(ValueError, match=r'to be \(N, k \* k, h, w\), but got'):
        offset_loss(*(torch.zeros(shape) for shape in shapes))
