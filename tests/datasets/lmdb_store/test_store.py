"""Reading stores: what they give, in which processes, and what they say of faults."""

import json
import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import sr_plugins.compat  # noqa: F401  (basicsr imports torchvision)

import numpy as np
import pytest
from PIL import Image

from sr_plugins.datasets.lmdb_store import (
    DamagedStoreError,
    Store,
    StoreError,
    create_store,
    plan_store,
)

KEYS = ['a', 'b c', 'd', 'e', 'f']
INDEX = {'raw': 'images.txt', 'png': 'meta_info.txt'}
FAULTS = (StoreError, FileNotFoundError)


def assert_reads(store, images):
    """Compare every image, whole and a window."""
    for key, image in images.items():
        np.testing.assert_array_equal(store[key].copy(), image)
        np.testing.assert_array_equal(
            store[key][1:40, 5:290].view(), image[1:40, 5:290]
        )


def layout_of(path):
    return json.loads((path / 'store.json').read_text())['layout']


def files(path):
    return sorted(file.name for file in path.iterdir())


def test_keys_shapes_and_images(intact):
    path, images = intact
    store = Store(str(path))
    assert len(store) == 5
    assert store.keys() == KEYS
    for position, key in enumerate(KEYS):
        assert store[key].shape == images[key].shape
        np.testing.assert_array_equal(store[position].copy(), images[key])
    assert_reads(store, images)


def test_windows_of_windows(intact):
    path, images = intact
    image = images['f']
    window = Store(path)['f'][3:, 100:400][-30:20, :256]
    # A slice of 37 rows of which the 7th to the 20th, as numpy counts.
    expected = image[3:, 100:400][-30:20, :256]
    assert window.shape == (13, 256, 3) == expected.shape
    np.testing.assert_array_equal(window.copy(), expected)
    np.testing.assert_array_equal(window[5:900, 3:4, ...].view(), expected[5:900, 3:4])
    np.testing.assert_array_equal(np.asarray(window), expected)
    assert window[9:4, :].copy().shape == (0, 256, 3)


def test_other_indices_are_refused(intact):
    image = Store(intact[0])['a']
    for index in (
        0,
        slice(3),
        (slice(None, None, 2), slice(3)),
        (1, 2),
        (slice(3),) * 3,
    ):
        with pytest.raises(TypeError, match=r'image\[rows, columns\].*copy\(\)'):
            image[index]


def test_views_and_copies(intact):
    image = Store(intact[0])['a']
    assert not image.view().flags.writeable
    copy = image[2:9, 200:290].copy()
    assert copy.flags.writeable
    assert copy.flags.c_contiguous
    copy[:] = 0
    np.testing.assert_array_equal(image.copy(), intact[1]['a'])


@pytest.mark.parametrize('key', ['nowhere', '', 'a' * 600, 5, -1])
def test_a_missing_key_is_named(intact, key):
    with pytest.raises(StoreError) as caught:
        Store(intact[0])[key]
    text = str(caught.value)
    assert f'Expected the store {intact[0]} to hold {key!r}' in text
    assert '5 images, a, b c, d, ..., f.' in text
    assert '`python tools/create_lmdb.py --overwrite`' in text


def test_a_pickled_store_reads(intact):
    path, images = intact
    store = Store(path)
    before = pickle.dumps(store)
    assert_reads(store, images)
    after = pickle.dumps(store)
    assert len(after) == len(before), 'what was opened should not travel'
    for copy in (before, after):
        assert_reads(pickle.loads(copy), images)
    store.close()
    assert_reads(store, images)


def test_two_stores_in_one_process(intact):
    path, images = intact
    first, second = Store(path), Store(path)
    image = first['a']
    assert_reads(second, images)
    assert_reads(first, images)
    del first
    assert_reads(second, images)
    np.testing.assert_array_equal(image.copy(), images['a'])
    del second, image
    assert_reads(Store(path), images)


def test_threads_that_open_at_once(intact):
    path, images = intact
    for _ in range(30):
        stores = [Store(path) for _ in range(4)]
        start, found = threading.Barrier(len(stores)), []

        def read(store, start=start, found=found):
            start.wait()
            found.append(np.array_equal(store['d'].copy(), images['d']))

        threads = [threading.Thread(target=read, args=(store,)) for store in stores]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [True] * 4


