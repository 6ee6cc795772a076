"""The tool `create_lmdb.py`: what it says, how it ends, and kills at any moment."""

import os
import random
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sr_plugins.datasets.lmdb_store import (
    Store,
    create_store,
    plan_store,
    verify_store,
)
from sr_plugins.datasets.lmdb_store.writer import read_sources

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / 'tools' / 'create_lmdb.py'
HR = 'DIV2K/DIV2K_train_HR'
LR = 'DIV2K/DIV2K_train_LR_bicubic'


def save_noise(path, height, width, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng([seed, height, width])
    image = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(image).save(path)
    return image


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A folder to work in, with HR images in `data` and their LR images at x2, x3."""
    images = {}
    for number in range(3):
        name = f'{number + 1:04d}'
        images[HR, name] = save_noise(
            tmp_path / 'data' / HR / f'{name}.png', 48, 60, number
        )
        for scale in (2, 3):
            folder = f'{LR}/X{scale}'
            path = tmp_path / 'data' / folder / f'{name}x{scale}.png'
            images[folder, name] = save_noise(path, 48 // scale, 60 // scale, number)
    monkeypatch.chdir(tmp_path)
    return images


@pytest.fixture
def tool(monkeypatch, capsys):
    """Run the tool in this process; return its status and what it printed."""

    def run(*words):
        words = [TOOL, '--workers', '1', *words]
        monkeypatch.setattr(sys, 'argv', [str(word) for word in words])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(TOOL), run_name='__main__')
        return ended.value.code, *capsys.readouterr()

    return run


def assert_holds(root, images):
    for (folder, name), image in images.items():
        store = Store(Path(root, f'{folder}.lmdb'))
        assert len(store) == 3
        np.testing.assert_array_equal(store[name].copy(), image)


def test_from_the_command_line(data, tmp_path):
    """As users run it, from the folder of the data."""
    done = subprocess.run(
        [sys.executable, TOOL, '--scales', '2', '3'],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, '')
    stores = [f'data/{HR}.lmdb', *(f'data/{LR}/X{scale}.lmdb' for scale in (2, 3))]
    lines = done.stdout.splitlines()
    # What it will take comes before anything is made.
    for line, store in zip(lines[:3], stores, strict=True):
        assert line.startswith(f'{store}: 3 images of {store.removesuffix(".lmdb")}, ')
        assert ' kB' in line
    assert lines[3:] == [
        f'{store}: 3 images written, 0 were there already.' for store in stores
    ]
    assert_holds('data', data)


def test_sizes_come_before_work(data, tmp_path, monkeypatch, tool):
    free = os.statvfs(tmp_path)
    usage = (free.f_blocks, free.f_blocks, 1000)
    monkeypatch.setattr(
        'sr_plugins.preparation.archives.shutil.disk_usage',
        lambda path: type('Usage', (), {'free': usage[2]}),
    )
    status, out, error = tool('--scales', '2')
    assert status == 1
    assert len(out.splitlines()) == 2
    assert 'of free disk space' in error
    assert 'but got 1.0 kB' in error
    assert not list(tmp_path.rglob('*.lmdb*'))


def test_a_second_call_and_a_changed_image(data, tool):
    assert tool('--scales', '2')[0] == 0
    status, out, _ = tool('--scales', '2')
    assert status == 0
    assert out.count('nothing to do, it is there already') == 2
    data[HR, '0002'] = save_noise(Path('data', HR, '0002.png'), 48, 60, seed=9)
    status, _, error = tool('--scales', '2')
    assert status == 1
    assert error.startswith(f'error: Expected the store data/{HR}.lmdb')
    assert '0002.png. Call with `--overwrite` to replace it.' in error
    assert tool('--scales', '2', '--overwrite')[0] == 0
    assert_holds('data', {k: v for k, v in data.items() if 'X3' not in k[0]})


def test_no_scales_and_another_place(data, tool):
    status, out, _ = tool('--scales', '--out', 'my stores', '--layout', 'png')
    assert status == 0
    assert len(out.splitlines()) == 2
    assert 'layout png, about' in out
    assert sorted(p.name for p in Path('my stores/DIV2K').iterdir()) == [
        'DIV2K_train_HR.lmdb'
    ]
    assert not list(Path('data').rglob('*.lmdb*'))
    assert_holds('my stores', {k: v for k, v in data.items() if k[0] == HR})
    status, out, _ = tool('--scales', '--out', 'my stores', '--verify')
    assert (status, out.count('as they were written')) == (0, 1)


def test_sub_images(data, tool):
    assert tool('--scales', '2', '--sub-images', '36', '12')[0] == 0
    store = Store(f'data/{HR}_sub.lmdb')
    # 48 x 60: two down, three across.
    assert len(store) == 18
    assert store.keys()[:2] == ['0001_s001', '0001_s002']
    expected = data[HR, '0001'][12:48, 24:60]
    np.testing.assert_array_equal(store['0001_s006'].copy(), expected)
    expected = data[f'{LR}/X2', '0001'][6:24, 12:30]
    store = Store(f'data/{LR}/X2_sub.lmdb')
    np.testing.assert_array_equal(store['0001_s006'].copy(), expected)
    words = ('--scales', '2', '--sub-images', '36', '12', '--verify')
    status, out, _ = tool(*words)
    assert (status, out.count('all 18 images')) == (0, 2)
    status, _, error = tool('--sub-images', '36', '10')
    assert status == 1
    assert 'multiples of 12' in error


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['--data-root', 'no where'], f'got no where/{HR}, which does not exist'),
        (['--hr', 'DIV2K'], 'It holds the folders DIV2K_train_HR'),
        (['--scales', '4'], f'data/{LR}/X4, which does not exist'),
        (['--scales', '0', '--sub-images', '36', '12'], 'scales above 0'),
        (['--lr', 'DIV2K/X{s}'], 'DIV2K/X{s}, which does not exist'),
        (['--scales', '2', '--workers', '0'], 'at least 1, but got 0'),
        (['--scales', '--out', 'data/' + HR + '/0001.png'], '0001.png'),
        (['--scales', '--verify'], f'a store data/{HR}.lmdb (from '),
    ],
)
def test_mistakes_are_named(data, tool, words, message):
    status, _, error = tool(*words)
    assert status == 1
    assert error.startswith('error: ')
    assert message in error
    assert 'Traceback' not in error
    assert not list(Path('data').rglob('*.lmdb'))


def test_a_damaged_image(data, tool):
    path = Path('data', HR, '0002.png')
    whole = path.read_bytes()
    path.write_bytes(whole[:2000])
    status, out, error = tool('--scales', '2')
    assert (status, error) == (1, '')
    assert 'Failed: 0002.png: Expected a whole image' in out
    assert f'data/{HR}.lmdb is not made, since 1 images failed' in out
    assert f'data/{LR}/X2.lmdb: 3 images written' in out
    assert not Path(f'data/{HR}.lmdb').exists()
    path.write_bytes(whole)
    status, out, _ = tool('--scales', '2', '3')
    assert status == 0
    assert f'data/{HR}.lmdb: 1 images written, 2 were there already.' in out
    assert_holds('data', data)


def test_verify_names_what_is_damaged(data, tool):
    assert tool('--scales', '2', '3')[0] == 0
    status, out, _ = tool('--scales', '2', '3', '--verify')
    assert (status, out.count('all 3 images are as they were written')) == (0, 3)
    path = Path('data', f'{HR}.lmdb', 'data.mdb')
    content = bytearray(path.read_bytes())
    start = content.index(b'SRPIXELS')
    content[start + 2000] ^= 1
    path.write_bytes(content)
    # Of the next there is nothing at all; the last is read nevertheless.
    Path('data', f'{LR}/X2.lmdb').rename('data/away')
    status, out, error = tool('--scales', '2', '3', '--verify')
    assert status == 1
    assert 'Damaged: 000' in out
    assert '1 of 3 images are damaged' in out
    assert f'error: Expected a store data/{LR}/X2.lmdb' in error
    assert f'data/{LR}/X3.lmdb: all 3 images' in out


# --- Kills

COUNT = 30
# The tool, but for a commit after each image: kills then fall within commits, too.
DRIVER = f"""
import runpy, sys
if __name__ == '__main__':
    sys.path.insert(0, {str(ROOT)!r})
    from sr_plugins.datasets.lmdb_store import writer
    writer.COMMIT_BYTES = 1
    runpy.run_path({str(TOOL)!r}, run_name='__main__')
"""


@pytest.fixture(scope='module')
def many(tmp_path_factory):
    """HR images, a store of them that was made without a break, and the driver."""
    folder = tmp_path_factory.mktemp('many')
    for number in range(COUNT):
        save_noise(folder / 'hr' / f'{number:04d}.png', 100, 130, number)
    assert not create_store(plan_store(folder / 'hr', folder / 'whole.lmdb')).failed
    (folder / 'driver.py').write_text(DRIVER)
    return folder


def start(folder, out, *words):
    command = [sys.executable, folder / 'driver.py', '--data-root', folder]
    command += ['--hr', 'hr', '--scales', '--out', out, *words]
    return subprocess.Popen(
        [*map(str, command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def await_start(process):
    """Wait for the sizes, which the tool prints right before it works."""
    line = process.stdout.readline()
    assert f'{COUNT} images' in line, process.stderr.read()
    return time.monotonic()


def finish(process):
    """Give status, output and errors; the process is gone then, with its workers."""
    out, error = process.communicate(timeout=60)
    return process.returncode, out, error


def assert_equals_the_whole(folder, path):
    """Image by image, and by the digest."""
    assert verify_store(path)
    found, expected = Store(path), Store(folder / 'whole.lmdb')
    assert found.keys() == expected.keys()
    assert len(found) == COUNT
    for position in range(COUNT):
        np.testing.assert_array_equal(found[position].view(), expected[position].view())


def committed(path):
    """Count the images that are noted as written, also in a finished store."""
    places = path.with_name(f'{path.name}.partial'), path
    return max(len(read_sources(place)) for place in places)


def complete(folder, path, overwrite=False):
    """Call again, and see that what had been committed was kept."""
    before = committed(path)
    plan = plan_store(folder / 'hr', path)
    report = create_store(plan, overwrite=overwrite)
    assert report.kept == before
    assert report.made == COUNT - before
    assert_equals_the_whole(folder, path)
    assert sorted(p.name for p in path.parent.iterdir()) == [path.name]
    assert sorted(p.name for p in path.iterdir()) == [
        'data.mdb',
        'images.txt',
        'sources.jsonl',
        'store.json',
    ]
    return report.kept


def test_ten_kills(many, tmp_path):
    spans = {}
    for workers in ('1', '2'):
        process = start(many, tmp_path / f'unkilled{workers}', '--workers', workers)
        began = await_start(process)
        status, out, error = finish(process)
        assert (status, error) == (0, '')
        assert f'{COUNT} images written' in out
        spans[workers] = time.monotonic() - began
    generator = random.Random(0)
    kept, killed = [], 0
    for kill in range(10):
        workers = '2' if kill % 5 == 4 else '1'
        out = tmp_path / f'kill {kill}'
        process = start(many, out, '--workers', workers)
        began = await_start(process)
        # One in each tenth of the time that it takes.
        moment = (kill + generator.random()) / 10 * spans[workers]
        time.sleep(max(0, began + moment - time.monotonic()))
        process.kill()
        status, _, _ = finish(process)
        killed += status == -signal.SIGKILL
        assert status in (0, -signal.SIGKILL)
        kept.append(complete(many, out / 'hr.lmdb'))
    # The machine may be faster or slower now, but not so much.
    assert killed >= 4
    assert any(0 < count < COUNT for count in kept)


def test_kills_while_a_store_is_replaced(many, tmp_path):
    """There is a whole store at any moment, or a call that makes one whole."""
    path = tmp_path / 'out' / 'hr.lmdb'
    old = tmp_path / 'old'
    image = save_noise(old / '0000.png', 40, 40)
    create_store(plan_store(old, path))
    generator = random.Random(1)
    for _ in range(3):
        process = start(many, path.parent, '--workers', '1', '--overwrite')
        await_start(process)
        time.sleep(generator.uniform(0, 0.3))
        process.kill()
        finish(process)
        if len(Store(path)) == 1:
            np.testing.assert_array_equal(Store(path)['0000'].copy(), image)
    process = start(many, path.parent, '--workers', '1', '--overwrite')
    status, _, error = finish(process)
    assert (status, error) == (0, '')
    assert_equals_the_whole(many, path)
    assert [p.name for p in path.parent.iterdir()] == ['hr.lmdb']


@pytest.mark.parametrize('workers', ['1', '2'])
def test_ctrl_c(many, tmp_path, workers):
    path = tmp_path / 'out' / 'hr.lmdb'
    process = start(many, path.parent, '--workers', workers)
    deadline = time.monotonic() + 30
    while committed(path) < 1:
        assert time.monotonic() < deadline, 'the tool commits nothing'
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.005)
    before = committed(path)
    # As a terminal does: to all of the group.
    os.killpg(process.pid, signal.SIGINT)
    status, out, error = finish(process)
    assert status == 130
    assert 'Traceback' not in error
    assert error.endswith('\nStopped. Run the same command again to go on.\n')
    assert 'images written' not in out
    assert before <= committed(path) < COUNT
    assert complete(many, path) >= before


def test_two_calls_at_once(many, tmp_path):
    """One makes it; the other does too, later, or says that it is being made."""
    path = tmp_path / 'out' / 'hr.lmdb'
    processes = [start(many, path.parent, '--workers', '1') for _ in range(2)]
    ends = [finish(process) for process in processes]
    assert 0 in [status for status, _, _ in ends]
    for status, _, error in ends:
        assert status in (0, 1)
        if status:
            assert f'{path}.partial to be written by one process' in error
            assert 'Traceback' not in error
    complete(many, path)
