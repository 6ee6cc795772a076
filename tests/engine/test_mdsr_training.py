"""MDSR in a real Runner: resumed, from stores, on two processes, tested at a scale."""

import json
import runpy
import sys
from pathlib import Path

import pytest
import torch
from engine.processes import OPTIONS, ROOT, call

from sr_plugins.archs import MDSR
from sr_plugins.engine import build_runner
from sr_plugins.engine.hooks.learning_curve_hook import read_scalars

NETWORK = {'mid_channels': 8, 'num_blocks': 2}
CONFIG = 'mdsr_baseline.py'


def weights(path):
    return torch.load(path, weights_only=True)['state_dict']


def test_resumed_and_from_stores(train, tiny_config, tmp_path, tiny_stores):
    """Bit for bit, and at least two scales are drawn."""
    whole = train(config=CONFIG, work_dir='whole')
    losses = read_scalars(tmp_path / 'whole')['loss']
    train({'train_cfg.max_iters': 4}, config=CONFIG, work_dir='cut')
    (tmp_path / 'rest').mkdir()
    (tmp_path / 'cut/iter_4.pth').rename(tmp_path / 'rest/iter_4.pth')
    train(config=CONFIG, work_dir='rest', resume=True)
    cfg = tiny_config({'data': 'lmdb'}, config=CONFIG, work_dir='lmdb')
    cfg.train_dataloader.dataset.data_root = str(tiny_stores)
    build_runner(cfg).train()
    rest, lmdb = (read_scalars(tmp_path / name)['loss'] for name in ('rest', 'lmdb'))
    assert rest == {step: losses[step] for step in (5, 6)}
    assert lmdb == losses
    expected = weights(tmp_path / 'whole/iter_6.pth')
    for name in ('rest', 'lmdb'):
        found = weights(tmp_path / name / 'iter_6.pth')
        assert all(torch.equal(found[key], expected[key]) for key in expected), name
    batches = whole.train_dataloader.batch_sampler
    drawn = {batches._scale(step) for step in range(6)}
    assert len(drawn) > 1
    state = torch.load(tmp_path / 'whole/iter_6.pth', weights_only=True)
    steps = [int(entry['step']) for entry in state['optimizer']['state'].values()]
    assert max(steps) == 6
    assert min(steps) < 6, 'ends of other scales are left alone'


def test_two_processes(tmp_path, tiny_data):
    """All ranks draw the same scales; the ends of others have no gradients."""
    config, tool = ROOT / 'configs' / CONFIG, ROOT / 'tools/dist_train.sh'
    rest = ['--data-root', tiny_data, *OPTIONS]
    call(tmp_path, tool, config, 2, '--work-dir', 'two', *rest)
    one = [sys.executable, ROOT / 'tools/train.py', config, '--work-dir', 'one']
    call(tmp_path, *one, *rest)
    first, second = (
        weights(tmp_path / f'{name}/iter_4.pth') for name in ('one', 'two')
    )
    # Adam turns rounding of near-zero gradients into steps of up to the learning rate.
    for key, value in first.items():
        torch.testing.assert_close(second[key], value, rtol=0, atol=2e-4)


@pytest.mark.parametrize('scale', [None, 3])
def test_tested_at_a_scale(scale, tiny_data, tmp_path, monkeypatch):
    torch.manual_seed(0)
    torch.save(MDSR(**NETWORK).state_dict(), tmp_path / 'w.pth')
    monkeypatch.chdir(tmp_path)
    words = ['test.py', ROOT / 'configs' / CONFIG, 'w.pth', '--data-root', tiny_data]
    words += ['--datasets', 'Tiny', '--save-images', '--tile', '40']
    words += ['--scale', '3'] * (scale is not None)
    words += [
        '--cfg-options',
        *(f'model.generator.{k}={v}' for k, v in NETWORK.items()),
    ]
    monkeypatch.setattr(sys, 'argv', [str(word) for word in words])
    runpy.run_path(str(ROOT / 'tools/test.py'), run_name='__main__')
    name = 'w_x3' if scale else 'w'
    out = Path('work_dirs/mdsr_baseline/test', name)
    results = json.loads((out / 'results.json').read_text())
    assert results['method'] == 'mdsr_baseline' + '_x3' * (scale is not None)
    assert results['sets']['Tiny']['metrics'].keys() == {
        f'{protocol}/{metric}'
        for protocol in ('edsr_y', 'rgb')
        for metric in ('PSNR', 'SSIM')
    }
    from PIL import Image

    side = 61 // (scale or 2) * (scale or 2)
    assert Image.open(out / 'images/Tiny/photo0.png').height == side
