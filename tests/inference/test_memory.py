"""Memory that is reported is what the program itself has taken."""

import re
import subprocess
import sys

import numpy as np
import torch

from sr_plugins.inference import memory

# The file alone: its package takes long to import.
PROGRAM = """
import runpy, sys, numpy, torch
peak_memory = runpy.run_path(sys.argv[1])['peak_memory']
before = peak_memory(torch.device('cpu'))
numpy.ones(200 << 20, numpy.uint8)
print(before, peak_memory(torch.device('cpu')))
"""


def test_what_started_the_program_does_not_count():
    """The system hands on the peak of the parent, whatever the program itself takes."""
    size = 1200
    held = np.ones(size << 20, np.uint8)
    done = subprocess.run(
        [sys.executable, '-c', PROGRAM, memory.__file__],
        capture_output=True,
        text=True,
        check=True,
    )
    before, after = (int(x) for x in re.findall(r'Peak memory: (\d+) MiB', done.stdout))
    assert 50 < before < after < size
    # It is given back, but the peak stays.
    assert 150 < after - before < 250
    del held
    assert int(memory.peak_memory(torch.device('cpu')).split()[2]) > size
