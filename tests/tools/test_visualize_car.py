"""The command line draws kernels, or says why not."""

import runpy
import sys

import numpy as np
import pytest
from inference.tiny import CAR, ROOT, build, write_checkpoint, write_config
from PIL import Image

TOOL = ROOT / 'tools' / 'visualize_car.py'


@pytest.fixture
def visualize(tmp_path, monkeypatch, capsys):
    """Run the tool on a tiny network; return its status and what it printed."""
    network = build(write_config(tmp_path, 'car_x2', **CAR))
    write_checkpoint(tmp_path / 'tiny.pth', network)
    image = np.random.default_rng(0).integers(0, 256, (21, 33, 3), np.uint8)
    Image.fromarray(image).save(tmp_path / 'my photo.png')
    monkeypatch.chdir(tmp_path)

    def run(*words, config='tiny.py', image='my photo.png', checkpoint='tiny.pth'):
        words = [TOOL, config, checkpoint, image, *words, '--device', 'cpu']
        monkeypatch.setattr(sys, 'argv', [str(word) for word in words])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(TOOL), run_name='__main__')
        return ended.value.code, *capsys.readouterr()

    return run


@pytest.mark.parametrize('pixels', [[], ['--pixels', '0,0', '10,16']])
def test_picture(visualize, tmp_path, pixels):
    code, printed, _ = visualize('--out', 'new folder/picture.png', *pixels)
    assert code == 0
    assert 'new folder/picture.png' in printed
    with Image.open(tmp_path / 'new folder' / 'picture.png') as picture:
        assert picture.format == 'PNG'


@pytest.mark.parametrize(
    ('words', 'options', 'message'),
    [
        ([], {'checkpoint': 'absent.pth'}, 'absent.pth'),
        ([], {'image': 'absent.png'}, 'absent.png'),
        (['--pixels', '11,0'], {}, 'which has 11 x 17 (height x width), but got 11,0'),
        (['--cfg-options', 'model.generator.scale=4'], {}, 'Expected tiny.pth to hold'),
    ],
)
def test_what_is_wrong_is_said(visualize, tmp_path, words, options, message):
    code, _, said = visualize(*words, **options)
    assert code == 1
    assert message in said
    assert not (tmp_path / 'results').exists()


def test_network_that_does_not_downscale(visualize, tmp_path):
    write_checkpoint(tmp_path / 'tiny.pth', build(write_config(tmp_path)))
    code, _, said = visualize()
    assert code == 1
    assert 'Expected `network` to downscale, such as CAR, but got EDSR' in said


@pytest.mark.parametrize('pixel', ['1', '1,2,3', 'a,b', ''])
def test_pixel_that_is_no_pair(visualize, pixel):
    code, _, said = visualize('--pixels', pixel)
    assert code == 2
    assert f'invalid pixel value: {pixel!r}' in said
