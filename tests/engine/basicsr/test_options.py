"""Options files: what they say, and what is said about wrong ones."""

import os
import re
from pathlib import Path

import pytest
import torch
from basicsr.models.lr_scheduler import MultiStepRestartLR
from mmengine.config import Config

from sr_plugins.engine.basicsr import complete, read_options
from sr_plugins.engine.basicsr.checks import check_types

CONFIGS = Path(__file__).parents[3] / 'configs'
FILES = sorted(path.name for path in (CONFIGS / 'basicsr').glob('*.yml'))


def completed(name, **kwargs):
    options = read_options(CONFIGS / 'basicsr' / name, **kwargs)
    return complete(options, name, 'work', is_train=True)


def test_the_promised_files_are_there():
    networks = ('edsr_baseline', 'edsr', 'mdsr_baseline', 'mdsr', 'csnln', 'esrn')
    promised = {f'{network}_x{s}.yml' for network in networks for s in (2, 3, 4)}
    promised |= {f'{network}_x{s}.yml' for network in ('car', 'usn') for s in (2, 4)}
    assert promised | {'demo_edsr_x2.yml'} == set(FILES)


@pytest.mark.parametrize('name', FILES)
def test_recipe_is_that_of_the_other_runner(name):
    options = completed(name)
    check_types(options)
    scale = int(Path(name).stem[-1])
    train = options['datasets']['train']
    assert options['network_g']['scale'] == train['scale'] == scale
    assert train['filename_tmpl'] == f'{{}}x{scale}'
    assert train['dataroot_lq'].endswith(f'DIV2K_train_LR_bicubic/X{scale}')
    for metric in options['val']['metrics'].values():
        assert metric['crop_border'] == scale
    other = Path(name).stem.replace('usn', 'edsr')
    if name.startswith('mdsr'):
        # All scales are one config there.
        other = other[:-3]
        assert options['find_unused_parameters'] is True
    cfg = Config.fromfile(CONFIGS / f'{other}.py')
    crop = cfg.train_dataloader.dataset.pipeline[1]
    assert train['gt_size'] == crop.lr_patch_size * scale
    assert train['batch_size_per_gpu'] == cfg.global_batch_size
    assert options['train']['total_iter'] == cfg.train_cfg.max_iters
    theirs = dict(cfg.optim_wrapper.optimizer)
    ours = options['train']['optim_g']
    assert {**ours, 'betas': tuple(ours['betas'])} == theirs
    generator = {'scale': scale, **cfg.model.generator}
    network = {k: v for k, v in options['network_g'].items() if k != 'type'}
    kind = generator.pop('type').removeprefix('sr_plugins.')
    assert options['network_g']['type'] in (kind, f'{kind}_sr_plugins', 'USN')
    if name.startswith('edsr_baseline') or name.startswith('demo'):
        network['res_scale'] = 1.0  # the default
    if 'scales' in generator:
        generator['scales'] = list(generator['scales'])
    assert network == generator
    if not name.startswith(('car', 'demo')):
        # CAR's two schedules are one here.
        ours = options['train']['scheduler']
        assert ours['milestones'] == cfg.param_scheduler.milestones
        assert ours['gamma'] == cfg.param_scheduler.gamma


def test_rate_of_car_falls_in_five_equal_parts():
    """1e-4, 5e-5, 1e-5, 5e-6 and 1e-6, by BasicSR's scheduler, in a thousandth."""
    scheduler = dict(completed('car_x4.yml')['train']['scheduler'])
    assert scheduler.pop('type') == 'MultiStepRestartLR'
    scheduler['restarts'] = [step // 1000 for step in scheduler['restarts']]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-4)
    scheduler = MultiStepRestartLR(optimizer, **scheduler)
    rates = []
    for _ in range(200):
        rates.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        scheduler.step()
    expected = [rate for rate in (1e-4, 5e-5, 1e-5, 5e-6, 1e-6) for _ in range(40)]
    assert rates == pytest.approx(expected)


def test_data_root_and_patch(tmp_path):
    options = completed(
        'csnln_x2.yml',
        data_root=str(tmp_path),
        cfg_options={'scale': 4, 'datasets.train.lr_patch_size': 10},
    )
    train = options['datasets']['train']
    assert train['dataroot_gt'] == f'{tmp_path}/DIV2K/DIV2K_train_HR'
    assert train['dataroot_lq'] == f'{tmp_path}/DIV2K/DIV2K_train_LR_bicubic/X4'
    assert train['gt_size'] == 40
    absolute = {'datasets.train.dataroot_gt': '~/mine'}
    options = completed('csnln_x2.yml', data_root='there', cfg_options=absolute)
    assert options['datasets']['train']['dataroot_gt'] == os.path.expanduser('~/mine')


def test_example_of_the_documentation(tmp_path):
    page = (CONFIGS.parent / 'docs' / 'basicsr.md').read_text()
    (tmp_path / 'basicsr').symlink_to(CONFIGS / 'basicsr')
    example = written(tmp_path, re.search('```yaml\n(.*?)```', page, re.DOTALL)[1])
    options = complete(read_options(example), 'mine', 'work', is_train=True)
    check_types(options)
    assert options['network_g']['num_recurrences'] == 6
    assert options['network_g']['mid_channels'] == 128
    assert options['datasets']['train']['gt_size'] == 80
    assert options['datasets']['train']['dataroot_gt'].startswith('data/mine/')


def written(folder, text):
    path = folder / 'wrong.yml'
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('name: x\ntrain:\n\ttotal_iter: 3\n', r'line 3, column 1.*no tabs'),
        ('a: [1, 2\n', r'to be YAML, but got line 2'),
        (b'name: \xff\xfe', r'to be YAML, but got'),
        ('- 1\n- 2\n', r'`key: value` lines, but got list'),
        ('', r'but got NoneType'),
        ('a: "{scale}"\n', r"to have `scale`, since it has '{scale}'"),
        ('a: !!python/object/apply:os.getcwd []\n', 'could not determine a constr'),
    ],
)
def test_what_is_no_options_file(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read_options(written(tmp_path, text))


def test_iterations_as_basicsr_writes_them(tmp_path):
    options = written(
        tmp_path,
        f'_base_: {CONFIGS}/basicsr/csnln_x2.yml\ntrain: {{total_iter: !!float 3e5}}\n'
        'logger: {save_checkpoint_freq: !!float 5e3}\nval: {val_freq: !!float 5e3}\n',
    )
    check_types(complete(read_options(options), 'name', 'work', is_train=True))


def test_a_cosine_that_ends_early():
    with pytest.raises(
        ValueError, match=r'last for `train\.total_iter`.*\[1000\] for 1'
    ):
        check_types(
            completed('demo_edsr_x2.yml', cfg_options={'train.total_iter': 1002})
        )


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match='Expected an options file, but there'):
        read_options(tmp_path / 'none.yml')
    with pytest.raises(FileNotFoundError, match=r'gone\.yml'):
        read_options(written(tmp_path, '_base_: gone.yml\n'))


