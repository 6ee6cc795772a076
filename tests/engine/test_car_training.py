"""CAR in a real Runner: on HR images alone, from folders and stores, resumed, warm."""

import functools
import itertools
import shutil
from pathlib import Path

import cv2
import pytest
import torch

from sr_plugins.archs import EDSR
from sr_plugins.datasets import DIV2KLMDBDataset
from sr_plugins.datasets.lmdb_store import create_store, plan_pairs
from sr_plugins.engine import build_runner, build_test_runner, load_config
from sr_plugins.engine.hooks.learning_curve_hook import read_scalars

CONFIGS = Path(__file__).parents[2] / 'configs'
TINY = {
    'model.generator.downscaler': {'mid_channels': 8, 'num_blocks': 1},
    'model.generator.upscaler': {'mid_channels': 8, 'num_blocks': 2},
    'global_batch_size': 2,
    'train_dataloader.num_workers': 0,
    'val_dataloader.num_workers': 0,
    'test_dataloader.num_workers': 0,
    'train_dataloader.dataset.pipeline.1.lr_patch_size': 12,
    'train_cfg.max_iters': 4,
    'train_cfg.val_interval': 2,
    'default_hooks.logger.interval': 1,
    'default_hooks.checkpoint.interval': 2,
    'log_processor.window_size': 1,
}


@pytest.fixture
def hr_only(tiny_data, tmp_path):
    """A data root without any LR image."""
    for part in ('train', 'valid'):
        name = f'DIV2K/DIV2K_{part}_HR'
        shutil.copytree(tiny_data / name, tmp_path / 'data' / name)
    return tmp_path / 'data'


@pytest.fixture
def car_config(hr_only, tmp_path, request):
    counter = itertools.count()

    def make(options=None, work_dir='run', **kwargs):
        name = {'experiment_name': f'{request.node.name}{next(counter)}'}
        return load_config(
            CONFIGS / 'demo_car_x2.py',
            work_dir=str(tmp_path / work_dir),
            data_root=str(hr_only),
            cfg_options={**TINY, **name, **(options or {})},
            **kwargs,
        )

    return make


@pytest.fixture
def train_car(car_config):
    def run(options=None, resume=False, **kwargs):
        runner = build_runner(car_config(options, **kwargs), resume=resume)
        runner.train()
        return runner

    return run


def assert_same_weights(a, b):
    assert a.keys() == b.keys()
    for key in a:
        assert torch.equal(a[key], b[key]), key


