"""A training run small enough for a test."""

import itertools
from pathlib import Path

import pytest

from sr_plugins.engine import build_runner, load_config

CONFIGS = Path(__file__).parents[2] / 'configs'

TINY = {
    'model.generator.mid_channels': 8,
    'model.generator.num_blocks': 2,
    'global_batch_size': 2,
    'train_dataloader.num_workers': 0,
    'val_dataloader.num_workers': 0,
    'test_dataloader.num_workers': 0,
    'train_dataloader.dataset.pipeline.1.lr_patch_size': 12,
    'train_cfg.max_iters': 6,
    'train_cfg.val_interval': 3,
    'default_hooks.logger.interval': 1,
    'default_hooks.checkpoint.interval': 2,
    'log_processor.window_size': 1,
    'default_hooks.visualization.interval': 1,
}


@pytest.fixture(autouse=True)
def _fast_disk(monkeypatch):
    """Checkpoints of full-size networks would wait for the disk for minutes.

    What a kill leaves is tested in processes of their own.
    """
    monkeypatch.setattr('os.fsync', lambda file: None)


@pytest.fixture
def tiny_config(tiny_data, tmp_path, request):
    """Make a config of `demo_edsr_x2` with options on top."""
    counter = itertools.count()

    def make(options=None, config='demo_edsr_x2.py', work_dir='run', **kwargs):
        # Two runs of one name within a second would share loggers and histories.
        name = {'experiment_name': f'{request.node.name}{next(counter)}'}
        return load_config(
            CONFIGS / config,
            work_dir=str(tmp_path / work_dir),
            data_root=str(tiny_data),
            cfg_options={**TINY, **name, **(options or {})},
            **kwargs,
        )

    return make


@pytest.fixture
def train(tiny_config):
    """Train to the end and give the Runner."""

    def run(options=None, resume=False, **kwargs):
        runner = build_runner(tiny_config(options, **kwargs), resume=resume)
        runner.train()
        return runner

    return run
