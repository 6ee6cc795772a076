"""A search on the real Runner: its files, its log, its faults and its resumes."""

import ast
import itertools
import json
import math
import re
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from engine.search_runs import CANDIDATES, CONFIG, HOOK, TINY
from PIL import Image
from torch.distributed import TCPStore

from sr_plugins.archs import ESRN
from sr_plugins.complexity import measure
from sr_plugins.datasets import PairedCenterCrop
from sr_plugins.engine import build_runner, load_config
from sr_plugins.engine.hooks.learning_curve_hook import read_scalars
from sr_plugins.engine.search import WorkQueue, measure_latency
from sr_plugins.nas import SearchSpace

FEW = {f'{HOOK}policy.num_generation': 1, f'{HOOK}policy.num_individual': 2}


@pytest.fixture
def search(tiny_data, tmp_path, request):
    """Run a tiny search in this process and give the Runner."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    counter = itertools.count()

    def run(options=None, resume=False, config=CONFIG, seed=None):
        # Two runs of one name within a second would share loggers and histories.
        name = {'experiment_name': f'{request.node.name}{next(counter)}'}
        cfg = load_config(
            config,
            work_dir=str(tmp_path / 'run'),
            data_root=str(tiny_data),
            seed=seed,
            cfg_options={**TINY, **name, **(options or {})},
        )
        runner = build_runner(cfg, resume=resume)
        runner.train()
        return runner

    yield run
    torch.set_num_threads(threads)


def read(folder, name='search.json'):
    return json.loads((folder / 'run' / name).read_text())


def log_of(runner):
    return Path(runner.log_dir, f'{runner.timestamp}.log').read_text()


def test_files_and_log(search, tmp_path):
    runner = search()
    candidates = read(tmp_path)['candidates']
    assert [c['id'] for c in candidates] == list(range(1, CANDIDATES + 1))
    assert len({tuple(c['codes']) for c in candidates}) == CANDIDATES, 'trained twice'
    for candidate in candidates[::5]:
        network = ESRN(candidate['codes'], mid_channels=8)
        total = measure(network)[0]
        assert candidate['params'] == total.params
        assert candidate['multiply_adds'] == total.multiply_adds
        assert candidate['operator'] in ('sample', 'mutation', 'crossover')
        assert all(0 < parent < candidate['id'] for parent in candidate['parents'])
        assert candidate['fitness'] == candidate['info']['edsr_y/PSNR']
        assert candidate['info']['seconds'] > 0
    fitness = [c['fitness'] for c in candidates]
    winner = candidates[int(np.argmax(fitness))]
    best = read(tmp_path, 'best.json')
    assert best['architecture'] == winner['codes']
    assert best['fitness'] == max(fitness)

    log = log_of(runner)
    values = ast.literal_eval(re.search(r'Best values: (.*)', log)[1])
    assert values == [
        {
            'worker_id': winner['id'],
            'performance': {
                'flops': round(winner['multiply_adds'] / 1e9, 3),
                'params': winner['params'] / 1e3,
                'PSNR': max(fitness),
            },
        }
    ]
    assert log.count(', eta: ') == CANDIDATES
    assert 'eta: 0:00:00' in log.rpartition('Candidate')[2], 'nothing is left'
    scalars = read_scalars(tmp_path / 'run')
    assert list(scalars['candidate/edsr_y/PSNR'].values()) == fitness
    means = [np.mean(fitness[i : i + 4]) for i in (0, 4, 8)]
    assert list(scalars['generation/mean'].values()) == pytest.approx(means)
    assert list(scalars['generation/best'].values())[-1] == max(fitness)
    assert list((tmp_path / 'run').glob('*/vis_data/events.out.tfevents.*'))
    for name in ('evolution.png', 'pareto.png'):
        picture = np.asarray(Image.open(tmp_path / 'run' / name).convert('RGB'))
        assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 20, 'curves, not paper'


def test_a_score_is_that_of_an_ordinary_training(search, tmp_path, tiny_data):
    """The same seed, recipe and samples on mmengine's own loops."""
    search(FEW, seed=11)
    document = read(tmp_path)
    assert document['policy']['seed'] == document['training']['seed'] == 11
    candidate = document['candidates'][0]
    steps = TINY['train_cfg.epochs'] * TINY['train_cfg.epoch_length']
    cfg = load_config(
        CONFIG.with_name('esrn_x2.py'),
        work_dir=str(tmp_path / 'ordinary'),
        data_root=str(tiny_data),
        seed=11,
        cfg_options={
            **{key: TINY[key] for key in TINY if not key.startswith('train_cfg')},
            'custom_hooks': [],
            'experiment_name': 'ordinary',
            'model.generator.architecture': candidate['codes'],
            'optim_wrapper.optimizer.lr': 1e-3,
            'train_cfg.max_iters': steps,
            'train_cfg.val_interval': steps,
        },
    )
    runner = build_runner(cfg)
    runner.train()
    score = runner.message_hub.get_scalar('val/edsr_y/PSNR').current()
    assert candidate['fitness'] == score


