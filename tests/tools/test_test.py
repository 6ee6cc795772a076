"""The table of a test says how images went through the network."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from sr_plugins.archs import EDSR
from sr_plugins.models import ImageForward

ROOT = Path(__file__).parents[2]


def test_self_ensemble_is_a_row_with_a_plus(tiny_data, tmp_path, monkeypatch, capsys):
    torch.manual_seed(0)
    network = EDSR(2, mid_channels=8, num_blocks=2).eval()
    torch.save(network.state_dict(), tmp_path / 'w.pth')
    monkeypatch.chdir(tmp_path)
    words = ['test.py', ROOT / 'configs/demo_edsr_x2.py', 'w.pth', '--out', 'out']
    words += ['--data-root', tiny_data, '--datasets', 'Tiny', '--save-images']
    words += ['--self-ensemble', '--tile', 20, '--cfg-options']
    words += ['model.generator.mid_channels=8', 'model.generator.num_blocks=2']
    monkeypatch.setattr(sys, 'argv', [str(word) for word in words])
    runpy.run_path(str(ROOT / 'tools/test.py'), run_name='__main__')
    assert '| demo_edsr_x2+ |' in capsys.readouterr().out
    assert json.loads(Path('out/results.json').read_text())['method'] == 'demo_edsr_x2+'
    lr = tiny_data / 'benchmark/Tiny/LR_bicubic/X2/photo0x2.png'
    x = np.asarray(Image.open(lr)).transpose(2, 0, 1)[None] / np.float32(255)
    forward = ImageForward(network, self_ensemble=True)
    exact = 255 * forward(x, torch.device('cpu'))[0].clip(0, 1).transpose(1, 2, 0)
    saved = np.asarray(Image.open('out/images/Tiny/photo0.png'))
    np.testing.assert_allclose(saved, exact, atol=0.51)


def test_bfloat16_is_named(tiny_data, tmp_path, monkeypatch, capsys):
    """Its scores are those of images that differ a little."""
    torch.manual_seed(0)
    network = EDSR(2, mid_channels=8, num_blocks=2)
    torch.save(network.state_dict(), tmp_path / 'w.pth')
    monkeypatch.chdir(tmp_path)
    words = ['test.py', str(ROOT / 'configs/demo_edsr_x2.py'), 'w.pth', '--data-root']
    words += [str(tiny_data), '--datasets', 'Tiny']
    scores = []
    for more in ([], ['--amp', 'bf16']):
        options = 'model.generator.mid_channels=8', 'model.generator.num_blocks=2'
        out = ['--out', f'out{len(more)}', *more, '--cfg-options', *options]
        monkeypatch.setattr(sys, 'argv', [*words, *out])
        runpy.run_path(str(ROOT / 'tools/test.py'), run_name='__main__')
        results = json.loads(Path(f'out{len(more)}/results.json').read_text())
        scores.append(results['sets']['Tiny']['metrics']['edsr_y/PSNR'])
    assert '| demo_edsr_x2 bf16 |' in capsys.readouterr().out
    assert 0 < abs(scores[0] - scores[1]) < 0.02
