"""The tool `prepare_data.py`: layout, resuming, odd images, messages.

The reference for low-resolution images is `downscale`, which has its own tests.
"""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sr_plugins.preparation import (
    downscale,
    prepare_benchmark,
    prepare_demo,
    prepare_div2k,
    read_rgb,
)

TOOL = Path(__file__).resolve().parents[2] / 'tools' / 'prepare_data.py'


def run_tool(*args, cwd, **kwargs):
    return subprocess.run(
        [sys.executable, str(TOOL), *map(str, args)],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        **kwargs,
    )


def save_noise(path, shape=(26, 31, 3), seed=0, **kwargs):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(image).save(path, **kwargs)
    return image


def read(path):
    return np.asarray(Image.open(path))


def files(folder):
    return sorted(
        str(path.relative_to(folder)) for path in folder.rglob('*') if path.is_file()
    )


def state(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob('*.png')}


def test_benchmark_layout_and_content_from_the_command_line(tmp_path):
    source = tmp_path / 'my photos'
    baby = save_noise(source / 'baby.png')
    save_noise(source / 'bird.jpg', seed=1)
    cwd = tmp_path / 'else where'
    cwd.mkdir()
    done = run_tool('benchmark', '--hr', '../my photos', '--name', 'Set 5', cwd=cwd)
    assert done.returncode == 0, done.stderr
    root = cwd / 'data' / 'benchmark' / 'Set 5'
    assert files(root) == sorted(
        [
            *(f'HR/{name}.png' for name in ('baby', 'bird')),
            *(
                f'LR_bicubic/X{s}/{name}x{s}.png'
                for s in (2, 3, 4)
                for name in ('baby', 'bird')
            ),
        ]
    )
    np.testing.assert_array_equal(read(root / 'HR/baby.png'), baby)
    bird = read(source / 'bird.jpg')
    np.testing.assert_array_equal(read(root / 'HR/bird.png'), bird)
    for scale in (2, 3, 4):
        small = read(root / f'LR_bicubic/X{scale}/birdx{scale}.png')
        np.testing.assert_array_equal(small, downscale(bird, scale))


def test_div2k_keeps_numbers_and_splits_by_them(tmp_path):
    for number in ('0001', '0800', '0801', '0900', '0901'):
        save_noise(tmp_path / 'hr' / f'{number}.png')
    prepare_div2k(tmp_path / 'hr', tmp_path / 'out', scales=[2])
    root = tmp_path / 'out' / 'DIV2K'
    assert files(root / 'DIV2K_train_HR') == ['0001.png', '0800.png', '0901.png']
    assert files(root / 'DIV2K_valid_HR') == ['0801.png', '0900.png']
    assert files(root / 'DIV2K_valid_LR_bicubic') == [
        'X2/0801x2.png',
        'X2/0900x2.png',
    ]
    assert not list(root.glob('*.csv'))


def test_div2k_numbers_other_images(tmp_path):
    photos = {
        n: save_noise(tmp_path / f'hr/{n}.png', seed=i) for i, n in enumerate('cab')
    }
    save_noise(tmp_path / 'valid' / 'x.png', seed=9)
    out = tmp_path / 'out'
    report = prepare_div2k(tmp_path / 'hr', out, tmp_path / 'valid', [2])
    root = out / 'DIV2K'
    with open(root / 'train_names.csv', newline='', encoding='utf-8') as table:
        rows = list(csv.DictReader(table))
    assert [row['source'] for row in rows] == ['a.png', 'b.png', 'c.png']
    for row in rows:
        written = read(root / 'DIV2K_train_HR' / f'{row["name"]}.png')
        np.testing.assert_array_equal(written, photos[row['source'][0]])
    assert files(root / 'DIV2K_valid_HR') == ['0801.png']
    assert 'train_names.csv' in str(report)


def test_div2k_in_place_leaves_the_originals(tmp_path):
    hr = tmp_path / 'data' / 'DIV2K' / 'DIV2K_train_HR'
    save_noise(hr / '0001.png')
    before = state(hr)
    report = prepare_div2k(hr, tmp_path / 'data', scales=[2])
    assert state(hr) == before
    assert report.made == 1
    assert (hr.parent / 'DIV2K_train_LR_bicubic' / 'X2' / '0001x2.png').exists()
    assert prepare_div2k(hr, tmp_path / 'data', scales=[2]).kept == 1