def test_candidates_that_fail(search, tmp_path, monkeypatch):
    """Real exhaustion and real overflow, by what the network looks like."""
    forward = ESRN.forward

    def faulty(self, x):
        kind = type(self.blocks[0]).__name__[0]
        if kind == 'C':
            torch.empty(2**60)
        return forward(self, x) * (torch.inf if kind == 'G' else 1)

    monkeypatch.setattr(ESRN, 'forward', faulty)
    log = log_of(search())
    candidates = read(tmp_path)['candidates']
    assert {c['codes'][0][0] for c in candidates} == {'C', 'G', 'S'}
    for candidate in candidates:
        kind = candidate['codes'][0][0]
        if kind == 'S':
            assert math.isfinite(candidate['fitness'])
            continue
        assert candidate['fitness'] is None
        reason = 'the loss is ' if kind == 'G' else 'out of memory: '
        assert candidate['error'].startswith(reason)
        line = f'Candidate {candidate["id"]} of 12 failed: {candidate["error"]}'
        assert line in log
    assert read(tmp_path, 'best.json')['architecture'][0][0] == 'S'


def test_all_fail(search, tmp_path):
    runner = search({**FEW, 'optim_wrapper.optimizer.lr': 1e30})
    assert 'All 2 candidates failed' in log_of(runner)
    assert not (tmp_path / 'run/best.json').exists()


def test_memory_that_a_gpu_library_lacks(search, tmp_path, monkeypatch):
    reason = 'CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`'

    def exhausted(self, x):
        raise RuntimeError(reason)

    monkeypatch.setattr(ESRN, 'forward', exhausted)
    search({**FEW, f'{HOOK}policy.num_individual': 1})
    assert read(tmp_path)['candidates'][0]['error'] == f'out of memory: {reason}'


def test_a_bug_is_no_score(search, monkeypatch):
    def broken(self, x):
        raise RuntimeError('shapes do not match')

    monkeypatch.setattr(ESRN, 'forward', broken)
    with pytest.raises(RuntimeError, match='shapes do not match'):
        search(FEW)


def test_going_on_for_longer(search, tmp_path):
    """One generation and one more are two."""
    generations = f'{HOOK}policy.num_generation'
    search({**FEW, generations: 2})
    both = [(c['codes'], c['fitness']) for c in read(tmp_path)['candidates']]
    assert len(both) == 4
    search(FEW)
    earlier = list((tmp_path / 'run').glob('earlier_*/search.json'))
    assert len(earlier) == 1, 'the first search is set aside'
    assert len(read(tmp_path)['candidates']) == 2
    runner = search({**FEW, generations: 2}, resume=True)
    found = [(c['codes'], c['fitness']) for c in read(tmp_path)['candidates']]
    assert found == both
    assert 'in which 2 candidates are done' in log_of(runner)


