"""One process, two processes, killed and resumed: the same search, bit for bit."""

import random
import subprocess
import time
from functools import partial

import pytest
from engine.search_runs import (
    CANDIDATES,
    count_told,
    dist_train,
    finish,
    result,
    start,
)

PATIENCE_S = 120


@pytest.fixture(scope='module')
def reference(tiny_data, tmp_path_factory):
    """One process, never stopped."""
    folder = tmp_path_factory.mktemp('reference') / 'run'
    finish(start(tiny_data, folder), folder)
    assert count_told(folder) == CANDIDATES
    return result(folder)


def temporary(folder):
    """Files that are being written, or whose writing was killed."""
    return set(folder.glob('.*.tmp'))


def has_told(folder, count):
    return count_told(folder) >= count


def wait_until(condition, processes):
    """False when a process ends first."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if not all(process.is_alive() for process in processes):
            return False
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return True


def test_two_processes(tiny_data, tmp_path, reference):
    command, environment = dist_train(tiny_data, tmp_path / 'a folder' / 'run', 2)
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert result(tmp_path / 'a folder' / 'run') == reference


def test_ten_kills(tiny_data, tmp_path, reference):
    """Some while the program starts, some while it trains, some while it saves."""
    folder, rng, told = tmp_path / 'run', random.Random(0), 0
    for kill in range(10):
        resume = ['--resume'] if (folder / 'search.json').exists() else []
        left = temporary(folder)
        (process,) = start(tiny_data, folder, *resume)
        if told > CANDIDATES - 4:  # however fast the machine, the search must not end
            time.sleep(rng.uniform(0, 0.05))
        elif kill % 3 == 0:
            assert wait_until(partial(has_told, folder, told + 1), [process])
            time.sleep(rng.uniform(0, 0.1))
        elif kill % 3 == 1:
            assert wait_until(lambda left=left: temporary(folder) - left, [process])
        else:
            process.join(rng.uniform(0.1, 0.5))
        assert process.is_alive()
        process.kill()
        process.join()
        told = count_told(folder)
    assert 2 <= told < CANDIDATES
    processes = start(tiny_data, folder, '--resume')
    finish(processes, folder)
    assert result(folder) == reference
    assert not temporary(folder), 'what kills left is cleared away'


def test_one_of_two_is_killed(tiny_data, tmp_path, reference):
    """torchrun ends the other; here that is done by hand."""
    folder = tmp_path / 'run'
    processes = start(tiny_data, folder, ranks=2)
    assert wait_until(partial(has_told, folder, 3), processes)
    processes[1].kill()
    time.sleep(0.2)
    processes[0].kill()
    for process in processes:
        process.join()
    assert count_told(folder) < CANDIDATES
    finish(start(tiny_data, folder, '--resume', ranks=2), folder)
    assert result(folder) == reference
