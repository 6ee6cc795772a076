"""Writing stores: stopping, going on, replacing, and what stands in the way."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sr_plugins.datasets.lmdb_store import (
    Cut,
    EncodedImage,
    Source,
    Store,
    StoreError,
    StoreWriter,
    create_store,
    plan_pairs,
    plan_store,
    raw,
    require_room,
    verify_store,
    writer,
)
from sr_plugins.preparation.images import encode_png

ROOT = Path(__file__).parents[3]
LAYOUTS = ['raw', 'png']


@pytest.fixture(params=LAYOUTS)
def layout(request):
    return request.param


@pytest.fixture
def images(tmp_path, save_noise):
    """Six images in a folder `hr`."""
    return {
        f'{number:04d}': save_noise(tmp_path / 'hr' / f'{number:04d}.png', 40, 50)
        for number in range(6)
    }


def plan_of(tmp_path, layout='raw', **options):
    return plan_store(tmp_path / 'hr', tmp_path / 'hr.lmdb', layout, **options)


def assert_holds(path, images):
    assert verify_store(path)
    store = Store(path)
    assert store.keys() == sorted(images)
    for key, image in images.items():
        np.testing.assert_array_equal(store[key].copy(), image)


def add(writing, plan, *keys):
    """Add images as `create_store` does."""
    for key in keys:
        source = Source.of(plan.sources[key], plan.cut)
        image = np.asarray(Image.open(plan.sources[key]))
        encoded = (
            raw.encode(key, image) if plan.layout == 'raw' else encode_png(image, 1)
        )
        writing.add(source, [EncodedImage(key, image.shape, encoded)])


def begin(plan, *keys):
    """Leave what is left of a call that was stopped after these images."""
    with StoreWriter(plan.path, plan.layout) as writing:
        add(writing, plan, *keys)


def content(path):
    return {file.name: file.read_bytes() for file in path.iterdir()}


def only_the_store(plan):
    """Tell whether nothing but the store lies beside its images."""
    beside = sorted(p.name for p in plan.path.parent.iterdir())
    index = {'raw': 'images.txt', 'png': 'meta_info.txt'}[plan.layout]
    files = sorted(['data.mdb', index, 'sources.jsonl', 'store.json'])
    return beside == ['hr', 'hr.lmdb'] and sorted(content(plan.path)) == files


# --- The usual


@pytest.mark.parametrize('workers', [1, 2])
def test_the_same_images_come_back(tmp_path, images, layout, workers):
    plan = plan_of(tmp_path, layout)
    report = create_store(plan, workers)
    assert (report.made, report.kept, report.failed) == (6, 0, [])
    assert str(report) == f'{plan.path}: 6 images written, 0 were there already.'
    assert_holds(plan.path, images)
    assert only_the_store(plan)


def test_a_second_call_does_nothing(tmp_path, images, layout):
    plan = plan_of(tmp_path, layout)
    create_store(plan)
    before = content(plan.path)
    times = {p.name: p.stat().st_mtime_ns for p in plan.path.iterdir()}
    report = create_store(plan_of(tmp_path, layout), workers=2)
    assert (report.made, report.kept) == (0, 6)
    assert str(report) == f'{plan.path}: nothing to do, it is there already.'
    assert content(plan.path) == before
    assert {p.name: p.stat().st_mtime_ns for p in plan.path.iterdir()} == times


def change(tmp_path, images, save_noise, what):
    """Change the folder of images; gives what the error must name."""
    folder = tmp_path / 'hr'
    if what == 'changed':
        images['0003'] = save_noise(folder / '0003.png', 40, 50, seed=1)
        return 'files have changed since, 1 of them: 0003.png'
    if what == 'new':
        images['0009'] = save_noise(folder / '0009.png', 33, 50)
        return 'it has other images, 1 of them: 0009.png'
    for key in ('0000', '0001', '0002', '0005'):
        (folder / f'{key}.png').unlink()
        del images[key]
    return 'it has other images, 4 of them: 0000.png, 0001.png, 0002.png, ...'


@pytest.mark.parametrize('what', ['changed', 'new', 'removed'])
def test_other_sources_replace_a_store_only_if_told(
    tmp_path, images, save_noise, layout, what
):
    create_store(plan_of(tmp_path, layout))
    before = content(tmp_path / 'hr.lmdb')
    named = change(tmp_path, images, save_noise, what)
    plan = plan_of(tmp_path, layout)
    with pytest.raises(StoreError) as caught:
        create_store(plan)
    text = str(caught.value)
    assert f'{plan.path} to be one of the images in {plan.folder}' in text
    assert f'but {named}. Call with `--overwrite`' in text
    assert content(plan.path) == before
    assert create_store(plan, overwrite=True).made == len(images)
    assert_holds(plan.path, images)
    assert only_the_store(plan)


def test_another_layout_and_other_sub_images_are_other_stores(tmp_path, images):
    create_store(plan_of(tmp_path, 'raw'))
    with pytest.raises(StoreError, match=r"layout 'png', but it is of layout 'raw'"):
        create_store(plan_of(tmp_path, 'png'))
    cut = plan_of(tmp_path, 'raw', cut=Cut(24, 12))
    with pytest.raises(StoreError, match='other sub-images'):
        create_store(cut)
    create_store(plan_of(tmp_path, 'png'), overwrite=True)
    assert_holds(tmp_path / 'hr.lmdb', images)


@pytest.mark.parametrize('name', ['data.mdb', 'store.json', 'images.txt'])
@pytest.mark.parametrize('fault', ['missing', 'cut off'])
def test_a_store_that_is_not_whole_is_made_anew_if_told(tmp_path, images, name, fault):
    plan = plan_of(tmp_path)
    create_store(plan)
    if fault == 'missing':
        (plan.path / name).unlink()
    else:
        os.truncate(plan.path / name, 5)
    if (name, fault) != ('images.txt', 'cut off'):
        with pytest.raises(StoreError, match='--overwrite'):
            create_store(plan)
    create_store(plan, overwrite=True)
    assert_holds(plan.path, images)


def test_a_store_of_a_newer_format_is_made_anew_if_told(tmp_path, images):
    plan = plan_of(tmp_path)
    create_store(plan)
    manifest = plan.path / 'store.json'
    newer = {**json.loads(manifest.read_text()), 'version': 2}
    manifest.write_text(json.dumps(newer))
    with pytest.raises(StoreError, match='got version 2'):
        create_store(plan)
    create_store(plan, overwrite=True)
    assert_holds(plan.path, images)


def test_the_old_store_stays_until_the_new_one_is_whole(
    tmp_path, images, save_noise, layout
):
    create_store(plan_of(tmp_path, layout))
    old = dict(images)
    change(tmp_path, images, save_noise, 'changed')
    broken = tmp_path / 'hr' / '0004.png'
    whole = broken.read_bytes()
    broken.write_bytes(whole[:1000])
    plan = plan_of(tmp_path, layout)
    with StoreWriter(plan.path, layout) as writing:
        add(writing, plan, '0000', '0003')
        assert_holds(plan.path, old)
    report = create_store(plan, overwrite=True)
    assert [path.name for path, _ in report.failed] == ['0004.png']
    assert_holds(plan.path, old)
    broken.write_bytes(whole)
    create_store(plan_of(tmp_path, layout), overwrite=True)
    assert_holds(plan.path, images)
    assert only_the_store(plan)


# --- Going on


@pytest.fixture
def small_commits(monkeypatch):
    monkeypatch.setattr(writer, 'COMMIT_BYTES', 1)


def test_what_is_there_is_kept(tmp_path, images, layout):
    plan = plan_of(tmp_path, layout)
    begin(plan, '0004', '0000')
    with pytest.raises(FileNotFoundError, match='goes on where it was'):
        Store(plan.path)
    report = create_store(plan)
    assert (report.made, report.kept) == (4, 2)
    assert_holds(plan.path, images)
    assert only_the_store(plan)


def test_all_is_there_but_not_in_place(tmp_path, images):
    plan = plan_of(tmp_path)
    begin(plan, *plan.sources)
    # Killed while it wrote the last files.
    (plan.partial / 'images.txt').write_text('0000.png (40,50,3) raw')
    (plan.partial / '.sources.jsonl.123.part').write_text('{"name": "00')
    report = create_store(plan)
    assert (report.made, report.kept) == (0, 6)
    assert only_the_store(plan)
    assert str(report) == f'{plan.path}: 0 images written, 6 were there already.'
    assert_holds(plan.path, images)


def test_sources_that_changed_meanwhile(tmp_path, images, save_noise, layout):
    plan = plan_of(tmp_path, layout)
    begin(plan, '0001', '0003', '0005')
    images['0003'] = save_noise(tmp_path / 'hr' / '0003.png', 70, 80, seed=1)
    images['0009'] = save_noise(tmp_path / 'hr' / '0009.png', 20, 20)
    del images['0001']
    (tmp_path / 'hr' / '0001.png').unlink()
    report = create_store(plan_of(tmp_path, layout))
    assert (report.made, report.kept) == (5, 1)
    assert_holds(plan.path, images)


@pytest.mark.parametrize('place', range(9))
def test_images_that_were_written_but_not_noted(
    tmp_path, images, layout, place, small_commits
):
    """The disk took LMDB's part and not, or not all of, the notes."""
    plan = plan_of(tmp_path, layout)
    begin(plan, '0000', '0001', '0002', '0003')
    notes = plan.partial / 'sources.jsonl'
    lines = notes.read_bytes().splitlines(keepends=True)
    ends = np.cumsum([0, *map(len, lines)]).tolist()
    # Between lines, and within each: at its first byte, halfway, before its end.
    within = [ends[0] + 1, ends[1] + 40, ends[2] + 1, ends[4] - 1]
    cut = [*ends, *within][place]
    os.truncate(notes, cut)
    whole = sum(end <= cut for end in ends[1:])
    # Stopped once more: the torn line must not spoil the next.
    begin(plan, '0004')
    assert len(writer.read_sources(plan.partial)) == whole + 1
    report = create_store(plan)
    assert (report.made, report.kept) == (5 - whole, whole + 1)
    assert_holds(plan.path, images)
    assert only_the_store(plan)


