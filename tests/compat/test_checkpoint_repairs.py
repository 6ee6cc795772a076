"""Saving, reading and resuming in a real Runner, each run a process of its own."""

import json
from pathlib import Path

import pytest
import torch

from sr_plugins import fileio

TINY = Path(__file__).with_name('tiny_runner.py')


@pytest.fixture
def train(python):
    def run(work_dir, *options):
        code = 'import runpy, sys; sys.argv = sys.argv[1:]\n'
        code += 'runpy.run_path(sys.argv[0], run_name="__main__")'
        return python(code, TINY, work_dir, *options)

    return run


def state(work_dir, rank=0):
    return json.loads((work_dir / f'state_{rank}.json').read_text())


def test_saved_files_load_in_a_stock_torch_and_resume(train, tmp_path):
    result = train(tmp_path, '--epochs', 2)
    assert result.returncode == 0, result.stderr
    saved = state(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert 'epoch_2.pth' in names
    assert 'epoch_1.pth' not in names
    assert not [name for name in names if name.endswith('.tmp')]
    last = tmp_path / 'epoch_2.pth'
    assert (tmp_path / 'last_checkpoint').read_text() == str(last)

    # No unpickler but torch's strictest one, and no mmengine.
    checkpoint = torch.load(last, weights_only=True)
    assert checkpoint['meta']['dataset_meta']['mean'] == 0.5
    loss = checkpoint['message_hub']['log_scalars']['train/loss']
    assert loss['log']['values'] == saved['history']['train/loss'][0]

    # The file cannot be written: the one before and its name must survive.
    failed = train(tmp_path, '--resume', '--epochs', 3, '--fail-saving')
    assert 'no space left' in failed.stderr
    assert last.exists()
    assert (tmp_path / 'last_checkpoint').read_text() == str(last)

    result = train(tmp_path, '--resume', '--epochs', 3)
    assert result.returncode == 0, result.stderr
    after = state(tmp_path)
    assert saved['history']['train/loss'][0]
    assert after['resumed'] == saved['history']
    assert len(after['history']['train/loss'][0]) == 6
    assert not last.exists()
    assert (tmp_path / 'epoch_3.pth').exists()

    # A run that was never interrupted ends with the same weights.
    whole = train(tmp_path / 'whole', '--epochs', 3)
    assert whole.returncode == 0, whole.stderr
    assert state(tmp_path / 'whole')['weight'] == after['weight']
    assert state(tmp_path / 'whole')['history'] == after['history']


def test_stock_checkpoints_are_read(train, passes, tmp_path):
    result = train(tmp_path, '--stock', '--epochs', 2)
    assert result.returncode == 0, result.stderr
    saved = state(tmp_path)
    checkpoint = fileio.torch_load(tmp_path / 'epoch_2.pth')
    loss = checkpoint['message_hub']['log_scalars']['train/loss']
    assert type(loss).__name__ == 'HistoryBuffer'
    assert loss.data[0].tolist() == saved['history']['train/loss'][0]
    # The symptom; torch before 2.6 does not show it.
    if torch.torch_version.TorchVersion(torch.__version__) >= (2, 6):
        stock = train(tmp_path, '--stock', '--resume', '--epochs', 3)
        assert 'Weights only load failed' in stock.stderr

    result = train(tmp_path, '--resume', '--epochs', 3)
    assert result.returncode == 0, result.stderr
    after = state(tmp_path)
    assert after['resumed'] == saved['history']

    # Without the repairs our file still gives its weights.
    passes(
        """
        import sys
        from mmengine.runner.checkpoint import _load_checkpoint
        weights = _load_checkpoint(sys.argv[1])['state_dict']
        assert set(weights) == {'layer.weight', 'layer.bias'}
        """,
        tmp_path / 'epoch_3.pth',
    )


def test_repairs_that_come_late_and_other_schemes(passes, tmp_path):
    passes(
        """
        import os, pickle, sys, torch
        import mmengine.hooks, mmengine.runner
        from mmengine.runner import runner
        stock = runner.save_checkpoint
        import sr_plugins.compat
        from mmengine.runner import checkpoint, save_checkpoint
        assert runner.save_checkpoint is checkpoint.save_checkpoint
        assert runner.save_checkpoint is save_checkpoint
        assert save_checkpoint is not stock

        folder = sys.argv[1]
        path = os.path.join(folder, 'model.pth')
        data = {'state_dict': {'w': torch.ones(2)}}
        save_checkpoint(data, path)
        assert (checkpoint._load_checkpoint(path)['state_dict']['w'] == 1).all()

        # A download lands in the cache, is read once more from there, and is read
        # by the same strict reader.
        url = 'file://' + path
        cache = os.path.join(folder, 'cache')
        os.environ['TORCH_HOME'] = cache
        load = checkpoint.load_from_http
        assert (load(url)['state_dict']['w'] == 1).all()
        os.rename(path, path + '.gone')
        assert (load(url)['state_dict']['w'] == 1).all()

        class Evil:
            def __reduce__(self):
                return os.mkdir, (os.path.join(folder, 'owned'),)

        evil = os.path.join(folder, 'evil.pth')
        torch.save({'state_dict': Evil()}, evil)
        local = checkpoint._load_checkpoint
        for load, name in ((local, evil), (load, 'file://' + evil)):
            try:
                load(name)
            except ValueError as error:
                assert 'os.mkdir' in str(error) and 'evil.pth' in str(error)
            else:
                raise AssertionError(name)
        assert not os.path.exists(os.path.join(folder, 'owned'))

        # Other backends get the very call they always got.
        calls = []
        from mmengine.fileio import BaseStorageBackend, FileClient
        from mmengine.fileio import register_backend
        @register_backend('memory', prefixes='memory')
        class Memory(BaseStorageBackend):
            def get(self, path): return calls[-1]
            def get_text(self, path): raise NotImplementedError
            def put(self, data, path): calls.append(data)
        FileClient.register_backend('memory', Memory, prefixes='memory')
        save_checkpoint(data, 'memory://x.pth')
        assert len(calls) == 1
        """,
        tmp_path,
    )


def test_values_that_cannot_be_resumed_are_told_when_saving(passes, tmp_path):
    out = passes(
        """
        import datetime, sys
        import sr_plugins.compat
        from mmengine.logging import MMLogger
        from mmengine.runner import save_checkpoint
        logger = MMLogger.get_instance('tiny')
        save_checkpoint({'meta': {'when': datetime.date(2020, 1, 1)}}, sys.argv[1])
        """,
        tmp_path / 'a.pth',
    )
    assert 'datetime.date' in out
    assert 'cannot be resumed' in out


def test_values_survive_packing():
    from sr_plugins.compat._checkpoint_values import pack, unpack

    import numpy as np
    from mmengine.logging import HistoryBuffer

    buffer = HistoryBuffer([1.5, float('nan'), 3.0], [1, 2, 1], max_length=7)
    arrays = [np.arange(6, dtype='>i2').reshape(2, 3), np.array(['a', 'bc'])]
    arrays += [np.array(2.5), np.zeros((0, 3), bool), np.array([1 + 2j])]
    checkpoint = {
        'message_hub': {'log_scalars': {'loss': buffer}},
        'meta': {'arrays': (*arrays,), 'number': np.float32(0.5), 'set': {1}},
        'state_dict': {'w': torch.ones(1)},
    }
    packed = pack(checkpoint)
    assert checkpoint['message_hub']['log_scalars']['loss'] is buffer
    again = unpack(packed)
    loss = again['message_hub']['log_scalars']['loss']
    assert loss.max_length == 7
    np.testing.assert_array_equal(loss.data[0], buffer.data[0])
    np.testing.assert_array_equal(loss.data[1], buffer.data[1])
    assert loss.data[1].dtype == buffer.data[1].dtype
    for got, expected in zip(again['meta']['arrays'], arrays, strict=True):
        assert got.dtype == expected.dtype
        np.testing.assert_array_equal(got, expected)
    assert again['meta']['number'] == 0.5
    assert again['meta']['set'] == {1}
    assert again['state_dict'] is checkpoint['state_dict']
    assert loss.mean() is not None
    with pytest.raises(ValueError, match='version that saved it'):
        unpack({'meta': {'__sr_plugins__': 'unheard of'}})
