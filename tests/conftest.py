"""Tiny data sets, and the repairs before anything imports torchvision."""

import shutil
import signal

import sr_plugins.compat  # noqa: F401  (torchmetrics imports torchvision)

import pytest
from skimage import data as photographs

from sr_plugins.datasets.lmdb_store import create_store, plan_pairs
from sr_plugins.preparation import prepare_benchmark, prepare_div2k
from sr_plugins.preparation.images import write_png

# A shell lets what it runs in the background ignore Ctrl-C, and so would the processes
# that are started and interrupted here.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Benchmark images: three, so that two processes share them unevenly, and of sizes
# that no scale divides.
SIZES = ((61, 67), (50, 59), (55, 49))


@pytest.fixture(scope='session')
def tiny_data(tmp_path_factory):
    """Data root with DIV2K (4 training, 2 validation images) and a benchmark `Tiny`."""
    folder = tmp_path_factory.mktemp('tiny data')
    colour = photographs.astronaut()
    for i in range(4):
        crop = colour[100 * i : 100 * i + 96, 120 : 120 + 100]
        _write(folder / 'hr' / f'{i + 1:04d}.png', crop)
    for i in range(2):
        crop = photographs.chelsea()[100 * i : 100 * i + 53, 50 : 50 + 62]
        _write(folder / 'hr' / f'{i + 801:04d}.png', crop)
    for i, (height, width) in enumerate(SIZES):
        crop = photographs.coffee()[100 * i : 100 * i + height, 200 : 200 + width]
        _write(folder / 'tiny' / f'photo{i}.png', crop)
    root = folder / 'data'
    assert not prepare_div2k(folder / 'hr', out=root).failed
    assert not prepare_benchmark(folder / 'tiny', 'Tiny', out=root).failed
    return root


@pytest.fixture(scope='session')
def tiny_stores(tiny_data, tmp_path_factory):
    """A copy of `tiny_data` with stores of its training images, of layout `raw`."""
    root = tmp_path_factory.mktemp('tiny stores') / 'data'
    shutil.copytree(tiny_data, root)
    make_stores(root)
    return root


def make_stores(root, **options):
    """Make the stores of the training images of a data root."""
    hr, lr = 'DIV2K/DIV2K_train_HR', 'DIV2K/DIV2K_train_LR_bicubic/X{scale}'
    for plan in plan_pairs(root, hr, lr, (2, 3, 4), **options):
        assert not create_store(plan).failed


def _write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_png(path, image, origin='test')
