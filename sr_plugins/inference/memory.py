"""How much memory a process has taken."""

import resource
from pathlib import Path

import torch


def peak_memory(device: torch.device) -> str:
    """A sentence on the most that was resident, and on what a GPU held at most."""
    text = f'Peak memory: {_peak_resident():.0f} MiB'
    if device.type == 'cuda':
        held = torch.cuda.max_memory_allocated(device) / 2**20
        text += f', {held:.0f} MiB on {device}'
    return text + '.'


def _peak_resident() -> float:
    """In MiB, of this program only: `getrusage` counts the one that started it, too."""
    try:
        lines = Path('/proc/self/status').read_text().splitlines()
        return next(int(x.split()[1]) for x in lines if x.startswith('VmHWM')) / 1024
    except (OSError, StopIteration):  # some containers hide it
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
