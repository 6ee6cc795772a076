"""Reading whole stores back: any byte that changed is noticed."""

import json
import re

import lmdb
import numpy as np
import pytest
from PIL import Image

from sr_plugins.datasets.lmdb_store import (
    Store,
    StoreError,
    create_store,
    plan_store,
    verify_store,
)
from sr_plugins.datasets.lmdb_store.files import digest

# Keys of several pages of the tree.
LONG = 'k' * 200


@pytest.fixture(scope='module', params=['raw', 'png'])
def many(request, tmp_path_factory):
    """A store whose tree has several pages, where its images lie, and its bytes.

    The test that changes it must mend it.
    """
    folder = tmp_path_factory.mktemp('many')
    (folder / 'hr').mkdir()
    generator = np.random.default_rng(0)
    for number in range(40):
        image = generator.integers(0, 256, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(image).save(folder / 'hr' / f'{number:02d}{LONG}.bmp')
    plan = plan_store(folder / 'hr', folder / 'hr.lmdb', request.param)
    assert not create_store(plan).failed
    content = (plan.path / 'data.mdb').read_bytes()
    spans = {}
    with lmdb.open(str(plan.path), readonly=True, lock=False) as environment:
        with environment.begin() as transaction:
            for key, value in transaction.cursor():
                start = content.index(value)
                spans[key.decode()] = start, start + len(value)
        assert environment.stat()['leaf_pages'] > 2
    return plan.path, spans, content


def flip(path, content, *positions):
    changed = bytearray(content)
    for position in positions:
        changed[position] ^= 1 << position % 8
    (path / 'data.mdb').write_bytes(changed)


@pytest.fixture
def mend(many):
    yield
    path, _, content = many
    (path / 'data.mdb').write_bytes(content)


@pytest.mark.parametrize('workers', [1, 2])
def test_an_intact_store(intact, workers):
    path, _ = intact
    found = verify_store(path, workers)
    assert found
    assert (found.images, found.damaged, found.notes) == (5, [], [])
    assert str(found) == f'{path}: all 5 images are as they were written.'


def test_every_image_that_changed_is_named(many, mend):
    path, spans, content = many
    generator = np.random.default_rng(1)
    chosen = sorted(spans)[::3]
    positions = [int(generator.integers(*spans[key])) for key in chosen]
    flip(path, content, *positions)
    found = verify_store(path, workers=2)
    assert not found
    assert [key for key, _ in found.damaged] == chosen
    assert found.notes == []
    for key, reason in found.damaged:
        assert f'Damaged: {key}: {reason}' in str(found)
        assert re.search('checksum|pixels near|header', reason)
        assert 'Check the whole store' not in reason
    assert f'{path}: {len(chosen)} of 40 images are damaged.' in str(found)
    assert '`python tools/create_lmdb.py --overwrite`' in str(found)


def places_outside(spans, content):
    """Give bytes of LMDB's own, by what they are."""
    used = {
        page
        for start, stop in spans.values()
        for page in range(start >> 12, -(-stop >> 12))
    }
    tree = [page for page in range(2, len(content) >> 12) if page not in used]
    start, stop = max(spans.values())
    leaf = max(tree, key=lambda page: len(content[page << 12 :][:4096].strip(b'\0')))
    return {
        'meta page': 4096 + 24,
        'header of a tree page': (leaf << 12) + 13,
        'key in a tree page': content.index(LONG.encode()) + 5,
        'header of an image page': start - 3,
        'after an image': stop + 1,
    }


@pytest.mark.parametrize(
    'place',
    [
        'meta page',
        'header of a tree page',
        'key in a tree page',
        'header of an image page',
        'after an image',
    ],
)
def test_a_byte_outside_of_images(many, mend, place):
    path, spans, content = many
    position = places_outside(spans, content)[place]
    assert not any(start <= position < stop for start, stop in spans.values())
    flip(path, content, position)
    found = verify_store(path)
    assert not found
    assert 'Damaged: ' in str(found)
    assert found.damaged or str(path / 'data.mdb') in found.notes[0]


def test_a_byte_anywhere_changes_the_digest(many, mend):
    """What `verify_store` goes by, for many more places than it is called for."""
    path, _, content = many
    expected = json.loads((path / 'store.json').read_text())['data_sha256']
    assert digest(path / 'data.mdb') == expected
    positions = np.linspace(0, len(content) - 1, 60).astype(int).tolist()
    for position in positions:
        flip(path, content, position)
        assert digest(path / 'data.mdb') != expected


def test_a_tree_that_makes_lmdb_crash_is_read_elsewhere(tmp_path, save_noise):
    """Also of a store of one image, for which one process would do."""
    save_noise(tmp_path / 'hr' / 'a.png', 20, 30)
    create_store(plan_store(tmp_path / 'hr', tmp_path / 'hr.lmdb', 'png'))
    data = tmp_path / 'hr.lmdb' / 'data.mdb'
    content = data.read_bytes()
    start = content.index(b'\x89PNG') - 16
    # Pages but the first two and those of the image become noise.
    noise = np.random.default_rng(0).bytes(len(content))
    stop = start - start % 4096 + 8192
    data.write_bytes(
        content[:8192] + noise[8192:start] + content[start:stop] + noise[stop:]
    )
    found = verify_store(tmp_path / 'hr.lmdb')
    assert not found
    assert found.damaged or found.notes


def test_what_cannot_be_opened(store, tmp_path):
    with pytest.raises(FileNotFoundError, match='but there is none'):
        verify_store(tmp_path / 'nowhere.lmdb')
    (store / 'store.json').write_text('{')
    with pytest.raises(StoreError, match=r'store\.json'):
        verify_store(store)


def test_data_of_another_length_damages_all(store):
    with (store / 'data.mdb').open('ab') as file:
        file.write(b'\0')
    found = verify_store(store)
    assert [key for key, _ in found.damaged] == Store(store).keys()


def test_a_store_of_basicsr(tmp_path, originals):
    from basicsr.utils.lmdb_util import make_lmdb_from_imgs

    folder, images = originals
    path = tmp_path / 'hr.lmdb'
    keys = sorted(images)
    names = [f'{key}.png' for key in keys]
    make_lmdb_from_imgs(str(folder), str(path), names, keys, map_size=1 << 24)
    assert verify_store(path)
    data = path / 'data.mdb'
    content = bytearray(data.read_bytes())
    # In the pixels of one.
    with (
        lmdb.open(str(path), readonly=True, lock=False) as environment,
        environment.begin() as transaction,
    ):
        value = transaction.get(b'e')
    content[content.index(value) + len(value) // 2] ^= 1
    data.write_bytes(content)
    found = verify_store(path)
    assert [key for key, _ in found.damaged] == ['e']
    (path / 'meta_info.txt').write_text('')
    assert verify_store(path).images == 0
