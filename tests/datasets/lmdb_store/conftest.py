"""Folders of noise, and stores of them."""

import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from sr_plugins.datasets.lmdb_store import create_store, plan_store

# Of one tile and of several strips; bytes of a row that no page divides.
SHAPES = {'a': (70, 300), 'b c': (33, 31), 'd': (1, 1), 'e': (64, 257), 'f': (40, 513)}


@pytest.fixture(scope='session')
def save_noise():
    """Write an image of noise, given back as an array."""

    def save(path, height, width, seed=0):
        generator = np.random.default_rng([seed, *path.stem.encode()])
        image = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
        return image

    return save


@pytest.fixture(scope='session')
def originals(tmp_path_factory, save_noise):
    """The folder of the images of SHAPES and, by key, what they are."""
    folder = tmp_path_factory.mktemp('originals') / 'hr'
    images = {k: save_noise(folder / f'{k}.png', *s) for k, s in SHAPES.items()}
    return folder, images


@pytest.fixture(scope='session', params=['raw', 'png'])
def intact(request, originals, tmp_path_factory):
    """A store of `originals` in either layout, and the images. Not to be changed."""
    folder, images = originals
    path = tmp_path_factory.mktemp('intact') / 'my hr.lmdb'
    assert not create_store(plan_store(folder, path, request.param)).failed
    return path, images


@pytest.fixture
def store(intact, tmp_path):
    """A copy of `intact` to be damaged."""
    path = tmp_path / 'my hr.lmdb'
    shutil.copytree(intact[0], path)
    return path


@pytest.fixture
def mounted(tmp_path):
    """Mount a small disk in memory; gives its folder and a way to mount it anew."""
    folder = tmp_path / 'disk'
    folder.mkdir()

    def mount(*options):
        command = ['mount', '-t', 'tmpfs', '-o', ','.join(options), 'tmpfs', folder]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    try:
        done = mount('size=4m')
    except OSError as error:
        pytest.skip(f'mounting a file system does not work here: {error}')
    if done.returncode:
        pytest.skip(f'mounting a file system does not work here: {done.stderr.strip()}')
    try:
        yield folder, lambda *options: mount('remount', *options)
    finally:
        subprocess.run(['umount', folder], check=True)