def test_a_store_that_was_replaced_while_another_reads(
    tmp_path, save_noise, intact, originals
):
    """What is open stays what it was; what is opened then is the new one."""
    path = tmp_path / 's.lmdb'
    layout = layout_of(intact[0])
    image = save_noise(tmp_path / 'hr' / 'a.png', 40, 50)
    create_store(plan_store(tmp_path / 'hr', path, layout))
    old = Store(path)
    crop = old['a']
    new_image = save_noise(tmp_path / 'hr' / 'a.png', 40, 50, seed=1)
    create_store(plan_store(tmp_path / 'hr', path, layout), overwrite=True)
    new = Store(path)
    np.testing.assert_array_equal(new['a'].copy(), new_image)
    np.testing.assert_array_equal(crop.copy(), image)
    np.testing.assert_array_equal(old['a'].copy(), image)


# --- Processes


@pytest.mark.parametrize('read_before', [False, True])
def test_forked_processes_that_read_at_once(intact, read_before):
    path, images = intact
    store = Store(path)
    image = store['a']
    if read_before:
        assert_reads(store, images)
    children = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                for _ in range(5):
                    assert_reads(store, images)
                    assert_reads(Store(path), images)
                    np.testing.assert_array_equal(image.copy(), images['a'])
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    assert_reads(store, images)
    assert [os.waitstatus_to_exitcode(os.waitpid(c, 0)[1]) for c in children] == [0] * 4
    assert_reads(store, images)


READ_IN_PROCESS = """
for key in store.keys() * 3:
    queue.put((number, key, store[key].copy()))
"""


@pytest.mark.parametrize('method', ['fork', 'spawn'])
@pytest.mark.parametrize('read_before', [False, True])
def test_loader_processes_that_read_at_once(intact, method, read_before):
    path, images = intact
    store = Store(path)
    if read_before:
        assert_reads(store, images)
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    processes = [
        context.Process(
            target=exec,
            args=(READ_IN_PROCESS, {'store': store, 'queue': queue, 'number': number}),
        )
        for number in range(2)
    ]
    for process in processes:
        process.start()
    found = []
    for _ in range(2 * 3 * len(images)):
        number, key, image = queue.get(timeout=60)
        np.testing.assert_array_equal(image, images[key])
        found.append((number, key))
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert sorted(found) == sorted((n, k) for n in (0, 1) for k in KEYS for _ in '123')
    assert_reads(store, images)


# --- The folder


def test_reading_writes_nothing(store, intact):
    """The folder is closed by its mode, which does not bind root: none may appear."""
    before = {f.name: (f.stat().st_mtime_ns, f.read_bytes()) for f in store.iterdir()}
    for file in (*store.iterdir(), store):
        file.chmod(0o555 if file.is_dir() else 0o444)
    try:
        opened = Store(store)
        assert_reads(opened, intact[1])
        assert {
            f.name: (f.stat().st_mtime_ns, f.read_bytes()) for f in store.iterdir()
        } == before
        assert not [name for name in before if 'lock' in name]
    finally:
        store.chmod(0o755)


def test_a_read_only_disk(mounted, intact):
    folder, remount = mounted
    path, images = intact
    shutil.copytree(path, folder / 'hr.lmdb')
    assert not remount('ro').returncode
    with pytest.raises(OSError, match='Read-only'):
        (folder / 'x').touch()
    opened = Store(folder / 'hr.lmdb')
    assert_reads(opened, images)
    opened.close()


def test_a_store_is_a_mapping_of_keys(tmp_path):
    folder = tmp_path / 'hr'
    folder.mkdir()
    for name in 'ba':
        Image.new('RGB', (8, 6), 'red').save(folder / f'{name}.png')
    create_store(plan_store(folder, tmp_path / 'hr.lmdb'))
    opened = Store(tmp_path / 'hr.lmdb')
    assert list(opened) == ['a', 'b']
    assert 'a' in opened
    assert 'c' not in opened
    assert {key: opened[key].shape for key in opened} == dict.fromkeys('ab', (6, 8, 3))


# --- Memory

RESIDENT = """
import sys
import numpy as np
from sr_plugins.datasets.lmdb_store import Store

def resident():
    with open('/proc/self/status') as status:
        (line,) = (line for line in status if line.startswith('RssFile'))
    return int(line.split()[1]) << 10

images = Store(sys.argv[1])
images[0][:1, :1].copy()
generator = np.random.default_rng(0)
start = most = resident()
for _ in range(1000):
    image = images[int(generator.integers(len(images)))]
    row, column = generator.integers(0, 512 - 96, 2)
    getattr(image[row : row + 96, column : column + 96], sys.argv[2])()
    most = max(most, resident())
print(most - start)
"""


