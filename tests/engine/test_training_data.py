"""The switch `data`: the same training from stores as from folders, bit for bit."""

from pathlib import Path

import pytest
import torch

from sr_plugins.datasets import DIV2KLMDBDataset, PairedFolderDataset
from sr_plugins.engine import build_runner, load_config
from sr_plugins.engine.hooks.learning_curve_hook import read_scalars

CONFIGS = Path(__file__).parents[2] / 'configs'
SMALL = {
    'global_batch_size': 2,
    'val_dataloader.dataset.indices': 1,
    'train_dataloader.dataset.pipeline.1.lr_patch_size': 12,
    'train_cfg.max_iters': 3,
    'default_hooks.logger.interval': 1,
}
NETWORKS = {
    'demo_edsr_x2.py': {'model.generator.num_blocks': 2},
    # The cell at its real width; to recur more often is only a repetition.
    'csnln_x2.py': {'model.generator.num_recurrences': 2},
}


@pytest.mark.parametrize('config', NETWORKS)
def test_losses_are_those_of_the_folder(tiny_stores, tmp_path, config):
    found = {}
    for data in ('folder', 'lmdb'):
        cfg = load_config(
            CONFIGS / config,
            work_dir=str(tmp_path / data),
            data_root=str(tiny_stores),
            cfg_options={
                **SMALL,
                **NETWORKS[config],
                'data': data,
                'experiment_name': f'{config}_{data}',
                'train_dataloader.num_workers': 2 if data == 'lmdb' else 0,
            },
        )
        runner = build_runner(cfg)
        runner.train()
        found[data] = runner, list(read_scalars(tmp_path / data)['loss'].values())
    (folder, expected), (lmdb, losses) = found['folder'], found['lmdb']
    assert type(folder.train_dataloader.dataset) is PairedFolderDataset
    assert type(lmdb.train_dataloader.dataset) is DIV2KLMDBDataset
    assert len(losses) == 3
    assert losses == expected
    weights = folder.model.state_dict()
    for name, weight in lmdb.model.state_dict().items():
        assert torch.equal(weight, weights[name]), name


def test_stores_that_are_missing_are_named(tiny_config):
    cfg = tiny_config({'data': 'lmdb'})
    with pytest.raises(FileNotFoundError, match=r'lmdb.*tools/create_lmdb\.py'):
        build_runner(cfg).train()


def test_bad_switch(tmp_path):
    config = tmp_path / 'mine.py'
    config.write_text("data = 'lmbd'\n")
    with pytest.raises(ValueError, match="'folder' or 'lmdb', but got 'lmbd'"):
        load_config(config)


def test_names_that_stores_do_not_have():
    options = {'data': 'lmdb'}
    with pytest.raises(ValueError, match=r"as DIV2K's .* but got `lr_name` '\{name\}'"):
        load_config(CONFIGS / 'edsr_deblur.py', cfg_options=options)


def test_a_data_set_of_ones_own_is_kept(tiny_config):
    options = {'data': 'lmdb', 'train_dataloader.dataset.type': 'BasicImageDataset'}
    assert tiny_config(options).train_dataloader.dataset.type == 'BasicImageDataset'
