"""Parts cover the image once, see what they should, and are what the model tests."""

import pytest
import torch
from torch.nn import functional as F

from sr_plugins.archs import EDSR
from sr_plugins.models import SRModel, chop_forward

SIZES = [(1, 1), (1, 90), (23, 24), (40, 61), (97, 55), (130, 131)]


@pytest.mark.parametrize('scale', [2, 3, 4])
@pytest.mark.parametrize('size', SIZES)
def test_every_pixel_once_at_its_place(scale, size):
    """Nearest-neighbour enlargement has no reach: parts must give it exactly."""
    x = torch.rand(2, 3, *size)
    seen = []

    def network(part):
        seen.append(part.shape[2:])
        return F.interpolate(part, scale_factor=scale, mode='nearest')

    y = chop_forward(network, x, scale, shave=10, min_size=900)
    assert torch.equal(y, F.interpolate(x, scale_factor=scale, mode='nearest'))
    for part, side in ((part, i) for part in seen for i in (0, 1)):
        assert part[side] % scale == 0 or part[side] <= 20 + 2 * scale
    assert all(h * w < 900 or min(h, w) <= 20 + 2 * scale for h, w in seen)


def test_the_published_quarters():
    """40 x 60 at x2: 40 // 2 + 10 = 30 and 60 // 2 + 10 = 40, two more each."""
    seen = []

    def network(part):
        seen.append(part)
        return F.interpolate(part, scale_factor=2)

    x = torch.rand(1, 3, 40, 60)
    chop_forward(network, x, scale=2)
    expected = [
        x[:, :, :32, :42],
        x[:, :, :32, 18:],
        x[:, :, 8:, :42],
        x[:, :, 8:, 18:],
    ]
    assert all(torch.equal(a, b) for a, b in zip(seen, expected, strict=True))


def test_enough_overlap_gives_the_whole_image():
    """A network of 2 blocks sees 9 pixels to each side, with 10 kept there."""
    torch.manual_seed(0)
    network = EDSR(2, mid_channels=8, num_blocks=2).double().eval()
    x = torch.rand(1, 3, 70, 81, dtype=torch.float64)
    with torch.no_grad():
        y = chop_forward(network, x, 2, shave=10, min_size=1000)
        torch.testing.assert_close(y, network(x), rtol=1e-12, atol=1e-12)
        too_little = chop_forward(network, x, 2, shave=2, min_size=1000)
    assert (too_little - network(x)).abs().max() > 1e-6


@pytest.mark.parametrize('chop', [None, {'shave': 4, 'min_size': 400}])
def test_model(chop):
    model = SRModel(
        {'type': 'sr_plugins.EDSR', 'mid_channels': 8, 'num_blocks': 2},
        {'type': 'L1Loss'},
        test_cfg=None if chop is None else {'chop': chop},
        data_preprocessor={
            'type': 'mmagic.DataPreprocessor',
            'mean': [0.0] * 3,
            'std': [255.0] * 3,
        },
    ).eval()
    x = torch.rand(3, 40, 51) * 255
    with torch.no_grad():
        sample = model.test_step({'inputs': [x.clone()]})[0]
        x = x[None] / 255
        # mmagic takes an image without a note of its order for BGR.
        if chop is None:
            target = model.generator(x)
        else:
            target = chop_forward(model.generator, x, 2, **chop)
    torch.testing.assert_close(
        sample.output.pred_img, (target[0] * 255).clamp(0, 255), rtol=1e-4, atol=1e-3
    )
