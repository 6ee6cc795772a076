"""Options that reach the config, and complaints before anything is built."""

from pathlib import Path

import pytest
import torch

from sr_plugins.archs import EDSR
from sr_plugins.engine import (
    build_runner,
    check_types,
    load_config,
    set_image_options,
)
from sr_plugins.models import SRModel
from sr_plugins.registry import MODELS

CONFIGS = Path(__file__).parents[2] / 'configs'


def test_options(tiny_config):
    cfg = tiny_config(
        {'train_cfg.max_iters': 99}, seed=5, deterministic=True, compile_network=True
    )
    assert cfg.train_cfg.max_iters == 99
    assert cfg.randomness == {'seed': 5, 'deterministic': True}
    assert cfg.custom_hooks[-1]['type'] == 'sr_plugins.CompileHook'


def test_data_root_reaches_every_data_set(tiny_config, tiny_data):
    cfg = tiny_config()
    for part in ('train', 'val', 'test'):
        assert cfg[f'{part}_dataloader'].dataset.data_root == str(tiny_data)


def test_missing_config():
    with pytest.raises(FileNotFoundError, match=r'there is no nowhere/edsr\.py'):
        load_config('nowhere/edsr.py')
    with pytest.raises(ValueError, match=r'but got .*csnln_x2\.yml. Options files'):
        load_config(CONFIGS / 'basicsr' / 'csnln_x2.yml')


@pytest.mark.parametrize(
    ('option', 'value', 'hint'),
    [
        ('model.generator.type', 'sr_plugins.EDSRR', 'sr_plugins.EDSR'),
        (
            'train_dataloader.dataset.type',
            'sr_plugins.PairFolderDataset',
            'sr_plugins.PairedF',
        ),
        ('test_evaluator.0.type', 'sr_plugins.PNSR', 'sr_plugins.PSNR'),
    ],
)
def test_unknown_type(tiny_config, option, value, hint):
    with pytest.raises(ValueError, match=f"but got '{value}'") as caught:
        tiny_config({option: value})
    assert f'Did you mean `{hint}' in str(caught.value)


@pytest.mark.parametrize(
    ('key', 'entry', 'takes'),
    [
        ('model.generator.num_block', 'model.generator', 'scale=2, in_channels=3'),
        ('model.generatr', 'model', 'generator, pixel_loss, train_cfg=None'),
        ('train_dataloader.dataset.lr_nam', 'train_dataloader.dataset', 'scale, data_'),
        ('val_evaluator.1.protocl', 'val_evaluator.1', 'protocol'),
        ('custom_hooks.1.metric', 'custom_hooks.1', 'metrics='),
        ('train_pipeline.1.size', 'train_pipeline.1', 'lr_patch_size'),
    ],
)
def test_unknown_argument(tiny_config, key, entry, takes):
    match = f"`{entry}` to have arguments of .*'{key.rpartition('.')[2]}'"
    with pytest.raises(ValueError, match=match) as caught:
        tiny_config({key: 1})
    assert f'It takes {takes}' in str(caught.value)


def test_unknown_argument_of_our_model(tiny_config):
    with pytest.raises(ValueError, match=r"`model` to have .* keyword argument 'tile'"):
        tiny_config({'model.tile': 64}, self_ensemble=True)


def test_known_types_of_others_pass(tiny_config):
    check_types(tiny_config({'model.generator.type': 'EDSRNet'}))


def test_scale_that_the_network_does_not_have(tiny_config):
    cfg = tiny_config({'model.generator.scale': 5})
    with pytest.raises(ValueError, match=r'`scale` of EDSR to be one of .*but got 5'):
        build_runner(cfg)


def test_scale_of_a_network_of_several():
    cfg = load_config(CONFIGS / 'mdsr.py', scale=3)
    assert cfg.model.generator.scale == 3
    assert cfg.val_dataloader.dataset.scale == cfg.test_dataloader.dataset.scale == 3
    assert cfg.train_dataloader.dataset.scale == (2, 3, 4)


@pytest.mark.parametrize(
    ('config', 'scale', 'known'),
    [('mdsr.py', 5, '2, 3, 4'), ('edsr_x2.py', 3, '2'), ('car_x4.py', 2, '4')],
)
def test_scale_that_the_config_does_not_have(config, scale, known):
    with pytest.raises(ValueError, match=f'has, {known}, but got {scale}'):
        load_config(CONFIGS / config, scale=scale)
    own = int(known[0])
    assert load_config(CONFIGS / config, scale=own).model.generator.scale == own


@pytest.mark.parametrize('scale', [3, 4])
def test_warm_start(tiny_config, tmp_path, scale):
    """As published: all but the upsampler, of which x4 has its first step from x2."""
    torch.manual_seed(3)
    start = EDSR(2, mid_channels=8, num_blocks=2).state_dict()
    torch.save(start, tmp_path / 'x2.pth')
    options = {f'{part}_dataloader.dataset.scale': scale for part in ('train', 'val')}
    options['model.generator.scale'] = scale
    cfg = tiny_config(options, init_from=tmp_path / 'x2.pth')
    runner = build_runner(cfg)
    state = runner.model.generator.state_dict()
    same = {key for key in state if torch.equal(state[key], start.get(key, state[key]))}
    fresh = {3: 'upsample.0', 4: 'upsample.1'}[scale]
    taken = {key for key in state if not key.startswith(fresh)}
    assert same & set(start) == taken & set(start) == taken
    log = next((tmp_path / 'run').glob('*/*.log')).read_text()
    assert f'x2.pth: {len(taken)} taken' in log
    kind = 'of another shape' if scale == 3 else 'missing'
    assert f'{kind}: {fresh}.upsample_conv.weight, {fresh}.upsample_conv.bias' in log


