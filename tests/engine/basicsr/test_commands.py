"""The tools on options files, in processes of their own."""

import runpy
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from engine.basicsr.conftest import OPTIONS, TINY

ROOT = Path(__file__).parents[3]
_LENGTH = 'datasets.train.dataset_enlarge_ratio'
SHRUNK = ['--cfg-options', *(f'{key}={value}' for key, value in TINY.items())]


@pytest.fixture
def environment(monkeypatch):
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        monkeypatch.setenv('PORT', str(free.getsockname()[1]))
    monkeypatch.setenv('PYTHON', sys.executable)
    # One thread a process, as torchrun sets it: sums are then done alike.
    monkeypatch.setenv('OMP_NUM_THREADS', '1')


def call(cwd, *command, status=0):
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == status, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


def test_two_processes_train_as_one(train, tiny_data, tmp_path, environment):
    """MDSR, of whose weights a step at one scale uses a part; gloo, without a GPU.

    Without averages, so that one process validates what all train.
    """
    options = {'train.total_iter': 4, 'train.ema_decay': 0}
    one = train(options, name='mdsr_baseline_x2.yml', work_dir='one')
    shared = ['datasets.train.batch_size_per_gpu=1']
    shared += [f'{key}={value}' for key, value in options.items()]
    call(
        tmp_path,
        ROOT / 'tools/dist_train.sh',
        OPTIONS / 'mdsr_baseline_x2.yml',
        2,
        '--data-root',
        tiny_data,
        *SHRUNK,
        *shared,
    )
    two = tmp_path / 'work_dirs' / 'mdsr_baseline_x2'
    first, second = (
        torch.load(folder / 'models/net_g_4.pth', weights_only=True)
        for folder in (one, two)
    )
    # Adam turns rounding of near-zero gradients into steps of up to the rate.
    for name, value in first['params'].items():
        torch.testing.assert_close(second['params'][name], value, rtol=0, atol=2e-4)
    assert len(list(two.glob('train_*.log'))) == 1, 'one log, by one process'


def test_ctrl_c_and_resume(train, tiny_data, tmp_path, environment):
    command = [sys.executable, ROOT / 'tools/train.py', OPTIONS / 'demo_edsr_x2.yml']
    command += ['--data-root', tiny_data, '--work-dir', 'run', *SHRUNK]
    command += ['datasets.train.num_worker_per_gpu=1', 'train.total_iter=100000']
    # One long epoch: at its end loader processes are left, and Python loses a Ctrl-C
    # that comes while it deletes an object.
    command += ['train.scheduler.periods=[100000]', f'{_LENGTH}=10000']
    running = subprocess.Popen(
        [str(word) for word in command],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    states = tmp_path / 'run' / 'training_states'
    while running.poll() is None and not (states / '4.state').exists():
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    _, printed = running.communicate(timeout=60)
    assert running.returncode == 130, printed[-3000:]
    assert 'Traceback' not in printed
    furthest = max(int(path.stem) for path in states.glob('*.state'))
    assert f'`--resume` goes on from iteration {furthest}.' in printed
    end = furthest + 2
    folder = train({'train.total_iter': end, _LENGTH: 10000}, resume=True)
    assert any(
        f'iter: {furthest}.' in p.read_text() for p in folder.glob('train_*.log')
    )
    assert (states / f'{end}.state').is_file()
    assert not list(folder.glob('*/.*')), 'nothing is left behind'


def run_tool(monkeypatch, tool, *words):
    """In this process; give the status or message that it ends with."""
    monkeypatch.setattr(sys, 'argv', [tool, *map(str, words)])
    monkeypatch.setattr(sys, 'path', list(sys.path))
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(ROOT / 'tools' / tool), run_name='__main__')
    return str(stop.value.code)


@pytest.mark.parametrize(
    'words',
    [('--amp', 'bf16'), ('--compile',), ('--deterministic',)],
)
def test_training_refuses_what_basicsr_lacks(monkeypatch, words):
    options = OPTIONS / 'demo_edsr_x2.yml'
    message = run_tool(monkeypatch, 'train.py', options, *words)
    assert message.startswith(f'train.py: Expected `{words[0]}` to come with a config')


def test_testing_refuses_what_basicsr_lacks(monkeypatch):
    options = OPTIONS / 'demo_edsr_x2.yml'
    words = ['--tile', '32', '--self-ensemble', '--chop']
    message = run_tool(monkeypatch, 'test.py', options, 'w.pth', *words)
    assert '`--chop` and `--tile` and `--self-ensemble` to come with' in message


def test_mistakes_end_in_a_message(monkeypatch, tmp_path):
    path = tmp_path / 'wrong.yml'
    path.write_text('a:\n\tb: 1\n')
    message = run_tool(monkeypatch, 'train.py', path)
    assert message.startswith(f'train.py: Expected {path} to be YAML')
    options = OPTIONS / 'demo_edsr_x2.yml'
    words = ['--work-dir', tmp_path / 'w', '--data-root', tmp_path / 'none']
    message = run_tool(monkeypatch, 'train.py', options, *words)
    assert message.startswith('train.py: Expected a folder')