def test_second_run_does_nothing_and_says_so(tmp_path):
    save_noise(tmp_path / 'hr' / 'a.png')
    save_noise(tmp_path / 'hr' / 'b.jpg')
    out = tmp_path / 'out'
    first = prepare_benchmark(tmp_path / 'hr', 'S', out, workers=2)
    assert (first.made, first.kept) == (2, 0)
    before = state(out)
    second = prepare_benchmark(tmp_path / 'hr', 'S', out, workers=2)
    assert (second.made, second.kept) == (0, 2)
    assert 'Nothing to do: all 2 images' in str(second)
    assert state(out) == before


@pytest.mark.parametrize('suffix', ['png', 'bmp'])
def test_changed_source_is_made_anew(tmp_path, suffix):
    source = tmp_path / 'hr' / f'a.{suffix}'
    out = tmp_path / 'out'
    save_noise(source)
    save_noise(tmp_path / 'hr' / 'same.png')
    prepare_benchmark(source.parent, 'S', out, [2])
    changed = save_noise(source, seed=5)
    report = prepare_benchmark(source.parent, 'S', out, [2])
    assert (report.made, report.kept) == (1, 1)
    root = out / 'benchmark' / 'S'
    np.testing.assert_array_equal(read(root / 'HR/a.png'), changed)
    small = read(root / 'LR_bicubic/X2/ax2.png')
    np.testing.assert_array_equal(small, downscale(changed, 2))


def test_further_scale_and_broken_result_are_completed(tmp_path):
    image = save_noise(tmp_path / 'hr' / 'a.png')
    save_noise(tmp_path / 'hr' / 'b.png')
    prepare_benchmark(tmp_path / 'hr', 'S', tmp_path / 'out', [2])
    lr = tmp_path / 'out' / 'benchmark' / 'S' / 'LR_bicubic'
    (lr / 'X2' / 'ax2.png').write_bytes(b'')
    assert prepare_benchmark(tmp_path / 'hr', 'S', tmp_path / 'out', [2]).made == 1
    np.testing.assert_array_equal(read(lr / 'X2' / 'ax2.png'), downscale(image, 2))
    assert prepare_benchmark(tmp_path / 'hr', 'S', tmp_path / 'out', [2, 3]).made == 2
    np.testing.assert_array_equal(read(lr / 'X3' / 'ax3.png'), downscale(image, 3))


def test_left_over_results_are_reported(tmp_path):
    save_noise(tmp_path / 'hr' / 'a.png')
    gone = tmp_path / 'hr' / 'gone.png'
    save_noise(gone)
    prepare_benchmark(tmp_path / 'hr', 'S', tmp_path / 'out', [2])
    gone.unlink()
    report = prepare_benchmark(tmp_path / 'hr', 'S', tmp_path / 'out', [2])
    assert [path.name for path in report.strangers] == ['gone.png', 'gonex2.png']
    assert 'Warning: 2 files belong to none' in str(report)


def start_and_wait_for_results(tmp_path, count=16):
    """Start the tool on `count` images and return once some of them are there."""
    for number in range(count):
        save_noise(tmp_path / 'hr' / f'{number:02d}.png', (500, 700, 3), number)
    command = [sys.executable, str(TOOL), 'benchmark', '--hr', tmp_path / 'hr']
    command += ['--name', 'S', '--out', tmp_path / 'out', '--workers', '2']
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    hr = tmp_path / 'out' / 'benchmark' / 'S' / 'HR'
    deadline = time.monotonic() + 30
    while len(list(hr.glob('*.png'))) < 4:
        assert time.monotonic() < deadline, 'the tool made nothing'
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    return process


def assert_whole_and_complete(tmp_path, report, count=16):
    assert report.made + report.kept == count
    assert report.kept >= 1
    assert report.made >= 1
    root = tmp_path / 'out' / 'benchmark' / 'S'
    assert len(files(root)) == 4 * count, 'left-overs or missing files'
    for number in (0, count - 1):
        small = downscale(read(tmp_path / 'hr' / f'{number:02d}.png'), 4)
        made = read(root / f'LR_bicubic/X4/{number:02d}x4.png')
        np.testing.assert_array_equal(made, small)


def all_pngs_are_whole(folder):
    for path in folder.rglob('[!.]*.png'):
        read_rgb(path)


