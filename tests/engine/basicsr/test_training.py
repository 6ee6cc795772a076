"""Training by BasicSR's pipeline: every recipe, stops of all kinds, wrong data."""

import shutil

import numpy as np
import pytest
import torch
from basicsr.models.sr_model import SRModel
from engine.states import assert_same
from PIL import Image

from sr_plugins.archs import EDSR
from sr_plugins.fileio import torch_save

FAMILIES = {
    'edsr_baseline_x3.yml': {},
    'mdsr_baseline_x3.yml': {},
    'csnln_x2.yml': {'network_g.num_blocks': None, 'network_g.num_recurrences': 2},
    'esrn_x3.yml': {
        'network_g.num_blocks': None,
        'network_g.mid_channels': 16,
        'network_g.architecture': 'G_2_8_16 S_2_8_16',
    },
    'usn_x4.yml': {},
    'car_x2.yml': {
        'network_g.mid_channels': None,
        'network_g.num_blocks': None,
        'network_g.downscaler': {'mid_channels': 8, 'num_blocks': 1},
        'network_g.upscaler': {'mid_channels': 8, 'num_blocks': 1},
        'datasets.train.lr_patch_size': 16,
    },
}

# A rate of nothing: weights stay what they are.
STILL = {'train.optim_g.lr': 0.0, 'train.scheduler.eta_min': 0.0}


def log_of(folder):
    return ''.join(path.read_text() for path in sorted(folder.glob('train_*.log')))


def contents(folder, step):
    network = torch.load(folder / f'models/net_g_{step}.pth', weights_only=True)
    state = folder / 'training_states' / f'{step}.state'
    return network, torch.load(state, weights_only=False)


@pytest.mark.parametrize('name', FAMILIES)
def test_every_recipe_trains(train, name):
    """On sides that the scale does not divide, which BasicSR itself refuses."""
    folder = train({'train.total_iter': 2, **FAMILIES[name]}, name=name)
    log = log_of(folder)
    assert 'iter:       2' in log
    losses = [float(line.split()[0]) for line in log.split('l_pix: ')[1:]]
    assert len(losses) == 2
    assert all(0 < loss < 1 for loss in losses)
    assert '# edsr_y/PSNR: ' in log
    network, state = contents(folder, 2)
    assert set(network) == {'params', 'params_ema'}
    assert state['iter'] == 2
    if 'car' in name:
        assert 'l_offset: ' in log
        assert 'l_tv: ' in log


class Stop(Exception):
    pass


def stop_at(monkeypatch, iteration, error=Stop):
    stock = SRModel.optimize_parameters

    def optimize(self, current_iter):
        if current_iter == iteration:
            raise error
        stock(self, current_iter)

    monkeypatch.setattr(SRModel, 'optimize_parameters', optimize)


def test_resumed_equals_uninterrupted(train, trained, monkeypatch):
    """Four images make two batches an epoch; six iterations, stopped in the sixth."""
    whole = trained
    options = {'logger.save_checkpoint_freq': 1}
    with monkeypatch.context() as patch:
        stop_at(patch, 6)
        with pytest.raises(Stop):
            train(options, work_dir='stopped')
    # In the middle of an epoch.
    stopped = train(work_dir='stopped', resume=True)
    assert 'Resuming training from epoch: 2, iter: 5.' in log_of(stopped)
    for expected, found in zip(contents(whole, 6), contents(stopped, 6), strict=True):
        assert_same(expected, found)
    network, _ = contents(whole, 6)
    assert not torch.equal(
        network['params']['conv_last.weight'], network['params_ema']['conv_last.weight']
    )


def test_curves_for_tensorboard(trained):
    assert list(trained.glob('tb_logger/demo_edsr_x2/events.out.tfevents.*'))


def test_samples_do_not_depend_on_loader_processes(train, trained):
    folder = train({'datasets.train.num_worker_per_gpu': 2})
    assert_same(contents(trained, 6)[0], contents(folder, 6)[0])


def test_stores_give_the_same_samples(train, trained, tiny_stores):
    options = {'datasets.train.type': 'DIV2KLMDBDataset'}
    folder = train(options, data_root=str(tiny_stores))
    assert_same(contents(trained, 6)[0], contents(folder, 6)[0])