@pytest.mark.parametrize('line', [b'{"na\n', b'[]\n', b'{"name": "x"}\n', b'\xff\n'])
def test_notes_that_are_damaged(tmp_path, images, line):
    plan = plan_of(tmp_path)
    begin(plan, '0000')
    with (plan.partial / 'sources.jsonl').open('ab') as file:
        file.write(line)
    with pytest.raises(StoreError, match=r'sources\.jsonl.*--overwrite'):
        create_store(plan)
    create_store(plan, overwrite=True)
    assert_holds(plan.path, images)


@pytest.mark.parametrize('size', [0, 100, 4096])
def test_data_that_is_damaged(tmp_path, images, layout, size):
    """Notes say that images are there which are not."""
    plan = plan_of(tmp_path, layout)
    begin(plan, '0000')
    os.truncate(plan.partial / 'data.mdb', size)
    with pytest.raises(StoreError, match=r'data\.mdb.*--overwrite'):
        create_store(plan)
    create_store(plan, overwrite=True)
    assert_holds(plan.path, images)


def test_a_store_that_was_begun_in_the_other_layout(tmp_path, images, layout):
    other = {'raw': 'png', 'png': 'raw'}[layout]
    begin(plan_of(tmp_path, other), '0000', '0001')
    plan = plan_of(tmp_path, layout)
    with pytest.raises(StoreError) as caught:
        create_store(plan)
    assert f"an earlier call began it in layout '{other}'" in str(caught.value)
    assert str(plan.partial) in str(caught.value)
    assert '--overwrite' in str(caught.value)
    assert create_store(plan_of(tmp_path, other)).kept == 2
    begin(plan_of(tmp_path, other), '0000')
    assert create_store(plan, overwrite=True).made == 6
    assert_holds(plan.path, images)
    assert Store(plan.path).layout == layout


