"""Training in a real Runner: what is written, averaged, kept, logged and resumed."""

import json
import re
import shutil
from pathlib import Path

import cv2
import pytest
import torch
import torch._dynamo
from engine.states import assert_same
from mmengine.hooks import Hook

from sr_plugins.archs import EDSR
from sr_plugins.engine import build_runner
from sr_plugins.engine.hooks.learning_curve_hook import read_scalars


def load(path):
    return torch.load(path, weights_only=True)


def test_everything_that_a_run_leaves(train, tmp_path):
    runner = train()
    folder = tmp_path / 'run'
    assert {p.name for p in folder.glob('*.pth')} == {
        'best.pth',
        'iter_2.pth',
        'iter_4.pth',
        'iter_6.pth',
    }
    assert (folder / 'last_checkpoint').read_text().endswith('iter_6.pth')
    assert not list(folder.rglob('*.tmp'))

    curve = cv2.imread(str(folder / 'learning_curve.png'))
    assert curve.shape[1] > 3 * curve.shape[0] / 1.5, 'three panels in a row'

    log = next(folder.glob('*/*.log')).read_text()
    line = next(x for x in log.splitlines() if 'Iter(train) [5/6]' in x)
    assert all(word in line for word in ('eta:', 'memory:', 'loss:', 'lr:'))

    scalars = read_scalars(folder)
    assert list(scalars['loss']) == [1, 2, 3, 4, 5, 6]
    assert list(scalars['edsr_y/PSNR']) == [3, 6]

    events = list(folder.rglob('events.out.tfevents*'))
    assert len(events) == 1
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(events[0])).Reload()
    logged = [event.value for event in board.Scalars('loss')]
    assert logged == pytest.approx(list(scalars['loss'].values()), rel=1e-6)

    pictures = sorted(folder.rglob('vis_image/*.png'))
    assert [p.name for p in pictures] == [
        '0801_3.png',
        '0801_6.png',
        '0802_3.png',
        '0802_6.png',
    ]
    picture = cv2.imread(str(pictures[0]))
    assert picture.shape == (52, 31 + 62 + 62, 3), 'LR, output and HR side by side'
    assert runner.message_hub.get_info('best_score') > 0


def test_visualised_colours(train, tiny_data, tmp_path):
    """The HR image in the picture has the colours of its file."""
    train({'train_cfg.max_iters': 3})
    picture = cv2.imread(str(next((tmp_path / 'run').rglob('0801_3.png'))))
    original = cv2.imread(str(tiny_data / 'DIV2K/DIV2K_valid_HR/0801.png'))
    assert (picture[:, 31 + 62 :] == original[:52, :62]).all()


@pytest.mark.parametrize('compiled', [False, True])
def test_ema_moves_and_is_what_is_saved(train, tmp_path, compiled, monkeypatch):
    """With `--compile` too: the averaged weights follow the trained ones."""
    if compiled and not shutil.which('c++') and not shutil.which('g++'):
        pytest.skip('torch.compile on the CPU needs a C++ compiler')
    if compiled and ' ' in torch.__file__:
        pytest.skip("torch.compile fails where torch's own path has a space")
    torch._dynamo.reset()
    graphs = torch._dynamo.utils.counters['stats']
    graphs.clear()
    runner = train({'train_cfg.max_iters': 4}, compile_network=compiled)
    # One for training; validation images do not make more.
    assert graphs['unique_graphs'] == int(compiled)
    checkpoint = load(tmp_path / 'run' / 'iter_4.pth')
    key = 'generator.conv_last.weight'
    average = checkpoint['state_dict'][key]
    trained = checkpoint['ema_state_dict'][f'module.{key}']
    assert torch.equal(trained, runner.model.state_dict()[key])
    first = load(tmp_path / 'run' / 'iter_2.pth')['state_dict'][key]
    assert not torch.equal(average, first), 'the average has not moved'
    assert not torch.equal(average, trained), 'the average is no average'
    assert set(checkpoint['state_dict']) == {
        k for k in runner.model.state_dict() if k.startswith('generator.')
    }


def test_average_follows_its_formula(train, tmp_path):
    """Momentum max(0.001, 100 / (100 + step)) per step, worked out by hand."""
    train({'train_cfg.max_iters': 3, 'default_hooks.checkpoint.interval': 1})
    key = 'generator.conv_last.bias'
    trained = []
    for step in (1, 2, 3):
        checkpoint = load(tmp_path / 'run' / f'iter_{step}.pth')
        trained.append(checkpoint['ema_state_dict'][f'module.{key}'].double())
    average = trained[0]
    for step, weights in enumerate(trained[1:], start=1):
        momentum = max(0.001, 100 / (100 + step))
        average = average * (1 - momentum) + weights * momentum
    final = load(tmp_path / 'run' / 'iter_3.pth')['state_dict'][key].double()
    torch.testing.assert_close(final, average, rtol=1e-5, atol=1e-8)


