"""Help that reads well, and mistakes that end in a message."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from sr_plugins.engine import plain_errors

ROOT = Path(__file__).parents[2]
TOOLS = sorted(path.name for path in (ROOT / 'tools').glob('*.py'))


@pytest.mark.parametrize('tool', TOOLS)
def test_help(tool, monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', [tool, '--help'])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(ROOT / 'tools' / tool), run_name='__main__')
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert 'example' in text.lower()
    assert max(len(line) for line in text.splitlines()) <= 100


@pytest.mark.parametrize('tool', TOOLS)
def test_tools_can_be_executed(tool):
    assert os.access(ROOT / 'tools' / tool, os.X_OK)


def test_a_mistake_in_a_real_call(tmp_path):
    """From another folder, with a space in a path, without a traceback."""
    folder = tmp_path / 'my data'
    command = [sys.executable, ROOT / 'tools/train.py']
    command += [ROOT / 'configs/demo_edsr_x2.py', '--data-root', folder]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1
    assert 'Traceback' not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith('train.py: Expected a folder')
    assert 'my data/DIV2K/DIV2K_train_HR' in last


def test_bugs_keep_their_traceback():
    with pytest.raises(ValueError, match='not enough values'), plain_errors():
        _, _ = [1]


def test_interrupt():
    with pytest.raises(SystemExit) as stop, plain_errors():
        raise KeyboardInterrupt
    assert stop.value.code == 130


def test_a_mistake_that_a_loader_process_found():
    text = 'Caught ValueError in worker 0.\nTraceback\nValueError: Expected a to be b.'
    with pytest.raises(SystemExit) as stop, plain_errors():
        raise ValueError(text)
    assert str(stop.value.code).endswith(': Expected a to be b.')
