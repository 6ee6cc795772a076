"""Two processes under torchrun give what one process gives."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sr_plugins.archs import EDSR
from sr_plugins.engine.hooks.learning_curve_hook import read_scalars

ROOT = Path(__file__).parents[2]
OPTIONS = [
    '--cfg-options',
    'model.generator.mid_channels=8',
    'model.generator.num_blocks=2',
    'global_batch_size=4',
    'train_dataloader.dataset.pipeline.1.lr_patch_size=12',
    'train_cfg.max_iters=4',
    'train_cfg.val_interval=2',
    'default_hooks.logger.interval=1',
    'default_hooks.checkpoint.interval=2',
    'log_processor.window_size=1',
]


def call(cwd, *command):
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        'PYTHON': sys.executable,
        'PORT': str(port),
        # One thread a process, as torchrun sets it: sums are then done alike.
        'OMP_NUM_THREADS': '1',
    }
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture
def folder(tmp_path):
    """Not the project's, and with a space in its name."""
    made = tmp_path / 'some folder'
    made.mkdir()
    return made


def test_testing_on_two_processes(folder, tiny_data):
    """Three images on two processes: every number is the same, to the last bit."""
    torch.manual_seed(3)
    torch.save(EDSR(2, mid_channels=8, num_blocks=2).state_dict(), folder / 'w.pth')
    config = ROOT / 'configs' / 'demo_edsr_x2.py'
    rest = ['--data-root', tiny_data, '--datasets', 'Tiny', 'DIV2K', *OPTIONS[:3]]
    tool = ROOT / 'tools' / 'dist_test.sh'
    printed = call(folder, tool, config, 'w.pth', 2, '--out', 'two', *rest)
    assert printed.count('| Tiny ') == 1, 'one table, by one process'
    call(
        folder,
        sys.executable,
        ROOT / 'tools/test.py',
        config,
        'w.pth',
        '--out',
        'one',
        *rest,
    )
    one, two = (
        json.loads((folder / name / 'results.json').read_text())['sets']
        for name in ('one', 'two')
    )
    assert len(one['Tiny']['images']) == 3
    assert one == two
    assert not (folder / '.dist_test').exists(), 'nothing is left behind'


def test_training_on_two_processes(folder, tiny_data):
    """The global batch, its samples and the schedule are those of one process."""
    config = ROOT / 'configs' / 'demo_edsr_x2.py'
    tool = ROOT / 'tools' / 'dist_train.sh'
    rest = ['--data-root', tiny_data, *OPTIONS]
    call(folder, tool, config, 2, '--work-dir', 'two', *rest)
    call(
        folder,
        sys.executable,
        ROOT / 'tools/train.py',
        config,
        '--work-dir',
        'one',
        *rest,
    )
    one, two = (
        torch.load(folder / name / 'iter_4.pth', weights_only=True)
        for name in ('one', 'two')
    )
    assert one['state_dict'].keys() == two['state_dict'].keys()
    # Adam turns rounding of near-zero gradients into steps of up to the learning rate.
    for key, value in one['state_dict'].items():
        torch.testing.assert_close(two['state_dict'][key], value, rtol=0, atol=2e-4)
    first, second = (read_scalars(folder / name) for name in ('one', 'two'))
    assert list(first['edsr_y/PSNR']) == list(second['edsr_y/PSNR']) == [2, 4]
    for step, score in first['edsr_y/PSNR'].items():
        assert second['edsr_y/PSNR'][step] == pytest.approx(score, abs=0.02)


@pytest.mark.parametrize('tool', ['dist_train.sh', 'dist_test.sh', 'slurm_train.sh'])
def test_usage(tool):
    done = subprocess.run(
        [str(ROOT / 'tools' / tool)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert f'tools/{tool}' in done.stderr


def test_slurm_command(folder):
    """What the script hands to srun, argument by argument."""
    fake = folder / 'srun'
    fake.write_text('#!/bin/sh\nfor a in "$@"; do echo "$a"; done\n')
    fake.chmod(0o755)
    environment = {
        **os.environ,
        'PATH': f'{folder}:{os.environ["PATH"]}',
        'GPUS': '16',
        'SRUN_ARGS': '--qos=high --time=10',
    }
    done = subprocess.run(
        [
            str(ROOT / 'tools/slurm_train.sh'),
            'gpu',
            'my job',
            'a config.py',
            '--amp',
            'bf16',
        ],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    words = done.stdout.splitlines()
    assert '--job-name=my job' in words
    assert '--ntasks=16' in words
    assert '--qos=high' in words
    assert words[-5:] == ['a config.py', '--launcher', 'slurm', '--amp', 'bf16']
