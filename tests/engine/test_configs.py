"""Every config loads, builds, and trains and validates a step; recipes as published."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import PARAM_SCHEDULERS

from sr_plugins.engine import build_runner, load_config
from sr_plugins.nas import ESREA, SearchSpace

CONFIGS = Path(__file__).parents[2] / 'configs'
LEAVES = sorted(path.name for path in CONFIGS.glob('*.py'))
SEARCHES = ['demo_esrn_search_x2.py', 'esrn_search_x2.py']
TRAININGS = [name for name in LEAVES if name not in SEARCHES]
PUBLISHED = [name for name in TRAININGS if name.startswith(('edsr', 'csnln', 'esrn'))]
PUBLISHED.remove('edsr_deblur.py')


def test_the_promised_configs_are_there():
    networks = ('edsr_baseline', 'edsr', 'csnln', 'esrn')
    promised = {f'{network}_x{s}.py' for network in networks for s in (2, 3, 4)}
    promised |= {'mdsr.py', 'mdsr_baseline.py', 'edsr_deblur.py'}
    promised |= {'car_x2.py', 'car_x4.py', 'demo_car_x2.py', 'demo_edsr_x2.py'}
    assert promised | {*SEARCHES} == set(LEAVES)


@pytest.mark.parametrize('name', LEAVES)
def test_leaves_are_short(name):
    assert len((CONFIGS / name).read_text().splitlines()) <= 30


@pytest.mark.parametrize('name', TRAININGS)
def test_one_step(name, tiny_data, tmp_path):
    """The real network on tiny patches; CSNLN's tail keeps its 12 recurrences."""
    protocol = 'edsr_y'
    if name == 'edsr_deblur.py':
        protocol = 'rgb_whole'
        tiny_data = gopro(tiny_data, tmp_path / 'data')
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
    scale = int(match[1]) if (match := re.search(r'_x(\d)', name)) else None
    assert scale in (runner.model.generator.scale, None)
    assert (tmp_path / 'best.pth').exists()
    hub = runner.message_hub
    assert 0 < hub.get_scalar('train/loss').current() < 1
    assert 3 < hub.get_scalar(f'val/{protocol}/PSNR').current() < 60


def gopro(tiny_data, root):
    """Photographs with themselves, in the folders of GoPro."""
    for split in ('train', 'test'):
        source = 'train' if split == 'train' else 'valid'
        for kind in ('sharp', 'blur'):
            shutil.copytree(
                tiny_data / f'DIV2K/DIV2K_{source}_HR', root / f'GoPro/{split}/{kind}'
            )
    return root


@pytest.mark.parametrize(('name', 'blocks'), [('mdsr', 80), ('mdsr_baseline', 16)])
def test_recipe_of_mdsr(name, blocks):
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    generator = cfg.model.generator
    assert (generator.num_blocks, generator.mid_channels) == (blocks, 64)
    assert generator.scales == cfg.train_dataloader.dataset.scale == (2, 3, 4)
    assert cfg.train_dataloader.dataset.pipeline[1].lr_patch_size == 48
    assert cfg.global_batch_size == 16
    assert cfg.param_scheduler.milestones == [200_000, 400_000, 600_000]
    assert cfg.train_cfg.max_iters == 650_000


@pytest.mark.parametrize('name', PUBLISHED)
def test_recipe(name):
    cfg = Config.fromfile(CONFIGS / name)
    scale = int(name[-4])
    halvings = {
        'csnln': [200_000, 400_000, 600_000, 800_000],
        'edsr': [200_000],
        'esrn': [400_000, 600_000, 675_000, 725_000],
    }
    iterations = {'csnln': 1_000_000, 'edsr': 300_000, 'esrn': 750_000}
    family = name.split('_')[0]
    assert cfg.model.generator.scale == scale
    for part in ('train', 'val', 'test'):
        assert cfg[f'{part}_dataloader'].dataset.scale == scale
    assert cfg.train_dataloader.dataset.pipeline[1].lr_patch_size == (
        64 if family == 'esrn' else 48
    )
    assert cfg.global_batch_size == cfg.train_dataloader.batch_size == 16
    assert cfg.optim_wrapper.optimizer == {
        'type': 'Adam',
        'lr': 1e-4,
        'betas': (0.9, 0.999),
    }
    assert cfg.param_scheduler.milestones == halvings[family]
    assert cfg.param_scheduler.gamma == 0.5
    assert cfg.train_cfg.max_iters == iterations[family]
    assert cfg.model.pixel_loss.type == 'L1Loss'
    widths = {'edsr_baseline': (64, 16, 1.0), 'edsr': (256, 32, 0.1)}
    if family == 'edsr':
        generator = cfg.model.generator
        found = generator.mid_channels, generator.num_blocks, generator.res_scale
        assert found == widths[name.rpartition('_')[0]]