def test_crops_do_not_count_as_memory(tmp_path):
    folder = tmp_path / 'hr'
    folder.mkdir()
    for number in range(32):
        colour = (number, 2 * number, 3 * number)
        Image.new('RGB', (512, 512), colour).save(folder / f'{number}.bmp')
    create_store(plan_store(folder, tmp_path / 'hr.lmdb'))
    size = (tmp_path / 'hr.lmdb' / 'data.mdb').stat().st_size
    assert size > 24 << 20

    def grows_by(read):
        words = [tmp_path / 'hr.lmdb', read]
        done = subprocess.run(
            [sys.executable, '-c', RESIDENT, *map(str, words)],
            cwd=Path(__file__).parents[3],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return int(done.stdout)

    # The map, in which all of it is touched.
    assert grows_by('view') > 0.9 * size
    assert grows_by('copy') < 1 << 20


# --- Faults


def assert_fault(path, name, remedy='tools/create_lmdb.py', key='a'):
    """Reading must raise an error that names the file and what to do."""
    with pytest.raises(FAULTS) as caught:
        Store(path)[key].copy()
    text = str(caught.value)
    assert str(path) in text
    assert name in text
    assert remedy in text
    return text


def lengths(size):
    return sorted({0, 1, 15, 4095, 4096, 8191, 8192, 12288, size // 2, size - 1})


def test_data_that_is_too_short(store):
    data = store / 'data.mdb'
    size = data.stat().st_size
    for length in reversed(lengths(size)):
        os.truncate(data, length)
        text = assert_fault(store, 'data.mdb', '--overwrite')
        assert f'{length} bytes instead of {size}' in text


def test_data_that_is_too_long(store):
    with (store / 'data.mdb').open('ab') as file:
        file.write(bytes(4096))
    assert_fault(store, 'data.mdb', '--overwrite')


READ_TRUNCATED = """
import os, sys
from sr_plugins.datasets.lmdb_store import DamagedStoreError, Store
path = sys.argv[1]
for length in sys.argv[2:]:
    os.truncate(path + '/data.mdb', int(length))
    store = Store(path)
    for key in store.keys():
        try:
            store[key].copy()
        except DamagedStoreError as error:
            assert path in str(error) and '--overwrite' in str(error), error
        else:
            sys.exit(f'nothing was noticed at {length} bytes')
print('all noticed')
"""


def test_data_that_is_too_short_without_our_manifest(tmp_path, originals):
    """As BasicSR writes stores; in a process of its own, which must not crash."""
    store = tmp_path / 'hr.lmdb'
    create_store(plan_store(originals[0], store, 'png'))
    for name in ('store.json', 'sources.jsonl'):
        (store / name).unlink()
    sizes = reversed(lengths((store / 'data.mdb').stat().st_size))
    done = subprocess.run(
        [sys.executable, '-c', READ_TRUNCATED, store, *map(str, sizes)],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == 'all noticed\n', (done.returncode, done.stderr)


def test_no_store_and_an_unfinished_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = Path('no', 'hr.lmdb')
    with pytest.raises(FileNotFoundError) as caught:
        Store(path)
    assert f'a store {path} (from {tmp_path}), but there is none' in str(caught.value)
    assert '`python tools/create_lmdb.py`' in str(caught.value)
    (tmp_path / 'no' / 'hr.lmdb.partial').mkdir(parents=True)
    with pytest.raises(FileNotFoundError) as caught:
        Store(path)
    text = str(caught.value)
    assert f'a finished store {path}, but there is only {path}.partial' in text
    assert 'goes on where it was' in text


def test_missing_files(store):
    index = store / INDEX[layout_of(store)]
    lines = index.read_bytes()
    index.unlink()
    assert_fault(store, index.name, '--overwrite')
    index.write_bytes(lines)
    (store / 'data.mdb').rename(store / 'data')
    assert_fault(store, 'there is none')


def test_a_missing_manifest(store, intact):
    """Without it a store of layout png is one of BasicSR, which is read as such."""
    (store / 'store.json').unlink()
    if layout_of(intact[0]) == 'raw':
        assert_fault(store, 'meta_info.txt', '--overwrite')
    else:
        assert_reads(Store(store), intact[1])


@pytest.mark.parametrize(
    'content',
    [
        b'',
        b'{',
        b'[]',
        b'null',
        b'\xff\xfe',
        b'{"version": 1}',
        b'{"format": "sr_plugins image store", "version": "1"}',
        b'{"format": "sr_plugins image store", "version": 1, "layout": "raw"}',
        b'{"format": "something", "version": 1}',
    ],
)
def test_a_garbled_manifest(store, content):
    (store / 'store.json').write_bytes(content)
    assert_fault(store, 'store.json', '--overwrite')


def change_manifest(path, **fields):
    content = json.loads((path / 'store.json').read_text())
    (path / 'store.json').write_text(json.dumps({**content, **fields}))


def test_a_manifest_of_other_content(store):
    layout = layout_of(store)
    other = {'raw': 'png', 'png': 'raw'}[layout]
    content = (store / 'store.json').read_text()
    for fields, name in (
        ({'layout': 'jpeg'}, 'store.json'),
        ({'layout': other}, INDEX[other]),
        ({'images': 6}, INDEX[layout]),
        ({'images': '5'}, INDEX[layout]),
        ({'data_bytes': 4096}, 'data.mdb'),
    ):
        change_manifest(store, **fields)
        assert_fault(store, name, '--overwrite')
        (store / 'store.json').write_text(content)


def test_a_newer_format(store):
    change_manifest(store, version=2, something='new')
    text = assert_fault(store, 'format version 1 or older, but got version 2')
    assert 'Upgrade sr_plugins' in text
    assert '--overwrite' in text


def test_fewer_and_other_lines_than_images(store):
    index = store / INDEX[layout_of(store)]
    lines = index.read_text().splitlines(keepends=True)
    for wrong, what in (
        (lines[:-1], '4 images of 5'),
        ([], '0 images of 5'),
        ([*lines[:-1], lines[0]], 'a key that is there twice'),
        ([*lines[:-1], 'f.png (40,513,3)\n'], "'f.png (40,513,3)' in line 5"),
        ([*lines[:-1], 'f.png (40,x,3) 1\n'], 'in line 5'),
        ([*lines[:-1], lines[-1].replace('513', '9' * 30)], 'large'),
        ([*lines[:-1], '\n'], "'' in line 5"),
        (['\0' * 40], 'in line 1'),
    ):
        index.write_text(''.join(wrong))
        assert what in assert_fault(store, index.name, '--overwrite')
    index.write_bytes(b'\xff' * 40)
    assert_fault(store, index.name, '--overwrite')


def test_every_byte_of_the_texts(store, intact):
    """Whatever a byte is changed to, the images are right or an error says so."""
    generator = np.random.default_rng(0)
    noticed = 0
    for name in ('store.json', INDEX[layout_of(store)]):
        content = (store / name).read_bytes()
        for position in range(len(content)):
            changed = bytearray(content)
            changed[position] = generator.integers(256)
            (store / name).write_bytes(changed)
            try:
                opened = Store(store)
                for key in set(KEYS) & set(opened.keys()):
                    image = opened[key]
                    assert image.shape == image.copy().shape
                    np.testing.assert_array_equal(image.copy(), intact[1][key])
            except StoreError as error:
                noticed += str(store) in str(error)
        (store / name).write_bytes(content)
    assert noticed > 50


def test_every_flipped_byte_of_a_png_is_found(tmp_path, save_noise):
    image = save_noise(tmp_path / 'hr' / 'a.png', 12, 20)
    create_store(plan_store(tmp_path / 'hr', tmp_path / 'hr.lmdb', 'png'))
    data = tmp_path / 'hr.lmdb' / 'data.mdb'
    content = data.read_bytes()
    start = content.index(b'\x89PNG')
    stop = content.index(b'IEND') + 8
    assert stop - start > 600
    for position in range(start, stop):
        changed = bytearray(content)
        changed[position] ^= 1 << position % 8
        data.write_bytes(changed)
        with pytest.raises(DamagedStoreError, match=r"'a' of .*hr\.lmdb.*--verify"):
            Store(tmp_path / 'hr.lmdb')['a'].copy()
    data.write_bytes(content)
    np.testing.assert_array_equal(Store(tmp_path / 'hr.lmdb')['a'].copy(), image)


# --- BasicSR


def make_with_basicsr(folder, path):
    from basicsr.utils.lmdb_util import make_lmdb_from_imgs

    names = sorted(file.name for file in folder.iterdir())
    keys = [name.removesuffix('.png') for name in names]
    make_lmdb_from_imgs(str(folder), str(path), names, keys, map_size=1 << 24)


def test_a_store_of_basicsr_is_read(tmp_path, originals):
    folder, images = originals
    make_with_basicsr(folder, tmp_path / 'hr.lmdb')
    store = Store(tmp_path / 'hr.lmdb')
    assert store.layout == 'png'
    assert store.keys() == KEYS
    assert_reads(store, images)
    assert files(tmp_path / 'hr.lmdb') == ['data.mdb', 'lock.mdb', 'meta_info.txt']


def test_grey_images_of_basicsr_are_rgb(tmp_path):
    (tmp_path / 'hr').mkdir()
    grey = np.random.default_rng(0).integers(0, 256, (20, 30), dtype=np.uint8)
    Image.fromarray(grey).save(tmp_path / 'hr' / 'a.png')
    make_with_basicsr(tmp_path / 'hr', tmp_path / 'hr.lmdb')
    image = Store(tmp_path / 'hr.lmdb')['a']
    assert image.shape == (20, 30, 3)
    np.testing.assert_array_equal(image.copy(), np.stack([grey] * 3, axis=2))


def test_an_empty_store_of_basicsr(tmp_path, originals):
    make_with_basicsr(originals[0], tmp_path / 'hr.lmdb')
    (tmp_path / 'hr.lmdb' / 'meta_info.txt').write_text('')
    store = Store(tmp_path / 'hr.lmdb')
    assert store.keys() == []
    with pytest.raises(StoreError, match='holds 0 images'):
        store['a']


def test_basicsr_reads_our_stores(tmp_path, save_noise):
    from basicsr.data.paired_image_dataset import PairedImageDataset
    from basicsr.utils import FileClient, imfrombytes

    images = {}
    for part, suffix, side in (('gt', '', 2), ('lq', 'x2', 1)):
        for number, name in enumerate(('0001', '0002')):
            file = tmp_path / part / f'{name}{suffix}.png'
            shape = 14 * side, (9 + number) * side
            images[part, name] = save_noise(file, *shape)
        path = tmp_path / f'{part}.lmdb'
        create_store(plan_store(tmp_path / part, path, 'png', suffix))
    assert (tmp_path / 'gt.lmdb' / 'meta_info.txt').read_text() == (
        '0001.png (28,18,3) 1\n0002.png (28,20,3) 1\n'
    )
    client = FileClient('lmdb', db_paths=str(tmp_path / 'gt.lmdb'), client_keys='gt')
    found = imfrombytes(client.get('0002', 'gt'))
    np.testing.assert_array_equal(found[:, :, ::-1], images['gt', '0002'])
    del client
    options = {
        'dataroot_gt': str(tmp_path / 'gt.lmdb'),
        'dataroot_lq': str(tmp_path / 'lq.lmdb'),
        'io_backend': {'type': 'lmdb'},
        'phase': 'val',
        'scale': 2,
    }
    dataset = PairedImageDataset(options)
    assert len(dataset) == 2
    for index, name in enumerate(('0001', '0002')):
        sample = dataset[index]
        assert sample['gt_path'] == sample['lq_path'] == name
        for part in ('gt', 'lq'):
            pixels = sample[part].numpy().transpose(1, 2, 0) * 255
            np.testing.assert_array_equal(pixels.round(), images[part, name])


def test_a_store_that_something_else_has_open(intact):
    """LMDB opens a file once in a process."""
    import lmdb

    path, images = intact
    if layout_of(path) == 'raw':
        # Of its own memory map.
        with lmdb.open(str(path), readonly=True, lock=False):
            assert_reads(Store(path), images)
        return
    with (
        lmdb.open(str(path), readonly=True, lock=False),
        pytest.raises(StoreError, match='open once in this process'),
    ):
        Store(path)['a']
    assert_reads(Store(path), images)


def test_no_torch_is_loaded():
    code = (
        'import sys, sr_plugins.datasets.lmdb_store\n'
        'heavy = {"torch", "mmengine", "mmagic", "basicsr", "cv2"} & set(sys.modules)\n'
        'sys.exit(str(heavy) if heavy else 0)\n'
    )
    done = subprocess.run(
        [sys.executable, '-c', code],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
