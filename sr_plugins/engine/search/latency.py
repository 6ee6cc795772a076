"""How long a network takes on the device of this process."""

import statistics
import time
from collections.abc import Sequence

import torch
from mmengine.device import get_device

from ...archs import ESRN
from ...nas import HR_SIZE, SearchSpace

_REPEATS = 5


@torch.inference_mode()
def measure_latency(
    codes: Sequence[str], space: SearchSpace, hr_size: tuple[int, int] = HR_SIZE
) -> float:
    """Milliseconds for one image; the median of some, after a first that is not timed.

    Args:
        codes: of the network's blocks.
        space: that the network is of.
        hr_size: height and width of the output.
    """
    device = torch.device(get_device())
    network = ESRN(codes, space.scale, mid_channels=space.G0).eval().to(device)
    height, width = (side // space.scale for side in hr_size)
    x = torch.zeros(1, network.in_channels, height, width, device=device)
    seconds = []
    for _ in range(1 + _REPEATS):
        start = time.perf_counter()
        network(x)
        if device.type == 'cuda':
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds[1:])