@pytest.mark.parametrize(
    ('scale', 'batch_size', 'hr_side'), [(2, 24, 96), (4, 16, 192)]
)
def test_recipe_of_car(scale, batch_size, hr_side):
    """Of the paper and, where it is silent, of the MindSpore code."""
    cfg = Config.fromfile(CONFIGS / f'car_x{scale}.py')
    train = cfg.train_dataloader.dataset
    assert cfg.model.generator.scale == train.scale == scale
    assert (
        cfg.test_dataloader.dataset.scale == cfg.val_dataloader.dataset.scale == scale
    )
    assert train.pipeline[1].lr_patch_size * scale == hr_side
    assert cfg.global_batch_size == cfg.train_dataloader.batch_size == batch_size
    assert train.lr is None
    kinds = [step['type'] for step in train.pipeline]
    assert kinds.count('Flip') == 2
    assert 'RandomTransposeHW' not in kinds
    assert cfg.optim_wrapper.optimizer == {
        'type': 'Adam',
        'lr': 1e-4,
        'betas': (0.9, 0.999),
        'eps': 1e-6,
    }
    assert cfg.train_cfg.max_iters == 500 * 400
    upscaler = cfg.model.generator.upscaler
    assert upscaler == {'mid_channels': 256, 'num_blocks': 32, 'res_scale': 0.1}


def test_rate_of_car_falls_in_five_equal_parts():
    """1e-4, 5e-5, 1e-5, 5e-6 and 1e-6, by the schedulers of the config."""
    cfg = Config.fromfile(CONFIGS / 'car_x4.py')
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-4)
    # A thousandth of the run.
    schedulers = []
    for scheduler in cfg.param_scheduler:
        milestones = [m // 1000 for m in scheduler.milestones]
        kwargs = {**scheduler, 'milestones': milestones, 'optimizer': optimizer}
        schedulers.append(PARAM_SCHEDULERS.build(kwargs))
    rates = []
    for _ in range(200):
        rates.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    expected = [rate for rate in (1e-4, 5e-5, 1e-5, 5e-6, 1e-6) for _ in range(40)]
    assert rates == pytest.approx(expected)


def test_published_search():
    cfg = Config.fromfile(CONFIGS / 'esrn_search_x2.py')
    (hook,) = cfg.custom_hooks
    search = ESREA.from_config(hook.search_space, hook.range, hook.policy)
    assert search.state_dict() == ESREA(SearchSpace()).state_dict(), 'the defaults'
    policy = search.num_generation, search.num_individual, search.num_elitism
    assert (*policy, search.mutation_rate) == (20, 8, 4, 0.05)
    space = search.space
    assert (space.min_params, space.max_params) == (315_000, 325_000)
    assert (space.node_num, space.min_active, len(space.types)) == (20, 16, 90)
    assert (cfg.train_cfg.epochs, cfg.train_cfg.epoch_length) == (500, 50)
    assert cfg.param_scheduler.milestones == [100 * 50, 200 * 50]
    assert cfg.randomness.seed == 10
    assert cfg.train_dataloader.dataset.pipeline[1].lr_patch_size == 64
    assert cfg.train_dataloader.batch_size == 16
    assert cfg.optim_wrapper.optimizer.lr == 1e-4


@pytest.mark.parametrize('name', SEARCHES)
def test_searches_run(name, tiny_data, tmp_path):
    """Networks of the real space on tiny patches; the demo searches as it says."""
    cfg = load_config(
        CONFIGS / name,
        work_dir=str(tmp_path),
        data_root=str(tiny_data),
        cfg_options={
            'global_batch_size': 1,
            'train_dataloader.num_workers': 0,
            'val_dataloader.num_workers': 0,
            'train_dataloader.dataset.pipeline.1.lr_patch_size': 6,
            'val_dataloader.dataset.pipeline.1.lr_patch_size': 12,
            'train_cfg.epochs': 1,
            'train_cfg.epoch_length': 1,
            'custom_hooks.0.policy.num_generation': 1,
            'custom_hooks.0.policy.num_individual': 2,
        },
    )
    build_runner(cfg).train()
    best = json.loads((tmp_path / 'best.json').read_text())
    limits = cfg.custom_hooks[0].range
    assert limits.min_params <= best['params'] <= limits.max_params
    assert limits.min_active <= len(best['architecture']) <= limits.node_num
