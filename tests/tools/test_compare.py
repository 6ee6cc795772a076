"""The command line writes a picture, or says why not."""

import runpy
import sys

import numpy as np
import pytest
from inference.tiny import ROOT, build, write_checkpoint, write_config
from matplotlib.figure import Figure
from PIL import Image

TOOL = ROOT / 'tools' / 'compare.py'


@pytest.fixture
def compare(tmp_path, monkeypatch, capsys):
    """Run the tool on the tiny network; return its status and what it printed."""
    write_checkpoint(tmp_path / 'tiny.pth', build(write_config(tmp_path)))
    image = np.random.default_rng(0).integers(0, 256, (41, 53, 3), np.uint8)
    Image.fromarray(image).save(tmp_path / 'my photo.png')
    monkeypatch.chdir(tmp_path)

    def run(*words, image='my photo.png', checkpoint='tiny.pth'):
        words = [TOOL, 'tiny.py', checkpoint, image, *words, '--device', 'cpu']
        monkeypatch.setattr(sys, 'argv', [str(word) for word in words])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(TOOL), run_name='__main__')
        return ended.value.code, *capsys.readouterr()

    return run


def test_picture(compare, tmp_path, monkeypatch):
    titles = []
    savefig = Figure.savefig

    def record(figure, *args, **kwargs):
        titles.extend(axes.get_title().partition('\n')[0] for axes in figure.axes)
        savefig(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, 'savefig', record)
    code, printed, _ = compare('--out', 'new folder/picture.png')
    assert code == 0
    assert 'new folder/picture.png' in printed
    with Image.open(tmp_path / 'new folder' / 'picture.png') as picture:
        assert picture.format == 'PNG'
        assert np.asarray(picture.convert('L')).std() > 10
    assert titles[:4] == ['original', 'bicubic', 'tiny', 'original']


@pytest.mark.parametrize(
    ('words', 'options', 'message'),
    [
        ([], {'checkpoint': 'absent.pth'}, 'absent.pth'),
        ([], {'image': 'absent.png'}, 'absent.png'),
        ([], {'image': 'tiny.py'}, 'Expected an image, but cannot read tiny.py'),
        (['--cfg-options', 'model.generator.scale=3'], {}, 'but got EDSR x2'),
        (['--out', 'tiny.py/picture.png'], {}, 'tiny.py'),
    ],
)
def test_what_is_wrong_is_said(compare, tmp_path, words, options, message):
    code, _, said = compare(*words, **options)
    assert code == 1
    assert message in said
    assert not (tmp_path / 'results').exists()
