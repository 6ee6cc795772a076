"""Scores of the test loop against scores worked out from the files."""

import json
import math
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from sr_plugins import checkpoints
from sr_plugins.archs import CAR, EDSR
from sr_plugins.engine import (
    build_test_runner,
    format_table,
    load_config,
    write_results,
)
from sr_plugins.engine.loops.benchmark_loop import available_sets
from sr_plugins.metrics import bits_per_pixel, psnr, ssim
from sr_plugins.preparation import imresize

PROTOCOLS_OF_CAR = 'edsr_y', 'rgb', 'car_y'
KEYS = ['edsr_y/PSNR', 'edsr_y/SSIM', 'rgb/PSNR', 'rgb/SSIM']


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(3)
    path = tmp_path / 'weights.pth'
    torch.save(EDSR(2, mid_channels=8, num_blocks=2).state_dict(), path)
    return path


@pytest.fixture
def run(tiny_config, weights):
    def test(**kwargs):
        runner = build_test_runner(tiny_config(), **kwargs)
        checkpoints.load(runner.model, weights)
        return runner, runner.test()

    return test


TINY_CAR = {
    'downscaler': {'mid_channels': 8, 'num_blocks': 1},
    'upscaler': {'mid_channels': 8, 'num_blocks': 1, 'res_scale': 1.0},
}


@pytest.fixture
def car(tmp_path):
    """A CAR whose kernels are more than averages, and where its weights are."""
    torch.manual_seed(3)
    network = CAR(2, **TINY_CAR).eval()
    with torch.no_grad():
        for parameter in network.downscaler.parameters():
            parameter.mul_(2)
    torch.save(network.state_dict(), tmp_path / 'car.pth')
    return network, tmp_path / 'car.pth'


@pytest.fixture
def car_config(tmp_path, request):
    def make(data_root, **kwargs):
        name = {'experiment_name': request.node.name}
        options = {f'model.generator.{k}': v for k, v in TINY_CAR.items()}
        return load_config(
            Path(__file__).parents[2] / 'configs/demo_car_x2.py',
            work_dir=str(tmp_path / 'run'),
            data_root=str(data_root),
            cfg_options={**options, **name, 'test_dataloader.num_workers': 0},
            **kwargs,
        )

    return make


@torch.no_grad()
def through(network, hr):
    """LR image and reconstruction of (H, W, 3) uint8, in the same form."""
    x = torch.from_numpy(hr / np.float32(255)).permute(2, 0, 1)[None]
    lr = network.downscale(x)
    assert torch.equal(network(x), network.upscale(lr))
    images = (255 * y[0].clamp(0, 1).permute(1, 2, 0) for y in (lr, network(x)))
    return [image.numpy() for image in images]