def group_is_alive(group):
    """Tell whether a process of the group runs (zombies do not count)."""
    for stat in Path('/proc').glob('[0-9]*/stat'):
        try:
            fields = stat.read_text().rpartition(')')[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[2]) == group and fields[0] != 'Z':
            return True
    return False


def test_killed_run_leaves_whole_files_and_is_completed(tmp_path):
    process = start_and_wait_for_results(tmp_path)
    # The tool alone: its workers must notice and leave.
    process.kill()
    process.wait()
    process.stderr.close()
    deadline = time.monotonic() + 10
    while group_is_alive(process.pid):
        assert time.monotonic() < deadline, 'workers outlive the killed tool'
        time.sleep(0.05)
    all_pngs_are_whole(tmp_path / 'out')
    report = prepare_benchmark(tmp_path / 'hr', 'S', tmp_path / 'out', workers=2)
    assert_whole_and_complete(tmp_path, report)


def ignores_interrupt(pid):
    status = Path(f'/proc/{pid}/status').read_text()
    (mask,) = (ln.split()[1] for ln in status.splitlines() if ln.startswith('SigIgn'))
    return bool(int(mask, 16) & 1 << (signal.SIGINT - 1))


def test_ctrl_c_stops_without_traceback(tmp_path):
    process = start_and_wait_for_results(tmp_path)
    # Asked of the workers directly: whether one prints a traceback is a race.
    children = Path(f'/proc/{process.pid}/task/{process.pid}/children').read_text()
    assert len(children.split()) >= 2
    assert all(ignores_interrupt(pid) for pid in children.split())
    assert not ignores_interrupt(process.pid)
    os.killpg(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 130
    assert 'Traceback' not in error
    assert 'Stopped. Run the same command again' in error
    assert not list((tmp_path / 'out').rglob('.*'))
    report = prepare_benchmark(tmp_path / 'hr', 'S', tmp_path / 'out', workers=2)
    assert_whole_and_complete(tmp_path, report)


def test_all_kinds_of_images_become_rgb(tmp_path):
    hr = tmp_path / 'hr'
    grey = save_noise(hr / 'grey.png', (24, 24))
    rgba = save_noise(hr / 'rgba.png', (24, 24, 4))
    grey_alpha = save_noise(hr / 'la.png', (24, 24, 2))
    palette = Image.fromarray(save_noise(hr / 'p.png')).convert('P')
    palette.save(hr / 'p.png')
    Image.new('CMYK', (24, 24), (0, 255, 255, 0)).save(hr / 'cmyk.jpg', quality=100)
    turned = Image.fromarray(save_noise(hr / 'turned.png', (24, 36, 3)))
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: to be turned clockwise
    turned.save(hr / 'turned.png', exif=exif)

    report = prepare_benchmark(hr, 'S', tmp_path / 'out')
    assert not report.failed
    out = tmp_path / 'out' / 'benchmark' / 'S' / 'HR'
    np.testing.assert_array_equal(read(out / 'grey.png'), np.stack([grey] * 3, axis=2))
    np.testing.assert_array_equal(read(out / 'rgba.png'), rgba[..., :3])
    np.testing.assert_array_equal(
        read(out / 'la.png'), np.stack([grey_alpha[..., 0]] * 3, axis=2)
    )
    np.testing.assert_array_equal(
        read(out / 'p.png'), np.asarray(palette.convert('RGB'))
    )
    red = read(out / 'cmyk.jpg'.replace('jpg', 'png')).astype(int)
    assert abs(red - [255, 0, 0]).max() <= 3
    small = read(out.parent / 'LR_bicubic' / 'X2' / 'turnedx2.png')
    upright = np.rot90(np.asarray(turned), -1)
    np.testing.assert_array_equal(small, downscale(upright, 2))


def save_16_bit_rgb(path):
    import cv2

    cv2.imwrite(str(path), np.full((24, 24, 3), 40000, np.uint16))


def test_bad_images_are_named_and_the_others_made(tmp_path):
    hr = tmp_path / 'hr'
    save_noise(hr / 'good.png')
    save_noise(hr / 'torn.png', (200, 200, 3))
    save_noise(hr / 'torn_jpeg.jpg', (200, 200, 3))
    for name in ('torn.png', 'torn_jpeg.jpg'):
        data = (hr / name).read_bytes()
        (hr / name).write_bytes(data[: len(data) // 2])
    (hr / 'text.png').write_text('no image')
    save_noise(hr / 'tiny.png', (3, 50, 3))
    save_16_bit_rgb(hr / 'deep.png')
    grey = np.full((24, 24), 40000, np.uint16)
    Image.fromarray(grey).save(hr / 'deep_grey.png')

    done = run_tool('benchmark', '--hr', hr, '--name', 'S', cwd=tmp_path)
    assert done.returncode == 1
    assert 'Traceback' not in done.stderr
    failed = dict(
        line.removeprefix('Failed: ').split(': ', 1)
        for line in done.stdout.splitlines()
        if line.startswith('Failed: ')
    )
    assert sorted(failed) == [
        'deep.png',
        'deep_grey.png',
        'text.png',
        'tiny.png',
        'torn.png',
        'torn_jpeg.jpg',
    ]
    assert 'Expected 8 bits' in failed['deep.png']
    assert 'Expected 8 bits' in failed['deep_grey.png']
    assert 'at least the scale 4, but got 3 x 50' in failed['tiny.png']
    assert 'Expected a whole image' in failed['torn.png']
    assert 'Expected a whole image' in failed['torn_jpeg.jpg']
    assert '1 images made, 0 kept as they were, 6 failed' in done.stdout
    root = tmp_path / 'data' / 'benchmark' / 'S'
    assert files(root / 'HR') == ['good.png']
    assert files(root / 'LR_bicubic' / 'X2') == ['goodx2.png']


def test_missing_and_empty_folders_are_named(tmp_path):
    done = run_tool('div2k', '--hr', 'nowhere', cwd=tmp_path)
    assert done.returncode == 1
    assert 'error: Expected a folder with images' in done.stderr
    assert 'nowhere, which does not exist' in done.stderr
    assert not (tmp_path / 'data').exists()

    (tmp_path / 'empty' / 'HR').mkdir(parents=True)
    done = run_tool('benchmark', '--hr', 'empty', '--name', 'S', cwd=tmp_path)
    assert done.returncode == 1
    assert 'It holds the folders HR.' in done.stderr


def test_hidden_files_are_no_images(tmp_path):
    save_noise(tmp_path / 'hr' / 'a.png')
    (tmp_path / 'hr' / '._a.png').write_text('what macOS leaves in archives')
    assert prepare_benchmark(tmp_path / 'hr', 'S', tmp_path / 'out', [2]).made == 1


def test_bad_arguments_are_named(tmp_path):
    hr = tmp_path / 'hr'
    save_noise(hr / 'a.png')
    out = tmp_path / 'out'
    with pytest.raises(ValueError, match='integers above 1, but got 1'):
        prepare_benchmark(hr, 'S', out, [2, 1])
    with pytest.raises(ValueError, match='at least 1, but got 0'):
        prepare_benchmark(hr, 'S', out, workers=0)
    with pytest.raises(ValueError, match=r"name of a folder, but got '\.\./S'"):
        prepare_benchmark(hr, '../S', out)
    save_noise(hr / 'a.jpg')
    with pytest.raises(ValueError, match=r'got a.jpg and a.png'):
        prepare_benchmark(hr, 'S', out)
    assert not out.exists()


def test_demo_parts_share_no_photograph(tmp_path):
    report = prepare_demo(tmp_path, scales=[4], workers=1)
    assert not report.failed
    hr = {
        part: [read(path) for path in sorted((tmp_path / part).glob('*.png'))]
        for part in (
            'DIV2K/DIV2K_train_HR',
            'DIV2K/DIV2K_valid_HR',
            'benchmark/Demo/HR',
        )
    }
    assert [len(images) for images in hr.values()] == [10, 1, 2]
    digests = [image.tobytes() for images in hr.values() for image in images]
    assert len(set(digests)) == 13
    readme = (tmp_path / 'README.md').read_text(encoding='utf-8')
    listed = [line.split(' | ')[1] for line in readme.splitlines() if '.png |' in line]
    written = [Path(name).name for name in files(tmp_path) if '_HR/' in name]
    assert sorted(listed) == sorted([*written, 'astronaut.png', 'chelsea.png'])


def test_demo_help_shows_examples(tmp_path):
    done = run_tool('--help', cwd=tmp_path)
    assert done.returncode == 0
    assert 'prepare_data.py div2k --hr' in done.stdout


def test_preparation_imports_nothing_heavy():
    code = (
        'import sys, sr_plugins.preparation; '
        'print([m for m in ("torch", "mmengine", "mmagic", "cv2") if m in sys.modules])'
    )
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == '[]'