def test_two_writers_at_once(tmp_path, images):
    plan = plan_of(tmp_path)
    with StoreWriter(plan.path, plan.layout) as writing:
        add(writing, plan, '0000')
        for overwrite in (False, True):
            match = r'hr\.lmdb\.partial to be written by one process.*Wait for it'
            with pytest.raises(StoreError, match=match):
                create_store(plan, overwrite=overwrite)
        add(writing, plan, *list(plan.sources)[1:])
        writing.finish([path.name for path in plan.sources.values()])
        # The lock is held until all is in place.
    assert_holds(plan.path, images)
    assert only_the_store(plan)


@pytest.mark.parametrize('replaced', [False, True])
def test_a_kill_between_the_renames(tmp_path, images, save_noise, replaced):
    """`finish` moves the old store away, then the new one in place, then tidies."""
    plan = plan_of(tmp_path)
    create_store(plan)
    old, aside = dict(images), tmp_path / 'hr.lmdb.replaced'
    change(tmp_path, images, save_noise, 'changed')
    plan = plan_of(tmp_path)
    shutil.copytree(plan.path, aside)
    if not replaced:
        begin(plan, *plan.sources)
        assert_holds(aside, old)
        shutil.rmtree(plan.path)
        assert create_store(plan).kept == 6
    else:
        create_store(plan, overwrite=True)
        shutil.copytree(plan.path, aside)
        (plan.path / 'lock').write_text('raw')
        assert create_store(plan).made == 0
    assert_holds(plan.path, images)
    assert only_the_store(plan)


