"""Tasks of the main process, taken by whichever process is idle.

Collectives would not do: they make every process wait for the slowest, and time out
while one trains for hours. Here processes look into a common store when they have time.
"""

import json
import os
import socket
import time
from collections.abc import Iterator
from typing import Any

from mmengine.dist import broadcast_object_list, get_world_size, is_main_process
from torch.distributed import HashStore, Store, TCPStore

_POLL_S = 0.1


class WorkQueue:
    """Batches of tasks, one after the other; the next when all of one are done.

    On the main process:

        queue = WorkQueue.connect()
        queue.publish(tasks)
        ...                             # work like the others, then
        for index, result in queue.arrived():
            ...
        queue.close()

    On all others:

        while queue.wait_for_batch():
            while (taken := queue.take()) is not None:
                index, task = taken
                queue.deliver(index, work(task))

    Tasks and results are what JSON holds.

    Args:
        store: that all processes share.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._batch = -1
        self._tasks: list = []
        self._missing: set[int] = set()

    @classmethod
    def connect(cls) -> 'WorkQueue':
        """Join all processes of the group; a process on its own needs none."""
        if get_world_size() == 1:
            return cls(HashStore())
        address: list = [None]
        if is_main_process():
            host = os.environ.get('MASTER_ADDR') or socket.gethostname()
            # Port 0: any that is free.
            store = TCPStore(host, 0, is_master=True, wait_for_workers=False)
            address = [(host, store.port)]
        broadcast_object_list(address)
        if not is_main_process():
            store = TCPStore(*address[0], is_master=False, wait_for_workers=False)
        return cls(store)

    def publish(self, tasks: list) -> None:
        """Start the next batch; main process only."""
        self._batch += 1
        self._tasks = tasks
        self._missing = set(range(len(tasks)))
        self._store.set(f'tasks/{self._batch}', json.dumps(tasks))

    def take(self) -> tuple[int, Any] | None:
        """The next task that nobody has, and its index; None when there is none."""
        index = self._store.add(f'taken/{self._batch}', 1) - 1
        return (index, self._tasks[index]) if index < len(self._tasks) else None

    def deliver(self, index: int, result: Any) -> None:
        """Hand in the result of a task of the present batch."""
        self._store.set(f'result/{self._batch}/{index}', json.dumps(result))

    def arrived(self) -> Iterator[tuple[int, Any]]:
        """Results that came since the last call, with their indices; main process only.

        Does not wait.
        """
        for index in sorted(self._missing):
            key = f'result/{self._batch}/{index}'
            if self._store.check([key]):
                self._missing.remove(index)
                yield index, json.loads(self._store.get(key))

    def wait_for_all(self) -> Iterator[tuple[int, Any]]:
        """As `arrived`, until nothing is missing; main process only."""
        while True:
            yield from self.arrived()
            if not self._missing:
                return
            time.sleep(_POLL_S)

    def wait_for_batch(self) -> bool:
        """Wait for the next batch; False when there will be none."""
        key = f'tasks/{self._batch + 1}'
        while not self._store.check([key]):
            if self._store.check(['closed']):
                return False
            time.sleep(_POLL_S)
        self._batch += 1
        self._tasks = json.loads(self._store.get(key))
        return True

    def close(self) -> None:
        """Let the others go; main process only, which must outlive their last look."""
        self._store.set('closed', '1')
