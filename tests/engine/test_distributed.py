"""Two processes under torchrun give what one process gives."""

import json
import os
import subprocess
import sys

import pytest
import torch
from engine.processes import OPTIONS, ROOT, call

from sr_plugins.archs import EDSR
from sr_plugins.engine.hooks.learning_curve_hook import read_scalars


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