def test_copies_of_the_user_stay(tmp_path, images, save_noise):
    """A name that the message 'Move it away' suggests."""
    plan = plan_of(tmp_path)
    create_store(plan)
    shutil.copytree(plan.path, tmp_path / 'hr.lmdb.old')
    old = dict(images)
    change(tmp_path, images, save_noise, 'changed')
    create_store(plan_of(tmp_path), overwrite=True)
    assert_holds(tmp_path / 'hr.lmdb.old', old)


def test_the_map_grows(tmp_path, images, layout, monkeypatch):
    monkeypatch.setattr(writer, 'FIRST_MAP_BYTES', 1 << 14)
    plan = plan_of(tmp_path, layout)
    begin(plan, '0000')
    monkeypatch.setattr(writer, 'COMMIT_BYTES', 1 << 14)
    assert create_store(plan).kept == 1
    assert (plan.path / 'data.mdb').stat().st_size > 2 << 14
    assert_holds(plan.path, images)


# --- What stands in the way


@pytest.mark.parametrize(('workers', 'name'), [(1, '0000.png'), (2, '0003.png')])
def test_a_damaged_image_stops_no_other(tmp_path, images, layout, workers, name):
    broken = tmp_path / 'hr' / name
    whole = broken.read_bytes()
    broken.write_bytes(whole[:1000])
    plan = plan_of(tmp_path, layout)
    report = create_store(plan, workers)
    assert (report.made, report.kept) == (5, 0)
    ((path, reason),) = report.failed
    assert path == broken
    assert f'reading {broken} failed' in reason
    assert f'Failed: {name}: ' in str(report)
    assert f'{plan.path} is not made, since 1 images failed' in str(report)
    assert not plan.path.exists()
    broken.write_bytes(whole)
    report = create_store(plan_of(tmp_path, layout), workers)
    assert (report.made, report.kept) == (1, 5)
    assert_holds(plan.path, images)