def test_files_that_a_kill_left_out_are_written(search, tmp_path):
    """`search.json` comes first; the search that it holds is done."""
    search(FEW)
    names = ('best.json', 'evolution.png', 'pareto.png')
    before = {name: (tmp_path / 'run' / name).read_bytes() for name in names}
    for name in names:
        (tmp_path / 'run' / name).unlink()
    search(FEW, resume=True)
    for name, content in before.items():
        assert (tmp_path / 'run' / name).read_bytes() == content


def test_candidates_have_one_thread(search, monkeypatch):
    """With more, sums of gradients are rounded otherwise, and scores with them."""
    forward, seen = ESRN.forward, set()

    def watched(self, x):
        seen.add(torch.get_num_threads())
        return forward(self, x)

    monkeypatch.setattr(ESRN, 'forward', watched)
    torch.set_num_threads(2)
    search({**FEW, f'{HOOK}policy.num_individual': 1})
    assert seen == {1}
    assert torch.get_num_threads() == 2


def test_resuming_another_search(search):
    search(FEW)
    changes = {
        f'{HOOK}policy.mutation_rate': (0.2, 0.3),
        f'{HOOK}range.min_active': (3, 2),
        'optim_wrapper.optimizer.lr': (0.001, 0.002),
        'train_cfg.epochs': (2, 3),
    }
    options = {key: now for key, (_, now) in changes.items()}
    with pytest.raises(ValueError, match='Expected the config to be that of') as caught:
        search({**FEW, **options}, resume=True)
    for key, (before, now) in changes.items():
        name = key.rpartition('.')[2]
        assert f'{name} was {before} and is {now}' in str(caught.value)


def test_nothing_to_resume(search, tmp_path):
    with pytest.raises(FileNotFoundError, match='Expected `--resume` to find'):
        search(FEW, resume=True)
    search(FEW)
    path = tmp_path / 'run/search.json'
    path.write_text(path.read_text()[:-100])
    with pytest.raises(ValueError, match='to be the whole state of a search'):
        search(FEW, resume=True)


@pytest.mark.parametrize(
    ('options', 'error', 'words'),
    [
        ({'custom_hooks': []}, ValueError, 'to have one sr_plugins.ESREAHook'),
        (
            {
                'train_cfg': {
                    'type': 'sr_plugins.ResumableTrainLoop',
                    'max_iters': 1,
                    '_delete_': True,
                }
            },
            ValueError,
            '`train_cfg.type` to be sr_plugins.EvolutionSearchLoop',
        ),
        ({'train_cfg.epochs': 0}, ValueError, '`epochs` to be an integer of at least'),
        ({'train_cfg.fitness': 'rgb/PSNR'}, ValueError, 'one of edsr_y/PSNR, the met'),
        (
            {'train_dataloader.sampler': {'type': 'InfiniteSampler'}},
            TypeError,
            'but got InfiniteSampler',
        ),
        (
            {f'{HOOK}search_space.scale': 3},
            ValueError,
            'Expected `model.generator.scale` to be 3',
        ),
        (
            {'model.generator.bias': True},
            ValueError,
            'Expected `model.generator.bias` to be False',
        ),
        ({f'{HOOK}range.max_params': 1}, ValueError, 'min_params'),
        ({f'{HOOK}range.max_parms': 1}, ValueError, 'max_params'),
    ],
)
def test_configs_that_cannot_work(search, options, error, words):
    with pytest.raises(error, match=words):
        search({**FEW, **options})


def test_candidates_are_not_compiled(tiny_data, tmp_path):
    cfg = load_config(
        CONFIG,
        work_dir=str(tmp_path / 'run'),
        data_root=str(tiny_data),
        compile_network=True,
        cfg_options=TINY,
    )
    with pytest.raises(ValueError, match='a search without CompileHook'):
        build_runner(cfg).train()


