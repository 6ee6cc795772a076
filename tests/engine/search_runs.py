"""A tiny search, in this process or in others, and what is left of one."""

import json
import multiprocessing
import os
import socket
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / 'configs' / 'demo_esrn_search_x2.py'
HOOK = 'custom_hooks.0.'
TINY = {
    'global_batch_size': 2,
    'train_dataloader.dataset.pipeline.1.lr_patch_size': 8,
    'train_cfg.epochs': 2,
    'train_cfg.epoch_length': 2,
    'model.generator.mid_channels': 8,
    f'{HOOK}search_space.G0': 8,
    f'{HOOK}search_space.growth_rate': [8, 16],
    f'{HOOK}search_space.growth_prob': [1, 1],
    f'{HOOK}range.min_params': 20_000,
    f'{HOOK}range.max_params': 24_000,
    f'{HOOK}policy.num_generation': 3,
    f'{HOOK}policy.num_individual': 4,
    f'{HOOK}policy.num_elitism': 2,
}
CANDIDATES = 12

# Processes are forked from one that has imported everything: else starting them would
# take most of the time.
_PROCESSES = multiprocessing.get_context('forkserver')
_PROCESSES.set_forkserver_preload(
    [
        'sr_plugins.compat',
        *('mmagic.models', 'mmagic.datasets', 'mmagic.visualization', 'mmagic.engine'),
        *('mmagic.evaluation', 'sr_plugins.engine', 'sr_plugins.models'),
        *('sr_plugins.metrics', 'sr_plugins.datasets.paired_folder_dataset'),
        *('matplotlib.backends.backend_agg', 'torch.utils.tensorboard'),
        *('sr_plugins.datasets.div2k_lmdb_dataset', 'sr_plugins.datasets.transforms'),
    ]
)
_CODE = """
import itertools, os, pkgutil, runpy, signal, sys
os.environ.update({environment!r})
os.dup2(os.open({log!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 1)
os.dup2(1, 2)
import torch
torch.set_num_threads(1)
def kill_in(place, name, call, after):
    owner, calls = pkgutil.resolve_name(place), itertools.count(1)
    function = getattr(owner, name)

    def deadly(*args, **kwargs):
        dies = next(calls) == call
        if dies and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = function(*args, **kwargs)
        if dies:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, deadly)

if {death!r}:
    kill_in(*{death!r})
sys.argv = ['train.py', *{arguments!r}]
runpy.run_path({tool!r}, run_name='__main__')
"""


class Death(NamedTuple):
    """When a process is to kill itself with SIGKILL: in some call of a function.

    From outside it would be a race, which a test loses now and then on a busy machine.

    Attributes:
        place: a module, or a class as `module:Class`.
        name: of the function in it.
        call: which one, from 1.
        after: when the function has done its work, rather than before.
    """

    place: str
    name: str
    call: int
    after: bool = False


def arguments(data_root, work_dir, *more, **options):
    """Command line of `tools/train.py`."""
    words = [
        f'{key}={str(value).replace(" ", "")}'
        for key, value in {**TINY, **options}.items()
    ]
    return [
        *(str(CONFIG), '--work-dir', str(work_dir), '--data-root', str(data_root)),
        *more,
        *('--cfg-options', *words),
    ]


def free_port():
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        return free.getsockname()[1]


def start(data_root, work_dir, *more, ranks=1, death=None):
    """Start `tools/train.py` in one or several processes, as torchrun does.

    The last one may have a death before it.
    """
    environment = {'OMP_NUM_THREADS': '1'}
    if ranks > 1:
        more = (*more, '--launcher', 'pytorch')
        environment.update(
            MASTER_ADDR='127.0.0.1',
            MASTER_PORT=str(free_port()),
            WORLD_SIZE=str(ranks),
            LOCAL_WORLD_SIZE=str(ranks),
        )
    started = []
    for rank in range(ranks):
        code = _CODE.format(
            environment={**environment, 'RANK': str(rank), 'LOCAL_RANK': str(rank)},
            log=f'{work_dir}.{rank}.log',
            death=tuple(death or ()) if rank == ranks - 1 else (),
            arguments=arguments(data_root, work_dir, *more),
            tool=str(ROOT / 'tools' / 'train.py'),
        )
        started.append(_PROCESSES.Process(target=exec, args=(code, {})))
        started[-1].start()
    return started


def finish(processes, work_dir):
    for rank, process in enumerate(processes):
        process.join(240)
        log = Path(f'{work_dir}.{rank}.log')
        assert process.exitcode == 0, log.read_text()[-3000:]


def dist_train(data_root, work_dir, ranks):
    """Command and environment of `tools/dist_train.sh`."""
    config, *rest = arguments(data_root, work_dir)
    command = [str(ROOT / 'tools' / 'dist_train.sh'), config, str(ranks), *rest]
    environment = {
        **os.environ,
        'PYTHON': sys.executable,
        'PORT': str(free_port()),
        'OMP_NUM_THREADS': '1',
    }
    return command, environment


def count_told(work_dir):
    """Candidates that are done."""
    path = work_dir / 'search.json'
    if not path.exists():
        return 0
    document = json.loads(path.read_text())
    return sum(
        c['fitness'] is not None or c['error'] is not None
        for c in document['candidates']
    )


def result(work_dir):
    """All of a search but its clocks."""
    document = json.loads((work_dir / 'search.json').read_text())
    for candidate in document['candidates']:
        assert candidate['info'].pop('seconds') > 0
    best = json.loads((work_dir / 'best.json').read_text())
    assert best.pop('seconds') > 0
    return document, best
