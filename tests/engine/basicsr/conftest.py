"""A training by BasicSR's pipeline that is small enough for a test."""

from pathlib import Path

import pytest

from sr_plugins.engine.basicsr import run_test, run_training

OPTIONS = Path(__file__).parents[3] / 'configs' / 'basicsr'

TINY = {
    'network_g.mid_channels': 8,
    'network_g.num_blocks': 2,
    'datasets.train.batch_size_per_gpu': 2,
    'datasets.train.num_worker_per_gpu': 0,
    'datasets.train.lr_patch_size': 12,
    'datasets.train.dataset_enlarge_ratio': 1,
    'train.total_iter': 6,
    'train.ema_decay': 0.5,
    'val.val_freq': 3,
    'logger.print_freq': 1,
    'logger.save_checkpoint_freq': 2,
    'logger.use_tb_logger': False,
}


def shrunk(options):
    """`TINY` with `options` on top, of which None takes an entry away."""
    merged = {**TINY, **(options or {})}
    return {key: value for key, value in merged.items() if value is not None}


def train_tiny(work_dir, options=None, name='demo_edsr_x2.yml', **kwargs):
    """Train an options file with options on top; give the folder."""
    config = kwargs.pop('config', OPTIONS / name)
    run_training(config, work_dir=str(work_dir), cfg_options=shrunk(options), **kwargs)
    return work_dir


@pytest.fixture
def train(tiny_data, tmp_path):
    """`train_tiny` on `tiny_data`, in a folder of the test."""

    def run(options=None, work_dir='run', **kwargs):
        kwargs.setdefault('data_root', str(tiny_data))
        return train_tiny(tmp_path / work_dir, options, **kwargs)

    return run


@pytest.fixture(scope='module')
def trained(tiny_data, tmp_path_factory):
    """Six iterations without a stop, to be copied or looked at."""
    folder = tmp_path_factory.mktemp('trained') / 'run'
    options = {'logger.use_tb_logger': True}
    return train_tiny(folder, options, data_root=str(tiny_data))


@pytest.fixture
def test_weights(tiny_data, tmp_path):
    """Test weights with the same options; give the table and the folder."""

    def run(checkpoint, options=None, name='demo_edsr_x2.yml', out='out', **kwargs):
        table = run_test(
            OPTIONS / name,
            str(checkpoint),
            str(tmp_path / out),
            cfg_options=shrunk(options),
            **{'data_root': str(tiny_data), **kwargs},
        )
        return table, tmp_path / out

    return run
