"""Tiles give what the whole image gives, eight poses what their mean is."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sr_plugins.archs import CSNLN, EDSR, ESRN, MDSR
from sr_plugins.models import ImageForward, SRModel, Tiling
from sr_plugins.models.tiling import DEFAULT_OVERLAP, plan_windows

CPU = torch.device('cpu')
SMALL = {
    'EDSR x1': lambda: EDSR(1, mid_channels=4, num_blocks=1),
    'EDSR x2': lambda: EDSR(2, mid_channels=4, num_blocks=2),
    'EDSR x3': lambda: EDSR(3, mid_channels=4, num_blocks=0),
    'EDSR x4': lambda: EDSR(4, mid_channels=4, num_blocks=1, res_scale=0.1),
    'MDSR': lambda: MDSR((3, 4), mid_channels=4, num_blocks=1, scale=4),
    'ESRN x2': lambda: ESRN(
        'S_1_8_8 C_1_8_8 G_2_8_8', 2, mid_channels=8, bias=True, global_skip=True
    ),
    'ESRN x3': lambda: ESRN('C_1_8_8', 3, mid_channels=8, bias=True),
    'ESRN x4': lambda: ESRN('S_2_8_8 G_1_8_8', 4, mid_channels=8, bias=True),
}


@pytest.fixture(autouse=True)
def one_thread():
    """Images are so small that threads would but wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def build(name, loud=True):
    """With weights that carry what is far away to the output."""
    torch.manual_seed(0)
    network = SMALL[name]().eval()
    if loud:
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.abs_()
    return network


def image(*size, seed=0):
    return np.random.default_rng(seed).random((1, 3, *size), np.float32)


@torch.no_grad()
def whole(network, x):
    return network(torch.from_numpy(x.copy())).numpy()


class Counted(nn.Module):
    """A network that notes what it sees."""

    def __init__(self, network):
        super().__init__()
        self.network, self.seen = network, []
        for name in ('scale', 'receptive_field', 'alignment'):
            setattr(self, name, getattr(network, name, 1))

    def forward(self, x):
        self.seen.append(tuple(x.shape[2:]))
        return self.network(x)


