"""The table of float32 and int8, as a user makes it."""

import json
import runpy
import sys

import cv2
import numpy as np
import onnxruntime
import pytest
from inference.tiny import CAR, ROOT, build, by_hand, write_checkpoint, write_config
from PIL import Image

from sr_plugins.complexity import measure

TOOLS = ROOT / 'tools'


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Run a tool in a folder of its own; return its status and what it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr('os.fsync', lambda file: None)

    def run(tool, *words):
        monkeypatch.setattr(sys, 'argv', [tool, *map(str, words)])
        try:
            runpy.run_path(str(TOOLS / tool), run_name='__main__')
            code = 0
        except SystemExit as ended:
            code = ended.code
        return code, *capsys.readouterr()

    return run


def test_edsr(call, tmp_path, tiny_data):
    network = build(write_config(tmp_path, mid_channels=8, num_blocks=2))
    write_checkpoint(tmp_path / 'tiny.pth', network)
    words = ('tiny.py', 'tiny.pth', '--data-root', tiny_data, '--out', 'out')
    settings = ('--images', 3, '--crop', 16, '--repeats', 2)
    code, said, _ = call('quantize.py', *words, *settings)
    assert code == 0
    out = tmp_path / 'out'
    table = (out / 'results.md').read_text()
    assert table in said
    assert 'tiny_int8.onnx: 6 of 8 convolutions in int8' in table

    # The rows of torch and onnxruntime are what tools/test.py says.
    words = ('tiny.py', 'tiny.pth', '--data-root', tiny_data, '--out', 'test')
    assert call('test.py', *words)[0] == 0
    tested = json.loads((tmp_path / 'test/results.json').read_text())['sets']
    results = json.loads((out / 'results.json').read_text())
    assert results['sets'].keys() == tested.keys() == {'Tiny', 'DIV2K'}
    for name, rows in results['sets'].items():
        assert list(rows) == ['torch', 'onnx float32', 'onnx int8']
        for key, value in tested[name]['metrics'].items():
            assert rows['torch']['metrics'][key] == value
            tolerance = 0.001 if key.endswith('SSIM') else 0.02
            for row in ('onnx float32', 'onnx int8'):
                difference = abs(rows[row]['metrics'][key] - value)
                assert difference <= tolerance * (1 if row != 'onnx int8' else 20)
            assert rows['onnx int8']['metrics'][key] != value
        assert all(row['seconds'] > 0 < row['cpu_seconds'] for row in rows.values())
        assert rows['torch']['images'] == len(tested[name]['images'])

    sizes = [(out / f'{name}.onnx').stat().st_size for name in ('tiny', 'tiny_int8')]
    assert list(results['bytes'].values()) == [None, *sizes]
    total = measure(network)[0]
    assert results['parameters'] == sum(p.numel() for p in network.parameters())
    assert results['flops'] == 2 * total.multiply_adds
    assert f'{total.params:,}' in table

    # And it takes photographs.
    Image.open(next((tiny_data / 'benchmark/Tiny/HR').iterdir())).save('photo.png')
    assert call('infer.py', '--onnx', out / 'tiny_int8.onnx', 'photo.png')[0] == 0
    size = Image.open('photo.png').size
    enlarged = Image.open('results/photox2.png').size
    assert enlarged == (2 * size[0], 2 * size[1])


def test_car(call, tmp_path, tiny_data):
    """Whose halves are files of their own, and whose originals are cut."""
    config = write_config(tmp_path, 'car_x2', **CAR)
    write_checkpoint(tmp_path / 'car.pth', build(config))
    words = ('tiny.py', 'car.pth', '--data-root', tiny_data, '--datasets', 'Tiny')
    settings = ('--images', 2, '--crop', 32, '--repeats', 1, '--method', 'minmax')
    code, _, _ = call('quantize.py', *words, *settings)
    assert code == 0
    out = tmp_path / 'work_dirs/tiny/int8'
    results = json.loads((out / 'results.json').read_text())
    rows = results['sets']['Tiny']
    for key, value in rows['torch']['metrics'].items():
        if key.endswith('PSNR'):
            assert abs(rows['onnx float32']['metrics'][key] - value) < 0.01
            assert abs(rows['onnx int8']['metrics'][key] - value) < 1
    names = [f'car_{part}_int8.onnx' for part in ('downscale', 'upscale')]
    assert results['bytes']['onnx int8'] == sum(
        (out / name).stat().st_size for name in names
    )


def test_images_as_they_are_in_memory(call, tmp_path, tiny_data):
    """As OpenCV reads and writes them, by onnxruntime alone."""
    config = write_config(tmp_path, mid_channels=8, num_blocks=2)
    network = build(config)
    write_checkpoint(tmp_path / 'tiny.pth', network)
    words = ('tiny.py', 'tiny.pth', '--data-root', tiny_data, '--datasets', 'Tiny')
    settings = ('--images', 2, '--crop', 16, '--repeats', 1, '--out', 'out')
    interface = ('--uint8', '--layout', 'HWC', '--order', 'BGR')
    assert call('quantize.py', *words, *settings, *interface)[0] == 0
    photo = next((tiny_data / 'benchmark/Tiny/HR').iterdir())
    bgr = cv2.imread(str(photo))
    expected = by_hand(network, bgr[..., ::-1])[..., ::-1] * 255
    for name, least in (('tiny', 50), ('tiny_int8', 30)):
        session = onnxruntime.InferenceSession(tmp_path / f'out/{name}.onnx')
        (large,) = session.run(['output'], {'input': bgr})
        assert large.dtype == np.uint8
        error = np.square(large - expected).mean()
        assert 10 * np.log10(255**2 / error) > least

    code, _, _ = call('quantize.py', *words, '--uint8', '--range', 1)
    assert 'Expected `value_range` of uint8 to be 255' in code


def test_mistakes(call, tmp_path, tiny_data):
    write_checkpoint(tmp_path / 'tiny.pth', build(write_config(tmp_path)))
    code, _, _ = call('quantize.py', 'tiny.py', 'tiny.pth', '--data-root', 'none')
    assert 'Expected a folder none' in code
    words = ('tiny.py', 'tiny.pth', '--data-root', tiny_data)
    code, _, _ = call('quantize.py', *words, '--percentile', 3)
    assert 'above 50' in code
    code, _, _ = call('quantize.py', *words, '--datasets', 'Set5')
    assert 'Expected test sets Set5' in code
    code, _, _ = call('quantize.py', *words, '--repeats', 0)
    assert 'at least 1' in code