def test_something_else_at_the_place_is_never_removed(tmp_path, images):
    plan = plan_of(tmp_path)
    store = plan_store(tmp_path / 'hr', tmp_path / 'other.lmdb', 'png')
    create_store(store)

    def like_basicsr():
        shutil.copytree(store.path, plan.path)
        (plan.path / 'store.json').unlink()
        (plan.path / 'sources.jsonl').unlink()

    def folder(*names):
        plan.path.mkdir()
        for name in names:
            (plan.path / name).write_text('mine')

    for make in (
        like_basicsr,
        folder,
        lambda: folder('a.txt'),
        lambda: folder('data.mdb'),
        lambda: folder('store.json', 'a.txt'),
        lambda: plan.path.write_text('mine'),
        lambda: plan.path.symlink_to(tmp_path / 'hr'),
    ):
        make()
        before = content(plan.path) if plan.path.is_dir() else plan.path.read_text()
        for overwrite in (False, True):
            with pytest.raises(StoreError) as caught:
                create_store(plan, overwrite=overwrite)
            assert f'Expected {plan.path} to be a store of sr_plugins' in str(
                caught.value
            )
            assert 'Move it away' in str(caught.value)
        after = content(plan.path) if plan.path.is_dir() else plan.path.read_text()
        assert after == before
        if plan.path.is_dir() and not plan.path.is_symlink():
            shutil.rmtree(plan.path)
        else:
            plan.path.unlink()


def test_too_small_a_disk_is_refused_before_anything_is_written(
    tmp_path, images, monkeypatch
):
    plan = plan_of(tmp_path)
    free = shutil.disk_usage(tmp_path)._replace(free=plan.bytes - 1)
    monkeypatch.setattr(
        'sr_plugins.preparation.archives.shutil.disk_usage', lambda path: free
    )
    match = rf'free disk space for {tmp_path}, but got .*`--out`'
    with pytest.raises(OSError, match=match):
        create_store(plan)
    with pytest.raises(OSError, match=match):
        require_room([plan, plan])
    assert not plan.partial.exists()
    free = free._replace(free=plan.bytes)
    create_store(plan)
    assert_holds(plan.path, images)
    require_room([])


def test_what_is_there_needs_no_room(tmp_path, images, monkeypatch):
    plan = plan_of(tmp_path)
    begin(plan, '0000', '0001', '0002')
    there = (plan.partial / 'data.mdb').stat().st_size
    free = shutil.disk_usage(tmp_path)._replace(free=plan.bytes - there)
    monkeypatch.setattr(
        'sr_plugins.preparation.archives.shutil.disk_usage', lambda path: free
    )
    assert create_store(plan).kept == 3


# On the borders of pages, and within one: a part of it is written then.
LIMITED = """
import resource, sys
from pathlib import Path
from sr_plugins.datasets.lmdb_store import create_store, plan_store, writer
folder, layout = Path(sys.argv[1]), sys.argv[2]
writer.COMMIT_BYTES = 20_000
plan = plan_store(folder / 'hr', folder / 'hr.lmdb', layout)
for limit in (4096, 6000, 9000, 40960, 50000, 65536):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        create_store(plan)
    except OSError as error:
        print(error.filename, error.strerror, sep=chr(10))
"""


