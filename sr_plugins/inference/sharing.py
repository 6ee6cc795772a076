"""Images shared among the processes of torchrun, which agree before they start."""

import os
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import distributed

T = TypeVar('T')
# One process may wait for the last image of another for as long as that takes.
_PATIENCE = timedelta(days=30)


class Share:
    """One of several processes, or the only one.

    Args:
        launcher: 'pytorch' under torchrun, 'none' without.

    Raises:
        ValueError: when torchrun has not started this process.
    """

    def __init__(self, launcher: str = 'none') -> None:
        self.rank, self.size = 0, 1
        if launcher == 'none':
            return
        if 'LOCAL_RANK' not in os.environ:
            raise ValueError(
                f'Expected `launcher` {launcher} under torchrun, but got a process of '
                f'its own. Start tools/dist_infer.sh.'
            )
        # Objects go round, not tensors of a GPU.
        distributed.init_process_group('gloo', timeout=_PATIENCE)
        self.rank, self.size = distributed.get_rank(), distributed.get_world_size()

    @property
    def is_main(self) -> bool:
        """Whether this process speaks for all."""
        return self.rank == 0

    def device(self) -> str | None:
        """The GPU of this process, where there are several; None for the choice."""
        if self.size == 1 or not torch.cuda.is_available():
            return None
        return f'cuda:{int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count()}'

    def gather(self, value: T) -> list[T]:
        """The values of all processes, on each; waits for all."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        distributed.all_gather_object(values, value)
        return values

    def together(self, function: Callable[[], T], by_main: bool = False) -> T:
        """Call a function on each process, and fail on all if it fails on one.

        Args:
            function: what to call.
            by_main: call it on the main process only, and give its result to all.

        Raises:
            ValueError: where it failed with one or an OSError, on the main process,
                with the message of the first that failed. Where there is one process,
                those errors themselves.
            SystemExit: then on the others, which the main process speaks for.
        """
        if self.size == 1:
            return function()
        result, message = None, None
        if self.is_main or not by_main:
            try:
                result = function()
            except (ValueError, OSError) as error:
                message = str(error)
        messages = [text for text in self.gather(message) if text is not None]
        if messages and self.is_main:
            raise ValueError(messages[0])
        if messages:
            raise SystemExit(0)
        return self.gather(result)[0] if by_main else result

    def of_mine(self, items: Sequence[T]) -> Sequence[T]:
        """Those of the items that are for this process."""
        return items[self.rank :: self.size]

    def leave(self) -> None:
        """Else threads of the group can bring down a process that is done."""
        if distributed.is_initialized():
            distributed.destroy_process_group()
