"""One process, two processes, killed and resumed: the same search, bit for bit."""

import random
import signal
import subprocess

import pytest
from engine.search_runs import (
    CANDIDATES,
    Death,
    count_told,
    dist_train,
    finish,
    result,
    start,
)

RUN = ('sr_plugins.engine:EvolutionSearchLoop', 'run')
FORWARD = ('sr_plugins.archs:ESRN', 'forward')
RENAME = ('os', 'replace')


@pytest.fixture(scope='module')
def reference(tiny_data, tmp_path_factory):
    """One process, never stopped."""
    folder = tmp_path_factory.mktemp('reference') / 'run'
    finish(start(tiny_data, folder), folder)
    assert count_told(folder) == CANDIDATES
    return result(folder)


def temporary(folder):
    """Files whose writing was killed."""
    return set(folder.glob('.*.tmp'))


def test_two_processes(tiny_data, tmp_path, reference):
    command, environment = dist_train(tiny_data, tmp_path / 'a folder' / 'run', 2)
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert result(tmp_path / 'a folder' / 'run') == reference


def test_ten_kills(tiny_data, tmp_path, reference):
    """Some while the program starts, some while it trains, some while it saves."""
    folder, rng = tmp_path / 'run', random.Random(0)
    deaths = [Death(*RUN, 1)]
    # A candidate takes six calls of its network, and each of them a save or more.
    deaths += [Death(*FORWARD, rng.randint(1, 9)) for _ in range(4)]
    for after in (False, True):
        deaths += [Death(*RENAME, rng.randint(1, 4), after) for _ in range(2)]
    deaths.append(Death(*RENAME, 1))
    rng.shuffle(deaths)
    unfinished, told = 0, []
    for death in deaths:
        resume = ['--resume'] if (folder / 'search.json').exists() else []
        (process,) = start(tiny_data, folder, *resume, death=death)
        process.join(240)
        assert process.exitcode == -signal.SIGKILL
        unfinished += len(temporary(folder))
        told.append(count_told(folder))
    assert len(told) == 10
    assert told == sorted(told)
    assert 2 <= told[-1] < CANDIDATES
    assert unfinished
    finish(start(tiny_data, folder, '--resume'), folder)
    assert result(folder) == reference
    assert not temporary(folder), 'what kills left is cleared away'


def test_one_of_two_is_killed(tiny_data, tmp_path, reference):
    """While it trains its second candidate; torchrun, here the test, ends the other."""
    folder = tmp_path / 'run'
    other, victim = start(tiny_data, folder, ranks=2, death=Death(*FORWARD, 9))
    victim.join(240)
    assert victim.exitcode == -signal.SIGKILL
    assert other.is_alive(), 'it waits for what it will never get'
    other.kill()
    other.join()
    assert count_told(folder) < CANDIDATES
    finish(start(tiny_data, folder, '--resume', ranks=2), folder)
    assert result(folder) == reference