def test_everything_that_a_run_leaves(train_car, hr_only, tmp_path):
    runner = train_car()
    folder = tmp_path / 'run'
    assert {p.name for p in folder.glob('*.pth')} == {
        'best.pth',
        'iter_2.pth',
        'iter_4.pth',
    }
    scalars = read_scalars(folder)
    parts = [scalars[f'loss_{part}'] for part in ('pixel', 'offset', 'tv')]
    assert list(scalars['loss']) == [1, 2, 3, 4]
    for step, loss in scalars['loss'].items():
        assert loss == pytest.approx(sum(part[step] for part in parts), rel=1e-5)
    assert list(scalars['edsr_y/PSNR']) == [2, 4]
    assert (folder / 'learning_curve.png').exists()
    # The downscaled image, its reconstruction and the original.
    picture = cv2.imread(str(next(folder.rglob('0801_4.png'))))
    original = cv2.imread(str(hr_only / 'DIV2K/DIV2K_valid_HR/0801.png'))
    height, width = (side // 8 * 8 for side in original.shape[:2])
    original, half = original[:height, :width], width // 2
    assert picture.shape == (height, half + 2 * width, 3)
    assert (picture[:, half + width :] == original).all()
    small = picture[: height // 2, :half].astype(float)
    shrunk = cv2.resize(original, (half, len(small)), interpolation=cv2.INTER_AREA)
    assert abs(small - shrunk).mean() < 20, 'not the image, or in other colours'
    averaged = torch.load(folder / 'iter_4.pth', weights_only=True)['state_dict']
    trained = runner.model.state_dict()
    for part in ('downscaler.conv_first', 'upscaler.conv_first'):
        key = f'generator.{part}.weight'
        assert not torch.equal(averaged[key], trained[key]), 'the average is no average'


def test_bfloat16(train_car):
    losses = train_car(amp='bf16').message_hub.get_scalar('train/loss').data[0]
    assert all(0 < loss < 1 for loss in losses)


def test_compiled_for_training(train_car, monkeypatch, tmp_path):
    """Losses need more than the image: they come out of the compiled network too."""
    # Generating code would take minutes; tracing is what can fail.
    eager = functools.partial(torch.compile, backend='aot_eager', fullgraph=True)
    plain = train_car({'train_cfg.max_iters': 2}, work_dir='plain')
    monkeypatch.setattr(torch, 'compile', eager)
    compiled = train_car(
        {'train_cfg.max_iters': 2}, work_dir='compiled', compile_network=True
    )
    weights = plain.model.state_dict()
    for key, value in compiled.model.state_dict().items():
        torch.testing.assert_close(value, weights[key], rtol=1e-3, atol=1e-4)


def test_resumed_run_equals_an_uninterrupted_one(train_car, tmp_path):
    whole = train_car(work_dir='whole')
    shutil.copytree(tmp_path / 'whole', tmp_path / 'parts')
    (tmp_path / 'parts' / 'iter_4.pth').unlink()
    resumed = train_car(work_dir='parts', resume=True)
    assert resumed.train_loop.dataloader.sampler.start == 2 * 2
    assert_same_weights(whole.model.state_dict(), resumed.model.state_dict())
    for name in ('whole', 'parts'):
        assert (tmp_path / name / 'iter_4.pth').exists()


def test_stores_give_the_samples_of_the_folder(train_car, hr_only, tmp_path):
    for plan in plan_pairs(hr_only, 'DIV2K/DIV2K_train_HR', 'none/X{scale}', ()):
        assert not create_store(plan).failed
    folder = train_car(work_dir='folder')
    stored = train_car({'data': 'lmdb'}, work_dir='lmdb')
    assert type(stored.train_dataloader.dataset) is DIV2KLMDBDataset
    losses = [read_scalars(tmp_path / n)['loss'] for n in ('folder', 'lmdb')]
    assert losses[0] == losses[1]
    assert_same_weights(folder.model.state_dict(), stored.model.state_dict())


@pytest.fixture
def edsr(tmp_path):
    """A trained EDSR to start from, in a file of BasicSR's, for images of [0, 255]."""
    from basicsr.archs.edsr_arch import EDSR as BasicSREDSR

    torch.manual_seed(5)
    path = tmp_path / 'edsr.pth'
    theirs = BasicSREDSR(3, 3, num_feat=8, num_block=2, upscale=2, res_scale=1.0)
    torch.save({'params': theirs.state_dict()}, path)
    return path, theirs


def test_warm_start_of_the_upscaling_network(train_car, edsr, tmp_path):
    path, theirs = edsr
    still = {'optim_wrapper.optimizer.lr': 0.0, 'train_cfg.max_iters': 1}
    cold = train_car(still, work_dir='cold').model.generator
    warm = train_car({**still, 'load_from.upscaler': str(path)}, work_dir='warm')
    generator = warm.model.generator
    x = torch.rand(1, 3, 7, 9)
    with torch.no_grad():
        torch.testing.assert_close(generator.upscaler(x), theirs(x), rtol=0, atol=1e-4)
    assert_same_weights(generator.downscaler.state_dict(), cold.downscaler.state_dict())
    log = next((tmp_path / 'warm').glob('*/*.log')).read_text()
    taken = len(EDSR(2, mid_channels=8, num_blocks=2).state_dict())
    assert f'{taken} taken (BasicSR names)' in log


def test_warm_start_is_not_repeated(train_car, car_config, edsr, tmp_path):
    """Neither over the weights of a resumed run, nor over those under test."""
    options = {'load_from.upscaler': str(edsr[0])}
    whole = train_car(options, work_dir='whole')
    shutil.copytree(tmp_path / 'whole', tmp_path / 'parts')
    (tmp_path / 'parts' / 'iter_4.pth').unlink()
    resumed = train_car(options, work_dir='parts', resume=True)
    assert_same_weights(whole.model.state_dict(), resumed.model.state_dict())
    assert build_test_runner(car_config(options, work_dir='test'))._load_from is None
