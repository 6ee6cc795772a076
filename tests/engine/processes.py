"""Calls of the tools, for trainings of seconds."""

import os
import socket
import subprocess
import sys
from pathlib import Path

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
