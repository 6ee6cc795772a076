"""Training that is killed and resumed, in a short form of the benchmark's ten kills."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sr_plugins.preparation import prepare_div2k

SCRIPT = Path(__file__).resolve().parents[2] / 'benchmarks' / 'kill_and_resume.py'


@pytest.fixture(scope='module')
def benchmark():
    spec = importlib.util.spec_from_file_location('kill_and_resume', SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def data_root(tmp_path):
    """Blurred noise, which a network can learn to enlarge a little."""
    generator = np.random.default_rng(0)
    for part, count in (('train', 3), ('valid', 1)):
        for i in range(count):
            small = generator.integers(0, 256, (12, 12, 3), dtype=np.uint8)
            path = tmp_path / 'photos' / part / f'{i}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(small).resize((64, 64), Image.BICUBIC).save(path)
    prepare_div2k(
        tmp_path / 'photos' / 'train',
        tmp_path / 'data',
        valid_hr=tmp_path / 'photos' / 'valid',
        scales=(2,),
    )
    return tmp_path / 'data'


def test_two_kills_leave_no_trace(benchmark, data_root, tmp_path):
    outcome = benchmark.run(
        kills=2,
        seed=0,
        folder=tmp_path / 'work',
        data_root=data_root,
        iterations=25,
    )
    assert outcome.differences == []
    assert len(outcome.kills) == 2
    # The comparison above was of a training that did go on in the middle.
    assert outcome.kills[-1].resumed_from > 0


def test_differences_are_noticed(benchmark):
    a = {'w': torch.tensor([1.0, 2.0]), 'steps': [1, 2], 'lr': 0.1}
    b = {'w': torch.tensor([1.0, 2.0 + 2e-7]), 'steps': [1, 3], 'lr': 0.1}
    found = list(benchmark.differences(a, b, 'c'))
    assert sorted(found) == ['c.steps.1 is 3, not 2', 'c.w differs']
    assert not list(benchmark.differences(a, {**a, 'w': a['w'].clone()}, 'c'))


def test_a_changed_loss_is_noticed(benchmark, tmp_path):
    for name, lines in {
        'whole': ['{"loss": 0.5, "time": 1.0, "step": 1}', '{"loss": 0.4, "step": 2}'],
        'killed': ['{"loss": 0.5, "time": 3.0, "step": 1}', '{"loss": 0.41, "st'],
        'changed': ['{"loss": 0.25, "step": 1}', '{"loss": 0.4, "step": 2}'],
    }.items():
        path = tmp_path / name / '20260101_000000' / 'vis_data' / 'scalars.json'
        path.parent.mkdir(parents=True)
        path.write_text('\n'.join(lines))
    whole, killed, changed = (tmp_path / n for n in ('whole', 'killed', 'changed'))
    assert benchmark.compare_logs(whole, whole) == []
    # `step` is a logged number too.
    assert benchmark.compare_logs(whole, killed) == [
        'iteration 2: no loss',
        'iteration 2: no step',
    ]
    assert benchmark.compare_logs(whole, changed) == ['iteration 1: loss 0.25, not 0.5']