def test_bfloat16_on_the_cpu(train):
    runner = train(amp='bf16')
    assert type(runner.optim_wrapper).__name__ == 'BFloat16OptimWrapper'
    assert not hasattr(runner.optim_wrapper, 'loss_scaler')
    losses = runner.message_hub.get_scalar('train/loss').data[0]
    assert all(0 < loss < 1 for loss in losses)
    assert runner.model.generator.conv_last.weight.dtype == torch.float32


def test_bfloat16_computes_in_bfloat16(train):
    seen = []

    class Spy(torch.nn.Conv2d):
        def forward(self, x):
            y = super().forward(x)
            seen.append(y.dtype)
            return y

    import sr_plugins.archs.edsr as module

    original, module.nn.Conv2d = module.nn.Conv2d, Spy
    try:
        train({'train_cfg.max_iters': 1}, amp='bf16')
    finally:
        module.nn.Conv2d = original
    assert torch.bfloat16 in seen


class _Stop(Hook):
    """Ends the process's training as Ctrl-C does, before one iteration."""

    def __init__(self, iteration):
        self.iteration = iteration

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.iteration:
            raise KeyboardInterrupt


def test_resumed_run_equals_an_uninterrupted_one(train, tiny_config, tmp_path):
    """With loader processes, after Ctrl-C between two checkpoints."""
    workers = {'train_dataloader.num_workers': 2}
    train(workers, work_dir='whole')
    runner = build_runner(tiny_config(workers, work_dir='parts'))
    runner.register_hook(_Stop(3))
    with pytest.raises(KeyboardInterrupt):
        runner.train()
    assert (tmp_path / 'parts' / 'last_checkpoint').read_text().endswith('iter_2.pth')
    train(workers, work_dir='parts', resume=True)
    whole, parts = (read_scalars(tmp_path / name) for name in ('whole', 'parts'))
    for name in ('loss', 'lr', 'edsr_y/PSNR', 'rgb/SSIM'):
        assert whole[name] == parts[name], name
    for part in ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers'):
        assert_same(
            load(tmp_path / 'whole' / 'iter_6.pth')[part],
            load(tmp_path / 'parts' / 'iter_6.pth')[part],
        )


def test_best_is_the_best(train, tmp_path):
    """`best.pth` holds the weights of the validation with the highest score."""
    train(
        {
            'train_cfg.val_interval': 1,
            'default_hooks.checkpoint.interval': 1,
            'default_hooks.checkpoint.max_keep_ckpts': -1,
        }
    )
    folder = tmp_path / 'run'
    scores = read_scalars(folder)['edsr_y/PSNR']
    step = max(scores, key=scores.get)
    best = load(folder / 'best.pth')
    assert best['meta']['iter'] == step
    assert 'optimizer' not in best
    key = 'generator.conv_first.weight'
    same = load(folder / f'iter_{step}.pth')['state_dict'][key]
    assert torch.equal(best['state_dict'][key], same)


def test_score_is_saved_with_the_checkpoint_of_its_step(train, tmp_path):
    """A run resumed at a validated step knows that step's score."""
    train({'default_hooks.checkpoint.interval': 3})
    best = read_scalars(tmp_path / 'run')['edsr_y/PSNR']
    for step in (3, 6):
        hub = load(tmp_path / 'run' / f'iter_{step}.pth')['message_hub']
        expected = max(score for s, score in best.items() if s <= step)
        assert json.dumps(hub['runtime_info']['best_score']) == json.dumps(expected)


def test_only_so_many_checkpoints_are_kept(train, tmp_path):
    train(
        {
            'default_hooks.checkpoint.interval': 1,
            'default_hooks.checkpoint.max_keep_ckpts': 2,
        }
    )
    names = {p.name for p in (tmp_path / 'run').glob('iter_*.pth')}
    assert names == {'iter_5.pth', 'iter_6.pth'}


def test_one_checkpoint_is_not_enough(tiny_config):
    cfg = tiny_config({'default_hooks.checkpoint.max_keep_ckpts': 1})
    with pytest.raises(ValueError, match=r'at least 2.*but got 1'):
        build_runner(cfg)


def test_unknown_metric_for_the_best(train):
    with pytest.raises(ValueError, match=r'one of edsr_y/PSNR, .*but got PSNR'):
        train({'default_hooks.checkpoint.save_best': 'PSNR'})