def test_warm_start_of_a_search():
    with pytest.raises(ValueError, match='a search, whose networks all start from'):
        load_config(CONFIGS / 'esrn_search_x2.py', init_from='x2.pth')


def test_fp16_without_a_gpu(tiny_config, monkeypatch):
    monkeypatch.setattr('sr_plugins.engine.launch.has_cuda', lambda: False)
    with pytest.raises(ValueError, match='Use `--amp bf16`'):
        tiny_config(amp='fp16')


def test_nothing_to_resume(tiny_config, tmp_path):
    with pytest.raises(FileNotFoundError, match='Start without `--resume`'):
        build_runner(tiny_config(), resume=True)


def test_resume_from_a_missing_file(tiny_config, tmp_path):
    with pytest.raises(FileNotFoundError, match=r'gone\.pth'):
        build_runner(tiny_config(), resume=str(tmp_path / 'gone.pth'))


def test_work_folder_that_cannot_be_written(tiny_config, tmp_path):
    (tmp_path / 'file').write_text('in the way')
    cfg = tiny_config(work_dir='file/run')
    with pytest.raises(OSError, match=r'to be writable.*`--work-dir`'):
        build_runner(cfg)


def test_missing_data_names_the_command(tiny_config, tmp_path):
    cfg = tiny_config()
    cfg.train_dataloader.dataset.data_root = str(tmp_path / 'nothing')
    with pytest.raises(FileNotFoundError, match=r'python tools/prepare_data\.py'):
        build_runner(cfg).train()


def test_uneven_global_batch(tiny_config, monkeypatch):
    monkeypatch.setattr('sr_plugins.engine.launch.get_world_size', lambda: 3)
    match = r'multiple .*but got 2 for 3.*global_batch_size=3'
    with pytest.raises(ValueError, match=match):
        build_runner(tiny_config())


def test_no_more_workers_than_cores(tiny_config, monkeypatch):
    monkeypatch.setattr('os.sched_getaffinity', lambda _: set(range(8)))
    monkeypatch.setenv('LOCAL_WORLD_SIZE', '4')
    cfg = tiny_config({'train_dataloader.num_workers': 30})
    build_runner(cfg)
    assert cfg.train_dataloader.num_workers == 2
    assert cfg.val_dataloader.persistent_workers is False


def test_batch_size_of_the_loader_alone(tiny_config):
    cfg = tiny_config({'train_dataloader.batch_size': 5})
    with pytest.raises(ValueError, match=r'got 5 and 2\. Set `global'):
        build_runner(cfg)


@pytest.mark.parametrize('key', ['scale', 'lr_patch_size'])
def test_options_that_come_too_late(tiny_config, key):
    with pytest.raises(ValueError, match=f'got {key} itself'):
        tiny_config({key: 3})


def test_data_root_among_the_options(tiny_config):
    cfg = load_config(
        CONFIGS / 'demo_edsr_x2.py', cfg_options={'data_root': '/elsewhere'}
    )
    assert cfg.train_dataloader.dataset.data_root == '/elsewhere'


def test_resume_from_weights_alone(tiny_config, tmp_path):
    path = tmp_path / 'best.pth'
    torch.save({'state_dict': {}, 'meta': {}}, path)
    with pytest.raises(ValueError, match='to name a training checkpoint'):
        build_runner(tiny_config(), resume=str(path))


@pytest.mark.parametrize(
    ('values', 'shave', 'min_size'), [([], 10, 3600), ([4, 900], 4, 900)]
)
def test_chop(tiny_config, values, shave, min_size):
    cfg = tiny_config(chop=values)
    assert cfg.model.test_cfg.chop == {'shave': shave, 'min_size': min_size}
    model = MODELS.build(cfg.model)
    assert isinstance(model, SRModel)
    assert model.test_cfg['chop']['shave'] == shave


@pytest.mark.parametrize('values', [[4], [4, 900, 1], [-1, 900], [4, 0]])
def test_wrong_chop(tiny_config, values):
    with pytest.raises(ValueError, match='Expected `--chop` to be followed by'):
        tiny_config(chop=values)


def test_tiles_and_poses(tiny_config):
    cfg = tiny_config(tile=64, overlap='16', self_ensemble=True)
    assert cfg.model.test_cfg == {
        'tile': {'size': 64, 'overlap': 16},
        'self_ensemble': True,
    }
    assert isinstance(MODELS.build(cfg.model), SRModel)


def test_what_is_told_replaces_what_the_config_has(tiny_config):
    cfg = tiny_config(tile=64, overlap=16)
    set_image_options(cfg, overlap='auto', seams='blended')
    tile = {'size': 64, 'overlap': 'auto', 'seams': 'blended'}
    assert cfg.model.test_cfg == {'tile': tile}
    set_image_options(cfg, chop=())
    assert list(cfg.model.test_cfg) == ['chop']
    set_image_options(cfg, tile=32)
    assert cfg.model.test_cfg == {'tile': {'size': 32}}


def test_model_that_cannot_do_as_told(tiny_config):
    cfg = tiny_config(tile=3)
    with pytest.raises(ValueError, match='at least the overlap of EDSR'):
        MODELS.build(cfg.model)


def test_csnln_takes_whole_images():
    cfg = load_config(CONFIGS / 'csnln_x2.py')
    assert not (cfg.model.get('test_cfg') or {}).get('chop')