def test_a_limit_of_the_size_of_files(tmp_path, images, layout):
    done = subprocess.run(
        [sys.executable, '-c', LIMITED, str(tmp_path), layout],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[::2] == [str(tmp_path / 'hr.lmdb.partial')] * 6
    for text in lines[1::2]:
        assert 'Make room and call again: what is written is kept' in text
    assert not (tmp_path / 'hr.lmdb').exists()
    report = create_store(plan_of(tmp_path, layout))
    assert report.kept > 0
    assert report.kept + report.made == 6
    assert_holds(tmp_path / 'hr.lmdb', images)


def test_a_full_disk(mounted, tmp_path, images, layout, monkeypatch):
    """Wherever it is full: in the middle of images, of notes, or of the last files."""
    disk, _ = mounted
    monkeypatch.setattr(writer, 'COMMIT_BYTES', 20_000)
    plan = plan_store(tmp_path / 'hr', disk / 'hr.lmdb', layout)
    # The check before is not what is tested here.
    unchecked = dataclasses.replace(plan, bytes=0)
    errors, kept = [], 0
    for pages in range(40):
        room = 4096 * pages
        with (disk / 'filler').open('wb') as filler:
            os.posix_fallocate(filler.fileno(), 0, shutil.disk_usage(disk).free - room)
        try:
            create_store(unchecked)
        except OSError as error:
            errors.append(error)
        (disk / 'filler').unlink()
        report = create_store(plan)
        assert report.made + report.kept == 6
        kept += report.made and report.kept
        assert_holds(plan.path, images)
        shutil.rmtree(plan.path)
        assert not list(disk.iterdir())
    assert 20 <= len(errors) < 40
    assert kept > 10
    for error in errors:
        assert error.filename.startswith(str(plan.partial))
        assert 'Make room and call again' in error.strerror


# --- Plans


def test_the_size_of_a_plan(tmp_path):
    """Never less than the store takes, and at most 5 % more."""
    for name, (height, width), count, cut in (
        ('large', (339, 510), 24, None),
        ('small', (20, 30), 400, None),
        ('odd', (97, 61), 120, None),
        ('cut', (150, 170), 8, Cut(48, 12, 1)),
    ):
        folder = tmp_path / name
        folder.mkdir()
        for number in range(count):
            Image.new('RGB', (width, height)).save(folder / f'{number:04d}.bmp')
        plan = plan_store(folder, tmp_path / f'{name}.lmdb', cut=cut)
        create_store(plan)
        size = (plan.path / 'data.mdb').stat().st_size
        assert size <= plan.bytes <= 1.05 * size, name
        assert f'{count} images of {folder}, layout raw, ' in str(plan)


def test_the_size_of_a_plan_of_layout_png(tmp_path, save_noise):
    for number in range(10):
        save_noise(tmp_path / 'hr' / f'{number}.png', 200, 300)
    plan = plan_of(tmp_path, 'png')
    create_store(plan)
    size = (plan.path / 'data.mdb').stat().st_size
    assert 0.95 * size <= plan.bytes <= 1.1 * size
    assert 'layout png, about 1.' in str(plan)


def test_places_of_sub_images_by_hand():
    def places(spans):
        return [(s.start, s.stop) for s in spans]

    # 60 = 24 + 3 * 12: the fourth step ends at the end.
    rows = [rows for rows, _ in Cut(24, 12).windows(60, 24)]
    assert places(rows) == [(0, 24), (12, 36), (24, 48), (36, 60)]
    # 64 is 4 more, which a last one reaches.
    columns = [columns for _, columns in Cut(24, 12).windows(24, 64)]
    assert places(columns) == [(0, 24), (12, 36), (24, 48), (36, 60), (40, 64)]
    # Cropped to a multiple of 12, nothing is left over.
    columns = [columns for _, columns in Cut(24, 12, 12).windows(24, 64)]
    assert places(columns) == [(0, 24), (12, 36), (24, 48), (36, 60)]
    # Without overlap; smaller than one; smaller than the unit.
    assert places([r for r, _ in Cut(24, 24).windows(50, 9)]) == [
        (0, 24),
        (24, 48),
        (26, 50),
    ]
    assert places([c for _, c in Cut(24, 24).windows(50, 9)]) == [(0, 9)] * 3
    assert Cut(24, 12, 12).windows(7, 30) == [(slice(0, 7), slice(0, 24))]
    # Row by row.
    assert [(row.start, column.start) for row, column in Cut(2, 1).windows(3, 3)] == [
        (0, 0),
        (0, 1),
        (1, 0),
        (1, 1),
    ]


@pytest.mark.parametrize('shape', [(60, 84), (67, 95), (71, 85)])
def test_sub_images_of_hr_and_lr_lie_at_the_same_places(tmp_path, shape):
    """A pixel tells where it lies: LR images are every second, third, ... of HR."""
    rows, columns = np.indices(shape, dtype=np.uint8)
    hr = np.stack([rows, columns, rows ^ columns], axis=2)
    for scale in (1, 2, 3, 4):
        height, width = (side // scale for side in shape)
        name = '0001.png' if scale == 1 else f'X{scale}/0001x{scale}.png'
        path = tmp_path / 'data' / ('hr' if scale == 1 else 'lr') / name
        path.parent.mkdir(parents=True, exist_ok=True)
        small = hr[::scale, ::scale][:height, :width]
        Image.fromarray(np.ascontiguousarray(small)).save(path)
    plans = plan_pairs(
        tmp_path / 'data', 'hr/', 'lr/X{scale}/', (2, 3, 4), sub_images=(36, 24)
    )
    assert [str(p.path.relative_to(tmp_path / 'data')) for p in plans] == [
        'hr_sub.lmdb',
        'lr/X2_sub.lmdb',
        'lr/X3_sub.lmdb',
        'lr/X4_sub.lmdb',
    ]
    for plan in plans:
        create_store(plan)
    stores = dict(zip((1, 2, 3, 4), (Store(p.path) for p in plans), strict=True))
    # All three shapes leave 60 x 84: rows at 0 and 24, columns at 0, 24 and 48.
    starts = [(row, column) for row in (0, 24) for column in (0, 24, 48)]
    for scale, store in stores.items():
        assert store.keys() == [f'0001_s00{number}' for number in range(1, 7)]
        for key, (row, column) in zip(store.keys(), starts, strict=True):
            expected = hr[row : row + 36 : scale, column : column + 36 : scale]
            np.testing.assert_array_equal(store[key].copy(), expected)


def test_plans_that_cannot_be_made(tmp_path, images, save_noise):
    root = tmp_path
    for scale in (2, 3):
        save_noise(tmp_path / f'X{scale}' / f'0000x{scale}.png', 20, 25)
    for scales, options, match in (
        ((0,), {}, r'scales above 0, but got \(0,\)'),
        ((-2,), {'sub_images': (48, 24)}, 'scales above 0'),
        ((2,), {'sub_images': (48, 20)}, r'multiples of 12.*got \(48, 20\)'),
        ((2,), {'sub_images': (0, 12)}, 'multiples of 12'),
        ((4,), {}, 'X4, which does not exist'),
        ((2,), {'lr': 'Y{s}'}, r'Y{s}, which does not exist'),
        ((2, 3), {'lr': 'X2'}, r'folders of their own.*Put `{scale}` in'),
        ((2,), {'layout': 'jpeg'}, "one of .*'raw', 'png'.*got jpeg"),
    ):
        options = {'lr': 'X{scale}', **options}
        with pytest.raises(ValueError, match=match):
            plan_pairs(root, 'hr', scales=scales, **options)


@pytest.mark.parametrize(
    ('name', 'layout', 'match'),
    [
        ('a\nb', 'raw', 'control characters'),
        ('a\udcff', 'raw', 'control characters'),
        ('x2', 'raw', "1 to 506 bytes without its ending.*'x2.png'"),
        ('a.b', 'png', "ASCII without a dot.*'a.b.png'.*layout `raw`"),
        ('né', 'png', 'ASCII without a dot'),
    ],
)
def test_names_that_make_no_keys(tmp_path, name, layout, match):
    folder = tmp_path / 'hr'
    folder.mkdir()
    Image.new('RGB', (9, 9)).save(folder / f'{name}.png')
    with pytest.raises(ValueError, match=match):
        plan_store(folder, tmp_path / 'hr.lmdb', layout, 'x2')


def test_names_that_make_keys(tmp_path, save_noise):
    """Spaces, dots, brackets and letters of any kind come back from the index."""
    names = [
        'a b',
        'c.d.png (1,2,3) raw 4',
        'e\'f"g',
        'né 中',
        '.'.join('xyz'),
        '(1,2)',
    ]
    images = {n: save_noise(tmp_path / 'hr' / f'{n}.png', 9, 8) for n in names}
    create_store(plan_of(tmp_path))
    assert_holds(tmp_path / 'hr.lmdb', images)


def test_two_files_of_one_name(tmp_path, images):
    Image.new('RGB', (9, 9)).save(tmp_path / 'hr' / '0001.bmp')
    with pytest.raises(ValueError, match=r'got 0001\.bmp and 0001\.png. Rename'):
        plan_of(tmp_path)


def test_workers_below_one(tmp_path, images):
    with pytest.raises(ValueError, match='at least 1, but got 0'):
        create_store(plan_of(tmp_path), workers=0)
