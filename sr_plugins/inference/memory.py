"""How much memory a process has taken."""

import resource

import torch


def peak_memory(device: torch.device) -> str:
    """A sentence on the most that was resident, and on what a GPU held at most."""
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    text = f'Peak memory: {resident:.0f} MiB'
    if device.type == 'cuda':
        held = torch.cuda.max_memory_allocated(device) / 2**20
        text += f', {held:.0f} MiB on {device}'
    return text + '.'