def test_downscaling_network(car, car_config, tiny_data, tmp_path):
    """Cropping to 8, scores, rates, saved images and the bicubic row, all by hand."""
    network, weights = car
    # No LR images are needed.
    shutil.copytree(
        tiny_data / 'benchmark/Tiny/HR', tmp_path / 'data/benchmark/Mine/HR'
    )
    images = tmp_path / 'images'
    runner = build_test_runner(
        car_config(tmp_path / 'data'), bicubic=True, images_dir=images
    )
    checkpoints.load(runner.model, weights)
    metrics = runner.test()
    mine, bicubic = [], []
    for i, size in enumerate([(56, 64), (48, 56), (48, 48)]):
        hr = read(tiny_data / f'benchmark/Tiny/HR/photo{i}.png')
        hr = np.ascontiguousarray(hr[: size[0], : size[1]])
        lr, output = through(network, hr)
        lr = np.rint(lr).astype(np.uint8)
        assert lr.shape == (size[0] // 2, size[1] // 2, 3)
        np.testing.assert_array_equal(read(images / f'Mine/photo{i}_original.png'), hr)
        np.testing.assert_array_equal(
            read(images / f'Mine/photo{i}_downscaled.png'), lr
        )
        np.testing.assert_allclose(
            read(images / f'Mine/photo{i}.png'), output, atol=0.501
        )
        small = imresize(hr, 1 / 2)
        for scores, image, stored in (
            (mine, output, lr),
            (bicubic, imresize(small, 2), small),
        ):
            scores.append(
                [
                    *(
                        f(image, hr, p, 2)
                        for p in PROTOCOLS_OF_CAR
                        for f in (psnr, ssim)
                    ),
                    bits_per_pixel(stored, hr.size / 3),
                    bits_per_pixel(stored, hr.size / 3, 90),
                ]
            )
    keys = [f'{p}/{f}' for p in PROTOCOLS_OF_CAR for f in ('PSNR', 'SSIM')]
    keys += ['lr_png/bpp', 'lr_jpeg90/bpp']
    result = runner.test_loop.results['Mine']
    assert list(result['metrics']) == keys
    for key, ours, theirs in zip(
        keys, np.mean(mine, axis=0), np.mean(bicubic, axis=0), strict=True
    ):
        assert metrics[f'Mine/{key}'] == pytest.approx(ours, abs=1e-4)
        assert result['bicubic'][key] == pytest.approx(theirs, abs=1e-9)
    assert [row['lr_png/bpp'] for row in result['images']] == [s[6] for s in mine]
    # A network that was not downscaling would score as bicubic at best.
    assert abs(metrics['Mine/lr_png/bpp'] - result['bicubic']['lr_png/bpp']) > 0.01


def test_sets_of_downscaling_networks(car_config, tiny_data, tmp_path):
    runner = build_test_runner(car_config(tiny_data))
    assert runner.test_loop.names == ['DIV2K', 'Tiny']
    with pytest.raises(FileNotFoundError, match=r'test sets Set5 in .* DIV2K, Tiny\.'):
        build_test_runner(car_config(tiny_data), datasets=['Set5']).test()


def test_downscaling_network_takes_whole_images(car_config, tiny_data):
    with pytest.raises(ValueError, match=r'`--chop` .* got sr_plugins\.CARModel'):
        car_config(tiny_data, chop=())


def read(path):
    return cv2.imread(str(path))[..., ::-1]


def test_scores_are_those_of_the_files(run, weights, tiny_data, tmp_path):
    """Network, rounding, cropping, colour order and mean, all by hand."""
    network = EDSR(2, mid_channels=8, num_blocks=2).eval()
    network.load_state_dict(torch.load(weights, weights_only=True))
    images = tmp_path / 'images'
    runner, metrics = run(datasets=['Tiny'], bicubic=True, images_dir=images)
    mine, bicubic = [], []
    for i in range(3):
        lr = read(tiny_data / f'benchmark/Tiny/LR_bicubic/X2/photo{i}x2.png')
        hr = read(tiny_data / f'benchmark/Tiny/HR/photo{i}.png')
        hr = hr[: 2 * lr.shape[0], : 2 * lr.shape[1]]
        x = torch.from_numpy(lr / np.float32(255)).permute(2, 0, 1)[None]
        with torch.no_grad():
            y = (network(x)[0] * 255).clamp(0, 255).round().byte()
        output = y.permute(1, 2, 0).numpy()
        saved = read(images / 'Tiny' / f'photo{i}.png')
        assert np.abs(saved.astype(int) - output.astype(int)).max() <= 1
        assert (saved != output).mean() < 1e-3, 'but for ties'
        for scores, image in ((mine, saved), (bicubic, imresize(lr, 2))):
            pairs = [(f, p) for p in ('edsr_y', 'rgb') for f in (psnr, ssim)]
            scores.append([f(image, hr, p, 2) for f, p in pairs])
    for key, value in zip(KEYS, np.mean(mine, axis=0), strict=True):
        assert metrics[f'Tiny/{key}'] == pytest.approx(value, abs=1e-9)
    result = runner.test_loop.results['Tiny']
    for key, value in zip(KEYS, np.mean(bicubic, axis=0), strict=True):
        assert result['bicubic'][key] == pytest.approx(value, abs=1e-9)
    names = [row['name'] for row in result['images']]
    assert names == ['photo0', 'photo1', 'photo2']
    by_image = [row['edsr_y/PSNR'] for row in result['images']]
    assert by_image == pytest.approx([row[0] for row in mine], abs=1e-9)


def test_all_sets_that_are_present(run):
    runner, metrics = run()
    assert list(runner.test_loop.results) == ['DIV2K', 'Tiny']
    assert 'DIV2K/edsr_div2k/PSNR' in metrics
    assert 'Tiny/edsr_div2k/PSNR' not in metrics
    assert len(runner.test_loop.results['DIV2K']['images']) == 2


def test_sets_in_the_customary_order(tmp_path):
    for name in ('Urban100', 'Ours', 'Set5', 'B100', 'Set14', 'HalfMade'):
        (tmp_path / 'benchmark' / name / 'HR').mkdir(parents=True)
        if name != 'HalfMade':
            (tmp_path / 'benchmark' / name / 'LR_bicubic/X2').mkdir(parents=True)
    names = ['Set5', 'Set14', 'B100', 'Urban100', 'Ours']
    assert list(available_sets(tmp_path, 2)) == names
    assert not available_sets(tmp_path, 3)


def test_sets_of_a_config_at_one_size(tiny_config, tiny_data):
    """Folders by name; the yardstick is the input, scored without a border."""
    hr, lr = 'benchmark/Tiny/HR', 'DIV2K/DIV2K_valid_HR'
    options = {
        'model.generator.num_blocks': 1,
        'model.generator.mid_channels': 4,
        'train_dataloader.dataset.hr': hr,
    }
    cfg = tiny_config(options, config='edsr_deblur.py')
    cfg.test_cfg.sets = {'Same': (hr, hr), 'Gone': ('nowhere', lr)}
    cfg.test_dataloader.dataset.lr_name = '{name}'
    runner = build_test_runner(cfg, bicubic=True)
    assert list(runner.test_loop.folders) == ['Same']
    network = runner.model.generator
    torch.nn.init.zeros_(network.conv_last.weight)
    torch.nn.init.zeros_(network.conv_last.bias)
    metrics = runner.test()
    # The network gives the mean colour of DIV2K; the input is the target.
    mean = 255 * network.out_mean.view(3).double().numpy()
    expected = []
    for i in range(3):
        image = read(tiny_data / f'{hr}/photo{i}.png').astype(float)
        error = ((image - np.rint(mean)) ** 2).mean()
        expected.append(10 * np.log10(255**2 / error))
    assert metrics['Same/rgb_whole/PSNR'] == pytest.approx(np.mean(expected), abs=1e-6)
    result = runner.test_loop.results['Same']
    assert result['input']['rgb_whole/PSNR'] == math.inf
    assert '| Same |      3 | input  |' in format_table({'Same': result}, 'mine')
    with pytest.raises(
        FileNotFoundError, match=r'sets Gone at x1 .*found Same\. `test'
    ):
        build_test_runner(cfg, datasets=['Gone']).test_loop  # noqa: B018


def test_missing_set(run):
    with pytest.raises(FileNotFoundError, match=r'sets Set5 at x2 .*found DIV2K, Tiny'):
        run(datasets=['Tiny', 'Set5'])


def test_no_set_at_all(tiny_config, tmp_path):
    cfg = tiny_config()
    cfg.test_dataloader.dataset.data_root = str(tmp_path)
    with pytest.raises(FileNotFoundError, match=r'of any name at x2 .*found none'):
        build_test_runner(cfg).test()


RESULTS = {
    'Set5': {
        'metrics': {'edsr_y/PSNR': 38.1234, 'edsr_y/SSIM': 0.96014},
        'bicubic': {'edsr_y/PSNR': 33.66, 'edsr_y/SSIM': 0.9299},
        'images': [{'name': 'baby', 'edsr_y/PSNR': 38.1234}],
    },
    'DIV2K': {
        'metrics': {'edsr_y/PSNR': 36.0, 'edsr_div2k/PSNR': 34.61},
        'images': [{'name': '0801'}, {'name': '0802'}],
    },
}
TABLE = """\
| set   | images | method  | edsr_y/PSNR | edsr_y/SSIM | edsr_div2k/PSNR |
|-------|--------|---------|-------------|-------------|-----------------|
| Set5  |      1 | bicubic |      33.660 |      0.9299 |                 |
| Set5  |      1 | edsr    |      38.123 |      0.9601 |                 |
| DIV2K |      2 | edsr    |      36.000 |             |          34.610 |"""


def test_table():
    assert format_table(RESULTS, 'edsr') == TABLE


def test_written_results(tmp_path):
    write_results(RESULTS, tmp_path, 'edsr', config='a.py')
    document = json.loads(Path(tmp_path, 'results.json').read_text())
    assert document['config'] == 'a.py'
    assert document['sets'] == RESULTS
    assert TABLE in Path(tmp_path, 'results.md').read_text()


def test_infinite_scores_make_valid_json(tmp_path):
    results = {'A': {'metrics': {'rgb/PSNR': float('inf')}, 'images': []}}
    write_results(results, tmp_path, 'perfect')
    text = Path(tmp_path, 'results.json').read_text()
    assert json.loads(text, parse_constant=pytest.fail)['sets']['A']['metrics'] == {
        'rgb/PSNR': None
    }


def test_the_named_weights_are_tested(tiny_config, weights, tmp_path):
    """Not those that the config starts training from."""
    other = EDSR(2, mid_channels=8, num_blocks=2)
    torch.nn.init.zeros_(other.conv_last.weight)
    torch.save({'state_dict': other.state_dict()}, tmp_path / 'start.pth')
    cfg = tiny_config({'load_from': str(tmp_path / 'start.pth')})
    runner = build_test_runner(cfg, datasets=['Tiny'])
    checkpoints.load(runner.model, weights)
    runner.test()
    expected = torch.load(weights, weights_only=True)['conv_last.weight']
    assert torch.equal(runner.model.generator.conv_last.weight, expected)
