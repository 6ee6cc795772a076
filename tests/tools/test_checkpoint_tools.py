"""`convert_checkpoint.py` and `inspect_checkpoint.py` as a user calls them."""

import json
import os
import runpy
import sys
from pathlib import Path

import pytest
import torch

from sr_plugins.archs import EDSR, MDSR
from sr_plugins.fileio import torch_load

TOOLS = Path(__file__).parents[2] / 'tools'
TINY = {'mid_channels': 8, 'num_blocks': 3}


@pytest.fixture
def call(monkeypatch, capsys):
    """Run a tool in this process; what it printed, its message, and its status."""

    def run(tool, *arguments):
        monkeypatch.setattr(sys, 'argv', [tool, *map(str, arguments)])
        status = 0
        try:
            runpy.run_path(str(TOOLS / tool), run_name='__main__')
        except SystemExit as stop:
            status = stop.code
        done = capsys.readouterr()
        if isinstance(status, str):  # a message, which the interpreter would print
            return done.out, status, 1
        return done.out, done.err, status

    return run


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / 'edsr.pth'
    torch.save(EDSR(3, **TINY).state_dict(), path)
    return path


def test_there_and_back(call, weights, tmp_path):
    theirs, back = tmp_path / 'new' / 'basicsr.pth', tmp_path / 'back.pth'
    out, _, status = call('convert_checkpoint.py', weights, theirs, '--to', 'basicsr')
    assert status == 0
    assert 'EDSR x3 with 3 blocks of 8 channels: from sr_plugins or mmagic' in out
    assert 'In float64' in out
    assert 'conv_last.weight' in out
    assert call('convert_checkpoint.py', theirs, back, '--to', 'sr_plugins')[2] == 0
    expected = torch_load(weights)
    for key, value in torch_load(back).items():
        assert torch.equal(value, expected[key])


class Evil:
    """Pickles as a call."""

    def __reduce__(self):
        return os.system, ('touch owned',)


def test_mistakes_are_messages(call, weights, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mdsr = tmp_path / 'mdsr.pth'
    torch.save(MDSR((2,), **TINY).state_dict(), mdsr)
    evil = tmp_path / 'evil.pth'
    torch.save({'params': torch_load(mdsr), 'x': Evil()}, evil)
    short = tmp_path / 'short.pth'
    short.write_bytes(mdsr.read_bytes()[:-99])
    text = tmp_path / 'page.pth'
    text.write_text('<html>not found</html>')
    cases = [
        ((weights, weights, '--to', 'basicsr'), 'another file than the input'),
        ((weights, tmp_path, '--to', 'basicsr'), 'is a folder'),
        ((tmp_path / 'no.pth', tmp_path / 'b', '--to', 'mmagic'), 'no.pth'),
        ((mdsr, tmp_path / 'b', '--to', 'mmagic'), 'sr_plugins, published'),
        ((evil, tmp_path / 'b', '--to', 'published'), 'system'),
        ((short, tmp_path / 'b', '--to', 'published'), 'Copy or download it again'),
        ((text, tmp_path / 'b', '--to', 'mmagic'), 'whole file of torch.save'),
    ]
    before = set(tmp_path.iterdir())
    for arguments, message in cases:
        _, error, status = call('convert_checkpoint.py', *arguments)
        assert status == 1, message
        assert error.startswith('convert_checkpoint.py: Expected'), error
        assert message in error
    assert set(tmp_path.iterdir()) == before


def test_inspect_many(call, weights, tmp_path):
    """Good files are shown, others named, and the status says so."""
    out, error, status = call('inspect_checkpoint.py', weights)
    assert (error, status) == ('', 0)
    for part in (
        'edsr.pth',
        'EDSR x3 with 3 blocks of 8 channels',
        'parameters  9 787',  # 7 (9 * 64 + 8) + 28 * 8 + 72 * 73 + 27 * 8 + 3
        'RGB in [0, 1]',
    ):
        assert part in out
    state = torch_load(weights)
    state['conv_last.bias'][1] = float('nan')
    torch.save(state, tmp_path / 'nan.pth')
    missing = tmp_path / 'missing.pth'
    files = weights, missing, tmp_path / 'nan.pth'
    out, error, status = call('inspect_checkpoint.py', *files, '--json')
    assert status == 1
    assert 'missing.pth' in error
    good, bad = json.loads(out)
    assert good['options']['scale'] == 3
    assert good['parameters'] == sum(value.numel() for value in state.values())
    assert bad['non_finite'] == ['conv_last.bias']