def test_another_sampler_cannot_resume(train, tmp_path):
    options = {
        'train_dataloader.sampler': {'type': 'InfiniteSampler', '_delete_': True}
    }
    train({**options, 'train_cfg.max_iters': 3})
    with pytest.raises(TypeError, match='ResumableSampler, but got InfiniteSampler'):
        train(options, resume=True)


def test_work_dir_says_what_ran(train, tmp_path):
    train({'train_cfg.max_iters': 3})
    saved = Path(tmp_path / 'run' / 'demo_edsr_x2.py').read_text()
    assert 'max_iters=3' in saved


def test_histories_stay_short(train, monkeypatch):
    monkeypatch.setattr('sr_plugins.engine.log_processor._HISTORY', 4)
    hub = train().message_hub
    assert len(hub.get_scalar('train/loss').data[0]) == 4
    assert hub.get_scalar('train/loss').data[1].sum() == 4


def test_resuming_removes_what_killed_saves_left(train, tmp_path):
    train({'train_cfg.max_iters': 3})
    leftover = tmp_path / 'run' / '.iter_4.pth.abcd1234.tmp'
    leftover.touch()
    train(resume=True)
    assert not leftover.exists()


def test_no_checkpoint_is_lost_when_the_interval_changes(train, tmp_path):
    """From iteration 4 on it is validated every 2 iterations rather than every 3."""
    train(
        {
            'train_cfg.dynamic_intervals': [(4, 2)],
            'train_cfg.max_iters': 8,
            'default_hooks.checkpoint.interval': 1,
            'default_hooks.checkpoint.max_keep_ckpts': -1,
        }
    )
    steps = {int(p.stem[5:]) for p in (tmp_path / 'run').glob('iter_*.pth')}
    assert steps == set(range(1, 9))


def test_new_training_in_the_same_folder(train, tmp_path):
    """The old one's checkpoints are kept aside, its curve ends."""
    train({'train_cfg.max_iters': 6})
    train({'train_cfg.max_iters': 4}, seed=1)
    folder = tmp_path / 'run'
    assert {p.name for p in folder.glob('iter_*.pth')} == {'iter_2.pth', 'iter_4.pth'}
    (earlier,) = folder.glob('earlier_*')
    assert (earlier / 'iter_6.pth').exists()
    assert list(read_scalars(folder)['loss']) == [1, 2, 3, 4]


def test_a_call_that_fails_moves_nothing(train, tmp_path):
    train({'train_cfg.max_iters': 3})
    before = sorted((tmp_path / 'run').glob('*.pth'))
    with pytest.raises(FileNotFoundError):
        train({'train_dataloader.dataset.hr': 'nowhere'})
    assert sorted((tmp_path / 'run').glob('*.pth')) == before


def test_best_of_another_folder_is_no_measure(train, tmp_path):
    train({'train_cfg.max_iters': 3}, work_dir='first')
    checkpoint = tmp_path / 'first' / 'iter_2.pth'
    content = load(checkpoint)
    content['message_hub']['runtime_info']['best_score'] = 99.0
    torch.save(content, checkpoint)
    train(work_dir='second', resume=str(checkpoint))
    assert (tmp_path / 'second' / 'best.pth').exists()


def test_load_from_takes_any_dialect(train, tmp_path):
    """Published names and range; the first step starts from those weights."""
    source = build_published(tmp_path / 'published.pt')
    options = {
        'load_from': str(tmp_path / 'published.pt'),
        'optim_wrapper.optimizer.lr': 0.0,
        'train_cfg.max_iters': 1,
    }
    runner = train(options)
    weights = runner.model.generator.state_dict()
    for key, value in source.state_dict().items():
        torch.testing.assert_close(weights[key], value)


def build_published(path):
    """A tiny EDSR for [0, 255] under the published names; gives it in our form."""
    torch.manual_seed(9)
    network = EDSR(2, mid_channels=8, num_blocks=2)
    state = {}
    for key, value in network.state_dict().items():
        key = re.sub(r'body\.(\d+)\.conv(\d)', _published_block, key)
        key = key.replace('conv_after_body', 'body.2').replace('conv_first', 'head.0')
        key = key.replace('upsample.0.upsample_conv', 'tail.0.0')
        key = key.replace('conv_last', 'tail.1')
        factor = {'head.0.weight': 1 / 255, 'tail.1.weight': 255, 'tail.1.bias': 255}
        state[key] = value * factor.get(key, 1)
    mean = 255 * torch.tensor([0.4488, 0.4371, 0.4040])
    state |= {'sub_mean.bias': -mean, 'add_mean.bias': mean}
    torch.save(state, path)
    return network


def _published_block(match):
    return f'body.{match[1]}.body.{0 if match[2] == "1" else 2}'