def test_crops_differ_from_epoch_to_epoch(train):
    """BasicSR's seed of a loader process would give each the same again."""
    folder = train({'datasets.train.batch_size_per_gpu': 4, 'train.total_iter': 3})
    losses = [line.split()[0] for line in log_of(folder).split('l_pix: ')[1:]]
    assert len(set(losses)) == 3


def test_a_run_reaches_its_end(train):
    """Four images and batches of three: BasicSR would stop after three iterations."""
    options = {'datasets.train.batch_size_per_gpu': 3, 'train.total_iter': 5}
    folder = train({**options, 'val.val_freq': 5})
    assert log_of(folder).count('l_pix: ') == 5
    assert 'Best: nan' not in log_of(folder)
    assert '@ 5 iter' in log_of(folder)
    assert '@ 6 iter' not in log_of(folder)


@pytest.fixture
def copied(trained, tmp_path):
    """A training to spoil, where `train` goes on with it."""
    return shutil.copytree(trained, tmp_path / 'run')


def test_resume_at_the_end(train, copied):
    before, _ = contents(copied, 6)
    train(resume=True)
    after = torch.load(copied / 'models/net_g_latest.pth', weights_only=True)
    assert_same(before, after)


@pytest.mark.parametrize('torn', ['models/net_g_6.pth', 'training_states/6.state'])
def test_damaged_files_are_passed_over(train, trained, copied, torn):
    content = (copied / torn).read_bytes()
    (copied / torn).write_bytes(content[: len(content) // 2])
    train(resume=True)
    assert 'Resuming training from epoch: 2, iter: 4.' in log_of(copied)
    for expected, found in zip(contents(trained, 6), contents(copied, 6), strict=True):
        assert_same(expected, found)


def test_resume_from_a_file(train, trained):
    """Into another folder."""
    folder = train(resume=str(trained / 'training_states' / '4.state'))
    assert_same(contents(trained, 6)[0], contents(folder, 6)[0])
    assert 'iter: 4.' in log_of(folder)


def test_resume_as_basicsr_has_it(train, trained, tmp_path):
    """From a state that the options name; to start from weights is another thing."""
    state = {'path.resume_state': str(trained / 'training_states' / '4.state')}
    folder = train(state)
    assert_same(contents(trained, 6)[0], contents(folder, 6)[0])
    assert 'iter: 4.' in log_of(folder)
    weights = str(trained / 'models' / 'net_g_6.pth')
    folder = train(state | {'train.total_iter': 1}, 'new', init_from=weights)
    assert 'Start training from epoch: 0, iter: 0' in log_of(folder)
    assert 'taken (sr_plugins' in log_of(folder)


def test_a_schedule_that_ends_early(train, copied):
    """That of the state counts."""
    longer = {'train.total_iter': 2000, 'train.scheduler.periods': [2000]}
    with pytest.raises(ValueError, match='resume ends after 1000'):
        train(longer, resume=True)


def test_nothing_to_resume_from(train, copied, tmp_path):
    with pytest.raises(FileNotFoundError, match=r'find N\.state in .*Start without'):
        train(resume=True, work_dir='empty')
    weights = tmp_path / 'w.pth'
    torch_save(EDSR(2, mid_channels=8, num_blocks=2).state_dict(), weights)
    with pytest.raises(ValueError, match=r'has no epoch.*--init-from '):
        train(resume=str(weights))
    shutil.rmtree(copied / 'models')
    with pytest.raises(FileNotFoundError, match=r'Expected net_g_6\.pth'):
        train(resume=str(copied / 'training_states' / '6.state'))
    with pytest.raises(FileNotFoundError, match=r'damaged files \(6\.state, 4\.state'):
        train(resume=True)


def test_a_new_run_sets_the_earlier_one_aside(train, copied):
    folder = copied
    (folder / 'models' / '.net_g_6.pth.abcdefgh.tmp').write_bytes(b'left by a kill')
    train({'train.total_iter': 2})
    (earlier,) = folder.glob('earlier_*')
    assert (earlier / 'training_states' / '6.state').is_file()
    assert {p.name for p in (folder / 'models').iterdir()} == {
        'net_g_2.pth',
        'net_g_latest.pth',
    }
    assert 'now in earlier_' in log_of(folder)
    # A call that fails before it trains moves nothing.
    with pytest.raises(FileNotFoundError):
        train(data_root=str(folder))
    assert (folder / 'models' / 'net_g_2.pth').is_file()


def test_interrupt_before_a_state_is_saved(train, monkeypatch, capfd):
    """What comes after is in test_commands.py."""
    stop_at(monkeypatch, 1, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        train()
    assert 'nothing to resume from' in capfd.readouterr().err


def test_warm_start_takes_what_fits(train, tmp_path):
    """Of an x3 network under published names, all but the upsampler."""
    torch.manual_seed(1)
    x3 = EDSR(3, mid_channels=8, num_blocks=2)
    torch_save(x3.state_dict(), tmp_path / 'x3.pth')
    folder = train(
        {'train.total_iter': 2, **STILL},
        init_from=str(tmp_path / 'x3.pth'),
    )
    network, _ = contents(folder, 2)
    for name, value in x3.state_dict().items():
        taken = torch.equal(network['params'][name], value)
        assert taken == ('upsample' not in name)
    assert_same(network['params'], network['params_ema'])


def test_warm_start_of_which_nothing_fits(train, tmp_path):
    """BasicSR would log the names, and start from scratch."""
    network = {'_delete_': True, 'type': 'EDSR', 'num_in_ch': 3, 'num_out_ch': 3}
    theirs = {
        'network_g': network,
        'network_g.mid_channels': None,
        'network_g.num_blocks': None,
    }
    torch_save({'x': torch.ones(1)}, tmp_path / 'x.pth')
    with pytest.raises(ValueError, match="under BasicSR's names, but not one is"):
        train(theirs, init_from=str(tmp_path / 'x.pth'))


def test_options_are_kept_beside_the_results(train):
    folder = train({'train.total_iter': 2})
    again = train(
        {'train.total_iter': 2}, work_dir='again', config=folder / 'demo_edsr_x2.yml'
    )
    assert_same(contents(folder, 2)[0], contents(again, 2)[0])


@pytest.fixture
def broken(tiny_data, tmp_path):
    """A copy of the training data and the HR image to spoil."""
    root = tmp_path / 'broken'
    shutil.copytree(tiny_data / 'DIV2K', root / 'DIV2K')
    return root, root / 'DIV2K/DIV2K_train_HR/0002.png'


def test_grey_images_count_as_colour(train, broken):
    root, image = broken
    Image.open(image).convert('L').save(image)
    folder = train({'train.total_iter': 2}, data_root=str(root))
    assert log_of(folder).count('l_pix: ') == 2


@pytest.mark.parametrize('workers', [0, 1])
def test_an_image_that_is_none(train, broken, workers):
    root, image = broken
    image.write_bytes(image.read_bytes()[:60])
    with pytest.raises(ValueError, match=r'(?s)Expected an image.*0002\.png'):
        train({'datasets.train.num_worker_per_gpu': workers}, data_root=str(root))


def test_images_of_wrong_sizes(train, broken):
    root, image = broken
    with pytest.raises(ValueError, match=r'at least `gt_size` pixels.*96 x 100 for 98'):
        train({'datasets.train.lr_patch_size': 49}, data_root=str(root))
    small = Image.fromarray(np.zeros((60, 60, 3), np.uint8))
    small.save(image)
    with pytest.raises(ValueError, match=r'1 / 2 of the HR image.*48 x 50 for 60 x 60'):
        train(data_root=str(root))


def test_validation_images_of_wrong_sizes(train, broken):
    root, _ = broken
    image = root / 'DIV2K/DIV2K_valid_HR/0802.png'
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(image)
    with pytest.raises(
        ValueError, match=r'(?s)2 times as large.*\(40, 40\).*0802\.png'
    ):
        train(data_root=str(root))


def test_missing_data(train, broken, tmp_path):
    root, _ = broken
    with pytest.raises(FileNotFoundError, match=r'Expected a folder .*nowhere/DIV2K'):
        train(data_root=str(tmp_path / 'nowhere'))
    (root / 'DIV2K/DIV2K_train_LR_bicubic/X2/0002x2.png').unlink()
    with pytest.raises(FileNotFoundError, match=r'0002\.png \(no 0002x2\.png\)'):
        train(data_root=str(root))


def test_a_batch_that_the_images_do_not_fill(train):
    with pytest.raises(ValueError, match='but got 4 for each process and batches of 5'):
        train({'datasets.train.batch_size_per_gpu': 5})