def test_numbers_without_a_point(tmp_path):
    text = 'a: 1e-4\nb: 2.5E3\nc: !!float 1e-6\nd: x1e4\n'
    options = read_options(written(tmp_path, text))
    assert options == {'a': 1e-4, 'b': 2500.0, 'c': 1e-6, 'd': 'x1e4'}


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'network_g': None}, r'to have network_g\.type'),
        ({'train.scheduler': None}, r'to have train\.scheduler\.type'),
        ({'train.total_iter': 'many'}, "`train.total_iter` to be a whole.*'many'"),
        ({'train.total_iter': 2.5}, '`train.total_iter` to be a whole.*got 2.5'),
        ({'val.val_freq': 0}, '`val.val_freq` to be a whole number above 0, but got 0'),
        ({'scale': 2.0}, '`scale` to be a whole number above 0, but got 2.0'),
        ({'scale': 0}, '`scale` to be a whole number above 0, but got 0'),
        ({'network_g.type': 'CSNLM'}, "`network_g.type`.*'CSNLM'. Did you mean CSNLN"),
        (
            {'network_g.num_block': 3},
            r"but got an unexpected keyword argument 'num_block'.*scale",
        ),
        ({'model_type': 'SrModel'}, r'`model_type`.*Did you mean SRModel'),
        ({'datasets.train.type': 'Folder'}, r"`datasets\.train\.type`.*'Folder'"),
        ({'train.pixel_opt.type': 'L1los'}, r'`train\.pixel_opt\.type`.*L1Loss'),
        (
            {'val.metrics.x': {'type': 'psnr'}},
            r'`val\.metrics\.x\.type`.*calculate_psnr',
        ),
        (
            {'val.metrics.x': {'type': 'calculate_psnr', 'crop_boarder': 2}},
            r"`val\.metrics\.x`.*but is missing a required argument: 'crop_border'",
        ),
        ({'val.metrics.x': 3}, r'`val\.metrics\.x` to be a mapping with `type`'),
        (
            {'datasets.train.dataroot_lq': None},
            r'`datasets\.train` to have dataroot_lq',
        ),
        (
            {'train.optim_g.type': 'SGD'},
            r"`train\.optim_g\.type` to be one of Adam.*'SGD'",
        ),
        (
            {'train.optim_g.beta': 0.9},
            r"`train\.optim_g`.*argument 'beta'.*weight_decay",
        ),
        ({'train.scheduler.type': 'StepLR'}, r"MultiStepLR, .*but got 'StepLR'"),
        ({'train.scheduler.milestone': [1]}, r"`train\.scheduler`.*'milestone'"),
        ({'num_gpu': 'all'}, "`num_gpu` to be a number or 'auto', but got 'all'"),
        (
            {'datasets.train.num_worker_per_gpu': 'all'},
            r"`datasets\.train\.num_worker_per_gpu` to be a whole number from 0.*'all'",
        ),
        ({'datasets.train.lr_patch_size': 0}, r'lr_patch_size` to be a .* but got 0'),
        ({'datasets.val.indices': '10'}, r"`datasets\.val\.indices` .* but got '10'"),
        ({'val.metrics': [1]}, r'`val\.metrics` to be a mapping, but got \[1\]'),
        ({'val': [1]}, r'`val` to be a mapping, but got \[1\]'),
        ({'datasets.train.gt_size': 97}, r'multiple of the scale, but got 97 for x2'),
    ],
)
def test_wrong_entries(change, message):
    with pytest.raises(ValueError, match=message):
        check_types(completed('csnln_x2.yml', cfg_options=change))
