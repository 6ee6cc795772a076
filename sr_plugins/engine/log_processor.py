"""Log lines that show memory on the CPU too."""

import resource

import torch
from mmengine.runner import LogProcessor as BaseLogProcessor

from ..registry import LOG_PROCESSORS


@LOG_PROCESSORS.register_module()
class LogProcessor(BaseLogProcessor):
    """mmengine's, with the peak resident memory in MB where there is no GPU.

    On a GPU mmengine shows the peak of its allocator already.
    """

    def get_log_after_iter(self, runner, batch_idx: int, mode: str) -> tuple[dict, str]:
        tag, line = super().get_log_after_iter(runner, batch_idx, mode)
        if not torch.cuda.is_available():
            tag['memory'] = _peak_memory_mb()
            line = f'{line}  memory: {tag["memory"]}'
        return tag, line


def _peak_memory_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
