"""Every config loads, builds, and trains and validates a step; recipes as published."""

from pathlib import Path

import pytest
from mmengine.config import Config

from sr_plugins.engine import build_runner, load_config

CONFIGS = Path(__file__).parents[2] / 'configs'
LEAVES = sorted(path.name for path in CONFIGS.glob('*.py'))
PUBLISHED = [name for name in LEAVES if not name.startswith('demo')]


def test_the_promised_configs_are_there():
    networks = ('edsr_baseline', 'edsr', 'csnln')
    promised = {f'{network}_x{s}.py' for network in networks for s in (2, 3, 4)}
    assert promised | {'demo_edsr_x2.py'} == set(LEAVES)


@pytest.mark.parametrize('name', LEAVES)
def test_leaves_are_short(name):
    assert len((CONFIGS / name).read_text().splitlines()) <= 30


@pytest.mark.parametrize('name', LEAVES)
def test_one_step(name, tiny_data, tmp_path):
    """The real network on tiny patches; CSNLN's tail keeps its 12 recurrences."""
    cfg = load_config(
        CONFIGS / name,
        work_dir=str(tmp_path),
        data_root=str(tiny_data),
        cfg_options={
            'global_batch_size': 1,
            'train_dataloader.num_workers': 0,
            'val_dataloader.num_workers': 0,
            'val_dataloader.dataset.indices': 1,
            'train_dataloader.dataset.pipeline.1.lr_patch_size': 6,
            'train_cfg.max_iters': 1,
            'default_hooks.visualization.interval': 1,
        },
    )
    runner = build_runner(cfg)
    runner.train()
    scale = int(name[name.index('_x') + 2])
    assert runner.model.generator.scale == scale
    assert (tmp_path / 'best.pth').exists()
    hub = runner.message_hub
    assert 0 < hub.get_scalar('train/loss').current() < 1
    assert 3 < hub.get_scalar('val/edsr_y/PSNR').current() < 60


@pytest.mark.parametrize('name', PUBLISHED)
def test_recipe(name):
    cfg = Config.fromfile(CONFIGS / name)
    scale = int(name[-4])
    halvings = {'csnln': [200_000, 400_000, 600_000, 800_000], 'edsr': [200_000]}
    family = name.split('_')[0]
    assert cfg.model.generator.scale == scale
    for part in ('train', 'val', 'test'):
        assert cfg[f'{part}_dataloader'].dataset.scale == scale
    assert cfg.train_dataloader.dataset.pipeline[1].lr_patch_size == 48
    assert cfg.global_batch_size == cfg.train_dataloader.batch_size == 16
    assert cfg.optim_wrapper.optimizer == {
        'type': 'Adam',
        'lr': 1e-4,
        'betas': (0.9, 0.999),
    }
    assert cfg.param_scheduler.milestones == halvings[family]
    assert cfg.param_scheduler.gamma == 0.5
    assert cfg.train_cfg.max_iters == (300_000 if family == 'edsr' else 1_000_000)
    assert cfg.model.pixel_loss.type == 'L1Loss'
    widths = {'edsr_baseline': (64, 16, 1.0), 'edsr': (256, 32, 0.1)}
    if family == 'edsr':
        generator = cfg.model.generator
        found = generator.mid_channels, generator.num_blocks, generator.res_scale
        assert found == widths[name.rpartition('_')[0]]
