"""The same recipe and weights, by BasicSR's pipelines and by mmengine's Runner."""

import json
from pathlib import Path

import sr_plugins.compat  # noqa: F401  (first: it repairs what follows)

import numpy as np
import pytest
import torch
from basicsr.utils import get_root_logger
from PIL import Image

from sr_plugins import checkpoints
from sr_plugins.archs import EDSR
from sr_plugins.engine import build_runner, build_test_runner, load_config
from sr_plugins.fileio import torch_save
from sr_plugins.preparation import prepare_div2k

CONFIGS = Path(__file__).parents[3] / 'configs'
STEPS = 3
SIDE = 24
# The same for each runner: a batch is all images, a crop a whole image.
MMENGINE = {
    'model.generator.mid_channels': 8,
    'model.generator.num_blocks': 2,
    'global_batch_size': 2,
    'train_dataloader.num_workers': 0,
    'val_dataloader.num_workers': 0,
    'train_dataloader.dataset.pipeline.1.lr_patch_size': SIDE // 2,
    'train_dataloader.dataset.pipeline.2.flip_ratio': 0,
    'train_dataloader.dataset.pipeline.3.flip_ratio': 0,
    'train_dataloader.dataset.pipeline.4.transpose_ratio': 0,
    'train_cfg.max_iters': STEPS,
    'default_hooks.logger.interval': 1,
    'default_hooks.checkpoint.interval': STEPS,
    'log_processor.window_size': 1,
    # Of the weights themselves.
    'custom_hooks': [],
}
BASICSR = {
    'datasets.train.use_hflip': False,
    'datasets.train.use_rot': False,
    'train.total_iter': STEPS,
    'logger.save_checkpoint_freq': STEPS,
}


@pytest.fixture
def small_data(tmp_path):
    draw = np.random.default_rng(0)
    for i in (1, 2, 801):
        coarse = draw.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        path = tmp_path / 'photos' / f'{i:04d}.png'
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(coarse).resize((SIDE, SIDE), Image.BICUBIC).save(path)
    prepare_div2k(tmp_path / 'photos', tmp_path / 'data', scales=(2,))
    return tmp_path / 'data'


def test_trained_weights_are_the_same(train, small_data, tmp_path):
    """After three steps, hence losses and rates of each step are, too."""
    # As any use of BasicSR before the run does; it has a log of its own all the same.
    get_root_logger()
    folder = train(BASICSR, data_root=str(small_data))
    theirs = torch.load(folder / f'models/net_g_{STEPS}.pth', weights_only=True)
    cfg = load_config(
        CONFIGS / 'demo_edsr_x2.py',
        work_dir=str(tmp_path / 'mmengine'),
        data_root=str(small_data),
        cfg_options=MMENGINE,
    )
    runner = build_runner(cfg)
    before = {k: v.clone() for k, v in runner.model.generator.state_dict().items()}
    runner.train()
    ours = runner.model.generator.state_dict()
    assert ours.keys() == theirs['params'].keys()
    for name, value in ours.items():
        torch.testing.assert_close(theirs['params'][name], value, rtol=0, atol=2e-6)
        assert not torch.equal(before[name], value)
    log = next(folder.glob('train_*.log')).read_text()
    found = [float(line.split()[0]) for line in log.split('l_pix: ')[1:]]
    losses = runner.message_hub.get_scalar('train/loss').data[0]
    assert found == pytest.approx(list(losses), rel=1e-4)


def test_scores_are_the_same(test_weights, tiny_data, tmp_path):
    """PSNR and SSIM on Y and RGB, of BasicSR's code and of ours, sides odd."""
    torch.manual_seed(2)
    network = EDSR(2, mid_channels=8, num_blocks=2)
    torch_save({'params_ema': network.state_dict()}, tmp_path / 'w.pth')
    table, folder = test_weights(tmp_path / 'w.pth', save_images=True)
    found = json.loads((folder / 'results.json').read_text())['sets']
    cfg = load_config(
        CONFIGS / 'demo_edsr_x2.py',
        work_dir=str(tmp_path / 'mmengine'),
        data_root=str(tiny_data),
        cfg_options={k: v for k, v in MMENGINE.items() if k.startswith('model')},
    )
    runner = build_test_runner(cfg)
    checkpoints.load(runner.model, tmp_path / 'w.pth')
    runner.test()
    expected = runner.test_loop.results
    assert list(found) == list(expected) == ['DIV2K', 'Tiny']
    for name, entry in found.items():
        assert len(entry['images']) == len(expected[name]['images'])
        for key, value in entry['metrics'].items():
            assert value == pytest.approx(expected[name]['metrics'][key], abs=2e-4), key
        assert set(entry['metrics']) == {
            f'{protocol}/{metric}'
            for protocol in ('edsr_y', 'rgb')
            for metric in ('PSNR', 'SSIM')
        }
    assert table.count('demo_edsr_x2') == 2
    assert table in (folder / 'results.md').read_text()
    images = sorted(p.name for p in (folder / 'visualization/Tiny').iterdir())
    assert images == [f'photo{i}x2_demo_edsr_x2.png' for i in range(3)]