@pytest.mark.parametrize('name', SMALL)
def test_receptive_field_is_that_of_a_perturbed_pixel(name):
    """A change just within reaches the output, and one beyond does not."""
    network = build(name).double()
    reach, side = network.receptive_field, 2 * network.receptive_field + 8
    found = 0
    for middle in (side // 2, side // 2 + 1):
        x = torch.full((1, 3, side, side), 0.5, dtype=torch.float64)
        with torch.no_grad():
            before = network(x)
            x[0, :, middle, middle] += 0.1
            changed = (network(x) != before)[0].any(0)
        for axis in (0, 1):
            pixels = changed.any(axis).nonzero().flatten() // network.scale
            found = max(found, int((pixels - middle).abs().max()))
    assert found == reach


@pytest.mark.parametrize('name', SMALL)
def test_tiles_at_overlap_auto_give_the_whole_image(name):
    network = build(name)
    overlap = network.receptive_field
    random = np.random.default_rng(3)
    for size in [(1, 1), (2, 3 * overlap + 20), *random.integers(1, 95, (4, 2))]:
        tile = int(random.integers(overlap, overlap + 20))
        x = image(*size)
        counted = Counted(network)
        y = ImageForward(counted, tile={'size': tile})(x, CPU)
        target = whole(network, x)
        scale = np.abs(target).max()
        np.testing.assert_allclose(y / scale, target / scale, atol=1e-5)
        largest = tile + 2 * overlap + 3
        assert all(max(sides) <= largest for sides in counted.seen)
    assert len(counted.seen) > 1 or max(size) < 3 * overlap


@pytest.mark.parametrize('name', ['EDSR x2', 'ESRN x2'])
def test_less_overlap_shows(name):
    """So the test above would fail where the receptive field is too small."""
    network = build(name)
    x = image(61, 67)
    target = whole(network, x)
    less = {'size': 20, 'overlap': network.receptive_field // 2}
    errors = [
        np.abs(ImageForward(network, tile=tile)(x, CPU) - target).max() / target.max()
        for tile in (less, {**less, 'overlap': 1}, {**less, 'overlap': 0})
    ]
    assert 1e-5 < errors[0] < errors[1] < errors[2]


def test_alignment_is_needed():
    network = build('ESRN x2')
    x = image(61, 67)
    target = whole(network, x)
    network.alignment = 1
    y = ImageForward(network, tile={'size': 19, 'overlap': 17})(x, CPU)
    assert np.abs(y - target).max() / target.max() > 1e-4


@pytest.mark.parametrize('blended', [False, True])
@pytest.mark.parametrize('alignment', [1, 2, 3])
def test_windows(alignment, blended):
    """Every pixel has weight 1 in all, lies well within, and windows are even."""
    for side in range(1, 120):
        for size in (1, 2, 7, 30):
            for overlap in (0, 1, 5):
                if overlap > size:
                    continue
                windows = plan_windows(side, size, overlap, alignment, blended)
                total = np.zeros(2 * side)
                for window in windows:
                    total[window.place(2)] += window.weights(2)
                    assert window.start % alignment == 0
                    assert 0 <= window.start < window.stop <= side
                    assert window.stop - window.start <= (
                        size + 2 * overlap + 5 * (alignment - 1)
                    )
                    if not blended:
                        near = overlap
                        assert window.start in (0, max(window.first - near, 0)) or (
                            window.first - window.start >= near
                        )
                        assert window.stop == side or window.stop - window.last >= near
                np.testing.assert_allclose(total, 1, rtol=1e-6)
                assert windows[0].start == 0
                assert windows[-1].stop == side


def test_blended_seams_fade():
    """With no overlap of their own, neighbours of different worth meet in a ramp."""

    class Level(nn.Module):
        scale = 1

        def __init__(self):
            super().__init__()
            self.calls = 0

        def forward(self, x):
            self.calls += 1
            return torch.full_like(x, self.calls)

    x = image(1, 60)
    tile = {'size': 20, 'overlap': 10}
    exact = ImageForward(Level(), tile=tile)(x, CPU)[0, 0, 0]
    blended = ImageForward(Level(), tile={**tile, 'seams': 'blended'})(x, CPU)[0, 0, 0]
    assert set(exact) == {1, 2}
    assert np.abs(np.diff(exact)).max() == 1
    steps = np.diff(blended)
    np.testing.assert_allclose(steps[20:39], 0.05, rtol=1e-4)
    np.testing.assert_allclose(blended[[0, 19, 40, 59]], [1, 1, 2, 2], atol=1e-6)


def test_a_network_that_sees_all_of_an_image_gets_the_default():
    torch.manual_seed(0)
    network = CSNLN(3, mid_channels=8, num_recurrences=1).eval()
    forward = ImageForward(network, tile={'size': 40})
    assert forward.overlap == DEFAULT_OVERLAP
    assert forward.alignment == 3
    assert forward(image(7, 111), CPU).shape == (1, 3, 21, 333)


class Linear(nn.Module):
    """Treats rows, columns and directions differently, as no network of ours."""

    scale = 2
    receptive_field = 2

    def __init__(self, kernel):
        super().__init__()
        self.register_buffer('kernel', kernel)

    def forward(self, x):
        large = F.interpolate(x, scale_factor=2)
        pad = self.kernel.shape[-1] // 2
        weight = self.kernel.expand(3, 1, -1, -1)
        return F.conv2d(F.pad(large, [pad] * 4), weight, groups=3)


@pytest.mark.parametrize('size', [(9, 14), (1, 14), (9, 1), (1, 1)])
def test_eight_poses_of_a_linear_symmetric_network_are_one(size):
    kernel = torch.tensor([[1.0, 2, 1], [2, 5, 2], [1, 2, 1]])
    x = image(*size)
    for tile in (None, {'size': 4}):
        y = ImageForward(Linear(kernel), tile=tile, self_ensemble=True)(x, CPU)
        np.testing.assert_allclose(y, whole(Linear(kernel), x), rtol=1e-5)


@pytest.mark.parametrize('size', [(9, 14), (1, 14), (9, 1), (1, 1)])
def test_eight_poses_average_what_is_turned(size):
    """Of a linear filter that is that with the mean of its kernel's poses."""
    kernel = torch.arange(9.0).view(3, 3) ** 2
    poses = [torch.rot90(k, i) for k in (kernel, kernel.T) for i in range(4)]
    mean = torch.stack(poses).mean(0)
    x = image(*size)
    y = ImageForward(Linear(kernel), self_ensemble=True)(x, CPU)
    np.testing.assert_allclose(y, whole(Linear(mean), x), rtol=1e-5)
    assert np.abs(y - whole(Linear(kernel), x)).max() > 1
    tiled = ImageForward(Linear(kernel), tile={'size': 4}, self_ensemble=True)
    np.testing.assert_allclose(tiled(x, CPU), y, rtol=1e-5)


def test_eight_poses_see_the_image_turned():
    """Each of the eight once; rotations are made of flips, so numpy's must be there."""
    seen = []

    class Recorder(nn.Module):
        scale = 1

        def forward(self, x):
            seen.append(x.numpy().copy())
            return x

    x = image(4, 5)
    np.testing.assert_allclose(
        ImageForward(Recorder(), self_ensemble=True)(x, CPU), x, rtol=1e-6
    )
    for turned in (x, x.swapaxes(2, 3)):
        for quarters in range(4):
            pose = np.rot90(turned, quarters, axes=(2, 3))
            assert sum(np.array_equal(pose, other) for other in seen) == 1
    assert len(seen) == 8


@pytest.mark.parametrize('name', ['EDSR x2', 'ESRN x2'])
def test_eight_poses_in_tiles(name):
    """ESRN pools in squares: those of each pose are of the turned whole image."""
    network = build(name)
    x = image(47, 52)
    tile = {'size': network.receptive_field}
    y = ImageForward(network, self_ensemble=True)(x, CPU)
    tiled = ImageForward(network, tile=tile, self_ensemble=True)(x, CPU)
    np.testing.assert_allclose(tiled / y.max(), y / y.max(), atol=1e-5)


@pytest.mark.parametrize(
    ('options', 'error', 'message'),
    [
        ({'size': 0}, ValueError, 'Expected `tile` to be at least 1, but got 0'),
        ({'size': 2.5}, TypeError, 'Expected `tile` to be a whole number of LR'),
        ({'size': True}, TypeError, 'Expected `tile` to be a whole number of LR'),
        ({'overlap': -1}, ValueError, 'Expected `overlap` to be at least 0'),
        ({'overlap': 'all'}, TypeError, "whole number of LR pixels or 'auto'"),
        ({'size': 8, 'overlap': 9}, ValueError, 'at least the overlap, 9, but got 8'),
        ({'seams': 'none'}, ValueError, "Expected `seams` to be 'exact' or 'blended'"),
    ],
)
def test_wrong_tiling(options, error, message):
    with pytest.raises(error, match=message):
        Tiling(**options)


def test_tile_smaller_than_the_networks_reach():
    network = build('EDSR x2')
    with pytest.raises(ValueError, match='at least the overlap of EDSR, 8, but got 7'):
        ImageForward(network, tile={'size': 7})
    ImageForward(network, tile={'size': 7, 'overlap': 3})


def test_quarters_or_tiles():
    with pytest.raises(ValueError, match='Expected `chop` or `tile`, but got both'):
        ImageForward(build('EDSR x2'), chop={}, tile={})


def test_the_model_tests_so():
    """In mmagic's model, [0, 255] and batches included."""
    options = {'tile': {'size': 8, 'overlap': 2}, 'self_ensemble': True}
    model = SRModel(
        {'type': 'sr_plugins.EDSR', 'mid_channels': 8, 'num_blocks': 2},
        {'type': 'L1Loss'},
        test_cfg=options,
        data_preprocessor={
            'type': 'mmagic.DataPreprocessor',
            'mean': [0.0] * 3,
            'std': [255.0] * 3,
        },
    ).eval()
    x = torch.rand(3, 20, 31) * 255
    sample = model.test_step({'inputs': [x.clone()]})[0]
    y = ImageForward(model.generator, **options)(x[None].numpy() / 255, CPU)
    target = torch.from_numpy(y[0] * 255).clamp(0, 255)
    torch.testing.assert_close(sample.output.pred_img, target, rtol=1e-4, atol=1e-3)
    plain = model.generator(x[None] / 255)[0] * 255
    assert (plain - target).abs().max() > 0.01
