"""Work in several processes that can be stopped at any moment."""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from itertools import islice
from multiprocessing import get_context, parent_process
from typing import TypeVar

Job = TypeVar('Job')
Result = TypeVar('Result')


def run_in_processes(
    function: Callable[[Job], Result], jobs: Sequence[Job], workers: int
) -> Iterator[tuple[Job, Callable[[], Result]]]:
    """Yield each job, in the order of their ends, with a way to its result.

    Calling that gives the result or raises the error of the job; where a process
    died, `BrokenProcessPool`. Not more than two results for each process wait to be
    taken, so memory does not grow with the number of jobs.

    Args:
        function: of a module, as it is sent to the processes.
        jobs: its arguments.
        workers: number of processes; 1 works in this one.

    Raises:
        KeyboardInterrupt: after the jobs in progress are finished.
    """
    workers = min(workers, len(jobs))
    if workers <= 1:
        for job in jobs:
            yield job, partial(function, job)
        return
    # Not forked: the caller may have threads (torch has), which a fork breaks.
    executor = ProcessPoolExecutor(workers, get_context('spawn'), _start_worker)
    waiting = iter(jobs)
    try:
        with _new_processes_ignore_interrupt():
            futures = {
                _submit(executor, function, job): job
                for job in islice(waiting, 2 * workers)
            }
        while futures:
            for future in wait(futures, return_when=FIRST_COMPLETED).done:
                yield futures.pop(future), future.result
                for job in islice(waiting, 1):
                    futures[_submit(executor, function, job)] = job
    finally:
        executor.shutdown(cancel_futures=True)


def _submit(
    executor: ProcessPoolExecutor, function: Callable[[Job], Result], job: Job
) -> 'Future[Result]':
    try:
        return executor.submit(function, job)
    except BrokenProcessPool as error:
        # Jobs that were not begun fail as those do that were.
        future = Future()
        future.set_exception(error)
        return future


def _start_worker() -> None:
    """Let this process end with its parent, even if that was killed."""
    # For a process that was started later than those below.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def leave() -> None:
        parent_process().join()
        os._exit(1)

    threading.Thread(target=leave, daemon=True).start()


@contextmanager
def _new_processes_ignore_interrupt() -> Iterator[None]:
    """Let processes that are started meanwhile ignore Ctrl-C.

    The terminal sends it to all processes; the parent alone should act on it. The
    new processes inherit the setting, which holds even while they still start.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
