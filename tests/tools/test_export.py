"""From a checkpoint to an ONNX file, and photographs through it, as a user would."""

import json
import os
import runpy
import socket
import subprocess
import sys

import numpy as np
import pytest
import torch
from inference.tiny import CAR, ROOT, build, write_checkpoint, write_config
from PIL import Image

from sr_plugins.inference import read_photograph

TOOLS = ROOT / 'tools'


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with spaces, a config, a checkpoint and photographs of every kind."""
    folder = tmp_path / 'my photos'
    config = write_config(folder)
    write_checkpoint(folder / 'tiny.pth', build(config))
    (folder / 'in').mkdir()
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (22, 31, 4), np.uint8)
    Image.fromarray(pixels[..., :3]).save(folder / 'in/rgb.png')
    Image.fromarray(pixels).save(folder / 'in/alpha.png')
    Image.fromarray(pixels[..., 0]).save(folder / 'in/grey.png')
    deep = rng.integers(0, 65536, (9, 7), np.uint16)
    Image.fromarray(deep).save(folder / 'in/deep.png')
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def call(monkeypatch, capsys):
    """Run a tool; return its status and what it printed."""

    def run(tool, *words):
        monkeypatch.setattr(sys, 'argv', [tool, *map(str, words)])
        try:
            runpy.run_path(str(TOOLS / tool), run_name='__main__')
            code = 0
        except SystemExit as ended:
            code = ended.code
        return code, *capsys.readouterr()

    return run


def compare(one, other, names, levels):
    """That both folders have photographs of the same kind and nearly same values."""
    for folder in (one, other):
        assert sorted(p.name for p in folder.iterdir()) == sorted(names)
    for name in names:
        a, b = (read_photograph(folder / name) for folder in (one, other))
        assert (a.is_grey, a.bits, a.alpha is None) == (
            b.is_grey,
            b.bits,
            b.alpha is None,
        )
        unit = 2**a.bits - 1
        assert np.abs(a.rgb - b.rgb).max() * unit <= levels + 1e-2, name
        if a.alpha is not None:
            np.testing.assert_array_equal(a.alpha, b.alpha)


@pytest.mark.parametrize('options', [(), ('--tile', '16', '--self-ensemble')])
def test_photographs(folder, call, options):
    code, said, _ = call('export.py', 'tiny.py', 'tiny.pth')
    assert code == 0
    path = folder / 'work_dirs/tiny/export/tiny.onnx'
    assert str(path.relative_to(folder)) in said
    assert '| 3 | 8 | 37 |' in said
    assert json.loads(path.with_name('tiny.onnx.json').read_text())['scale'] == 2

    words = ('in', '--out', 'by_onnx', *options)
    code, said, errors = call('infer.py', '--onnx', path, *words)
    assert (code, said.startswith('4 images written')) == (0, True), errors
    words = ('in', '--out', 'by_torch', '--device', 'cpu', *options)
    assert call('infer.py', 'tiny.py', 'tiny.pth', *words)[0] == 0
    names = [f'{name}x2.png' for name in ('rgb', 'alpha', 'grey', 'deep')]
    compare(folder / 'by_onnx', folder / 'by_torch', names, levels=1)


def test_several_processes(folder, call):
    """Each with its share of the images; files are those of one process."""
    assert call('export.py', 'tiny.py', 'tiny.pth', '--out', 'net.onnx')[0] == 0
    words = ('--onnx', 'net.onnx', 'in')
    assert call('infer.py', *words, '--out', 'one')[0] == 0
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    done = subprocess.run(
        [TOOLS / 'dist_infer.sh', *words, '2', '--out', 'two'],
        env={**os.environ, 'PYTHON': sys.executable, 'PORT': str(port)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('4 images written to two.') == 1
    names = [f'{name}x2.png' for name in ('rgb', 'alpha', 'grey', 'deep')]
    compare(folder / 'two', folder / 'one', names, levels=0)


def test_uint8(folder, call):
    words = ('--out', 'net.onnx', '--uint8', '--layout', 'HWC', '--order', 'BGR')
    assert call('export.py', 'tiny.py', 'tiny.pth', *words)[0] == 0
    code, said, errors = call('infer.py', 'in', '--onnx', 'net.onnx')
    assert code == 1
    assert said.startswith('3 images written')
    assert 'in/deep.png: Expected images of 8 bits' in errors
    (folder / 'in/deep.png').unlink()
    words = ('in', '--out', 'by_torch', '--device', 'cpu')
    assert call('infer.py', 'tiny.py', 'tiny.pth', *words)[0] == 0
    names = [f'{name}x2.png' for name in ('rgb', 'alpha', 'grey')]
    compare(folder / 'results', folder / 'by_torch', names, levels=1)


def test_car(folder, call):
    config = write_config(folder, 'car_x2', **CAR)
    write_checkpoint(folder / 'car.pth', build(config))
    assert call('export.py', 'tiny.py', 'car.pth', '--out', 'car.onnx')[0] == 0
    down, up = ('--onnx', 'car_downscale.onnx'), ('--onnx', 'car_upscale.onnx')
    assert call('infer.py', *down, 'in/rgb.png', '--out', 'small')[0] == 0
    assert call('infer.py', *up, 'small', '--out', 'large')[0] == 0
    assert call('infer.py', *up, *down, 'in/rgb.png', '--out', 'both')[0] == 0
    words = ('in/rgb.png', '--out', 'by_torch', '--device', 'cpu')
    assert call('infer.py', 'tiny.py', 'car.pth', *words)[0] == 0
    names = ['rgb_down2.png', 'rgb_down2x2.png']
    compare(folder / 'both', folder / 'by_torch', names, levels=1)
    for name, part in zip(names, ('small', 'large'), strict=True):
        assert (folder / part / name).read_bytes() == (
            folder / 'both' / name
        ).read_bytes()
    size = Image.open(folder / 'large' / names[1]).size
    assert size == (31, 22)  # of the photograph, which its file notes

    code, _, errors = call('infer.py', *up, 'small', '--mode', 'both')
    assert code == 1
    assert "one of upscale, but got 'both'" in errors
    assert call('infer.py', *up, 'small', '--tile', '7', '--out', 'tiles')[0] == 0
    compare(folder / 'tiles', folder / 'large', names[1:], levels=1)
    words = ('in/rgb.png', '--tile', '64', '--out', 'tile')
    assert call('infer.py', *down, *words)[0] == 0
    compare(folder / 'tile', folder / 'small', names[:1], levels=0)
    code, _, errors = call('infer.py', *up, 'small', '--chop')
    assert 'Take `tile`' in errors


def test_mdsr_at_a_scale(folder, call):
    network = build(write_config(folder, 'mdsr_baseline'))
    write_checkpoint(folder / 'mdsr.pth', network)
    words = ('--scale', '3', '--out', 'mdsr.onnx')
    assert call('export.py', 'tiny.py', 'mdsr.pth', *words)[0] == 0
    assert json.loads((folder / 'mdsr.onnx.json').read_text())['scale'] == 3
    assert call('infer.py', '--onnx', 'mdsr.onnx', 'in/rgb.png')[0] == 0
    image = read_photograph(folder / 'in/rgb.png').rgb
    x = torch.from_numpy(image).permute(2, 0, 1)[None]
    with torch.no_grad():
        y = network(x, 3).clamp(0, 1)[0].permute(1, 2, 0).numpy()
    result = read_photograph(folder / 'results/rgbx3.png').rgb
    assert np.abs(result - y).max() <= 0.51 / 255
    code, _, errors = call('export.py', 'tiny.py', 'mdsr.pth', '--scale', '5')
    assert 'Expected `--scale` to be one that' in str(code) + errors


def test_mistakes(folder, call):
    state = torch.load(folder / 'tiny.pth', weights_only=True)
    state['state_dict']['generator.conv_last.weight'][0] = torch.inf
    torch.save(state, folder / 'diverged.pth')
    code, _, _ = call('export.py', 'tiny.py', 'diverged.pth', '--out', 'net.onnx')
    assert 'finite weights' in code
    assert not list(folder.glob('net*'))
    code, _, errors = call('export.py', 'tiny.py', 'tiny.pth', '--format', 'tflite')
    assert code == 2
    assert 'tflite' in errors
    assert 'onnx' in errors.splitlines()[-1]

    for words, message in (
        (('--onnx', 'tiny.pth', 'in'), 'Expected a whole ONNX file, but tiny.pth'),
        (('--onnx', 'none.onnx', 'in'), 'there is no none.onnx'),
        (('--onnx', 'x', 'in', '--device', 'cuda'), 'on the CPU'),
        (('--onnx', 'x', 'in', '--cfg-options', 'a=1'), 'Expected none of'),
    ):
        code, _, errors = call('infer.py', *words)
        assert code == 1
        assert message in errors
        assert not (folder / 'results').exists()
    code, _, errors = call('infer.py', 'tiny.py', 'tiny.pth', 'in', '--onnx', 'x')
    assert code == 2
    assert 'unrecognized arguments: tiny.pth in' in errors