def test_ceiling_of_latency(search, tmp_path, monkeypatch):
    """By a clock that runs alike everywhere: a millisecond a block."""
    monkeypatch.setattr(
        'sr_plugins.engine.hooks.esr_ea_hook.measure_latency',
        lambda codes, space: len(codes),
    )
    ceiling = {f'{HOOK}range.max_latency': 4}
    search({**FEW, **ceiling, f'{HOOK}policy.num_individual': 6})
    first = read(tmp_path)
    assert max(len(c['codes']) for c in first['candidates']) == 4
    search({**FEW, **ceiling, f'{HOOK}policy.num_individual': 6}, resume=True)
    assert read(tmp_path) == first


def test_latency_is_measured():
    space = SearchSpace(node_num=1, min_active=1, min_params=0)
    quick = measure_latency(['G_4_8_8'], space, hr_size=(2, 2))
    slow = measure_latency(['S_8_32_32'] * 8, space, hr_size=(96, 96))
    assert 0 < quick < slow, 'in milliseconds, for thousands of times the work'


def test_training_the_best(search, tmp_path, tiny_data):
    search(FEW)
    best = tmp_path / 'run/best.json'
    options = {k: v for k, v in TINY.items() if not k.startswith(('train_cfg', HOOK))}
    options['model.generator.architecture'] = str(best)
    cfg = load_config(
        CONFIG.with_name('esrn_x4.py'),
        work_dir=str(tmp_path / 'full'),
        data_root=str(tiny_data),
        cfg_options={**options, 'train_cfg.max_iters': 1},
    )
    runner = build_runner(cfg)
    runner.train()
    weights = runner.model.generator.state_dict()
    expected = ESRN(read(tmp_path, 'best.json')['architecture'], 4, mid_channels=8)
    assert {k: v.shape for k, v in weights.items()} == {
        k: v.shape for k, v in expected.state_dict().items()
    }
    assert (tmp_path / 'full/best.pth').exists()


def test_centre_crop():
    rng = np.random.default_rng(0)
    img = rng.integers(0, 256, (7, 12, 3), np.uint8)
    gt = img.repeat(2, 0).repeat(2, 1)
    results = PairedCenterCrop(4)({'img': img, 'gt': gt, 'scale': 2})
    assert np.array_equal(results['img'], img[1:5, 4:8])
    assert np.array_equal(results['gt'][::2, 1::2], img[1:5, 4:8])
    narrow = PairedCenterCrop(9)({'img': img, 'gt': gt, 'scale': 2})
    assert narrow['img'].shape == (7, 9, 3)
    assert narrow['gt'].shape == (14, 18, 3)
    whole = PairedCenterCrop()({'img': img, 'gt': gt, 'scale': 2})
    assert whole['gt'] is gt


def test_idle_workers_take_the_next_task():
    """While one is held up, the others do the rest, each task once."""
    store = TCPStore('127.0.0.1', 0, is_master=True, wait_for_workers=False)
    held_up, done_by = threading.Event(), {}

    def work(name):
        client = TCPStore('127.0.0.1', store.port, wait_for_workers=False)
        queue = WorkQueue(client)
        while queue.wait_for_batch():
            while (taken := queue.take()) is not None:
                index, task = taken
                if task == 'slow':
                    assert held_up.wait(30)
                done_by.setdefault((index, task), []).append(name)
                queue.deliver(index, f'{task} by {name}')

    workers = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for worker in workers:
        worker.start()
    queue = WorkQueue(store)
    tasks = ['slow', *'abcdefgh']
    queue.publish(tasks)
    results = {}
    while len(results) < 8:
        results.update(queue.arrived())
    assert 0 not in results
    held_up.set()
    results.update(queue.wait_for_all())
    queue.publish(['last'])
    assert [index for index, _ in queue.wait_for_all()] == [0]
    queue.close()
    for worker in workers:
        worker.join(30)
        assert not worker.is_alive()
    assert sorted(results) == list(range(9))
    assert all(len(names) == 1 for names in done_by.values()), 'done twice'
    slow = done_by[0, 'slow'][0]
    others = {names[0] for (_, task), names in done_by.items() if task in 'abcdefgh'}
    assert slow not in others
