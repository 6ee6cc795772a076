"""Files are whole or old, and loading one never runs it."""

import collections
import io
import os
import pickle
import re
import signal
import stat
import subprocess
import sys
import tarfile
import textwrap

import numpy as np
import pytest
import torch

from sr_plugins import fileio

FORMATS = pytest.mark.parametrize('zipped', [True, False], ids=['zip', 'legacy'])


def buffer_of(value, zipped=True, **options):
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=zipped, **options)
    buffer.seek(0)
    return buffer


class Calls:
    """Pickles as a call of `function(*args)`."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


@FORMATS
@pytest.mark.parametrize('protocol', [2, 5])
def test_what_checkpoints_hold_is_read(zipped, protocol):
    parameter = torch.nn.Parameter(torch.arange(3.0))
    parameter.note = 'an attribute'
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [1, 2])
    saved = {
        'view': torch.arange(6).view(2, 3).t(),
        'half': torch.ones(2, dtype=torch.bfloat16),
        'int8': torch.quantize_per_tensor(torch.arange(3.0), 0.1, 0, torch.qint8),
        'sparse': torch.eye(2).to_sparse(),
        'parameter': parameter,
        'model': model.state_dict(),
        'optimizer': optimizer.state_dict(),
        'scheduler': scheduler.state_dict(),
        'torch': [torch.float16, torch.Size([1, 2]), torch.device('cpu')],
        'layout': torch.strided,
        'array': np.arange(6, dtype='>i2').reshape(2, 3),
        'objects': np.array([1, 'two', None], dtype=object),
        'scalars': [np.float64(2.5), np.bool_(True), np.dtype('f4'), np.float32],
        'plain': [1, 2**80, 1.5, 'é', b'\xff', None, True, 1j, {1}, (1, [2])],
        'default': collections.defaultdict(list, {'a': [1]}),
        'queue': collections.deque([1, 2], maxlen=3),
    }
    loaded = fileio.torch_load(buffer_of(saved, zipped, pickle_protocol=protocol))
    assert loaded.keys() == saved.keys()
    for key in ('view', 'half', 'int8', 'parameter'):
        assert torch.equal(loaded[key], saved[key])
        assert loaded[key].dtype == saved[key].dtype
    assert torch.equal(loaded['sparse'].to_dense(), torch.eye(2))
    assert loaded['parameter'].note == 'an attribute'
    assert loaded['model']._metadata == saved['model']._metadata
    model.load_state_dict(loaded['model'])
    optimizer.load_state_dict(loaded['optimizer'])
    for key in ('scheduler', 'torch', 'layout', 'scalars', 'plain', 'default', 'queue'):
        assert loaded[key] == saved[key]
    assert loaded['default'].default_factory is list
    np.testing.assert_array_equal(loaded['array'], saved['array'])
    assert loaded['objects'].tolist() == [1, 'two', None]


@pytest.mark.parametrize('core', [b'core', b'_core'], ids=['numpy 1', 'numpy 2'])
def test_numpy_names_of_both_major_versions(core):
    data = buffer_of([np.float64(2.5), np.arange(3)], zipped=False).getvalue()
    module = rb'numpy\._?core\.multiarray'
    renamed = re.sub(module, b'numpy.' + core + b'.multiarray', data)
    assert set(re.findall(module, renamed)) == {b'numpy.' + core + b'.multiarray'}
    scalar, array = fileio.torch_load(io.BytesIO(renamed))
    assert scalar == 2.5
    assert array.tolist() == [0, 1, 2]


@FORMATS
def test_history_buffer_as_mmengine_pickles_it(zipped):
    from mmengine.logging import HistoryBuffer

    buffer = HistoryBuffer([1.0, 2.5], [1, 3], max_length=9)
    shared = dict(HistoryBuffer._statistics_methods)
    data = buffer_of({'b': buffer}, zipped)
    assert b'getattr' in data.getvalue()
    loaded = fileio.torch_load(data)['b']
    assert loaded.mean() == buffer.mean()
    assert loaded.max_length == 9
    assert loaded.statistics('max') == 2.5
    assert HistoryBuffer._statistics_methods == shared


class TestNothingRuns:
    @FORMATS
    def test_system_call(self, tmp_path, zipped):
        path = tmp_path / 'evil.pth'
        victim = tmp_path / 'owned'
        evil = Calls(os.system, f'touch {victim}')
        torch.save({'w': evil}, path, _use_new_zipfile_serialization=zipped)
        # The file does what it says where nothing stops it.
        torch.load(path, weights_only=False)
        assert victim.exists()
        victim.unlink()
        with pytest.raises(fileio.UnsafeFileError, match=r'os\.system') as error:
            fileio.torch_load(path)
        assert str(path) in str(error.value)
        assert 'state_dict' in str(error.value)
        assert not victim.exists()

    @FORMATS
    @pytest.mark.parametrize(
        ('evil', 'name'),
        [
            (Calls(getattr, collections.OrderedDict, 'fromkeys'), 'getattr'),
            (Calls(eval, '1'), 'builtins.eval'),
            (Calls(torch.storage._load_from_bytes, b''), '_load_from_bytes'),
            (Calls(torch.load, 'x'), 'torch.serialization.load'),
            (Calls(torch.Tensor, 3), 'a call of'),
            (Calls(np.ndarray, (3,)), 'a call of'),
            (Calls(np.load, 'x'), 'load'),
            (torch.nn.Linear(1, 1), 'torch.nn.modules.linear.Linear'),
        ],
    )
    def test_other_objects(self, zipped, evil, name):
        with pytest.raises(fileio.UnsafeFileError, match=name):
            fileio.torch_load(buffer_of([evil], zipped))

    @pytest.mark.parametrize(
        'opcodes',
        [
            # BUILD on a function and on a class: sets their attributes.
            b'ctorch._utils\n_rebuild_tensor\n}X\x01\x00\x00\x00aK\x01sb.',
            b'ctorch._utils\n_rebuild_tensor\nN}X\x01\x00\x00\x00aK\x01s\x86b.',
            b'cmmengine.logging.history_buffer\nHistoryBuffer\nN}'
            b'X\x04\x00\x00\x00meanK\x01s\x86b.',
            # BUILD on an OrderedDict with other attributes than `_metadata`.
            b'ccollections\nOrderedDict\n)R}X\x01\x00\x00\x00aK\x01sb.',
            # NEWOBJ, and the INST and OBJ of old protocols.
            b'ctorch\nTensor\n)\x81.',
            b'(icollections\nOrderedDict\n.',
            b'(ccollections\nOrderedDict\no.',
            # An encoding with side effects, and an extension code.
            b'c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R.',
            b'\x82\x01.',
            # getattr of a name that mmengine does not pickle.
            b'cbuiltins\ngetattr\ncmmengine.logging.history_buffer\nHistoryBuffer\n'
            b'X\x08\x00\x00\x00__init__\x86R.',
            # A persistent object of kind 'module' would compare source files.
            b'(X\x06\x00\x00\x00moduleK\x01NNtQ.',
        ],
    )
    def test_opcodes(self, opcodes):
        # The header of the legacy format, then the pickle itself.
        head = buffer_of(0, zipped=False).getvalue()
        body = head.index(pickle.dumps(0, protocol=2), 30)
        with pytest.raises(fileio.UnsafeFileError):
            fileio.torch_load(io.BytesIO(head[:body] + b'\x80\x02' + opcodes))

    def test_programs_and_archives(self, tmp_path):
        script = torch.jit.script(torch.nn.ReLU())
        path = tmp_path / 'script.pt'
        torch.jit.save(script, str(path))
        with pytest.raises(fileio.UnsafeFileError, match='TorchScript'):
            fileio.torch_load(path)
        with tarfile.open(path, 'w') as archive:
            archive.addfile(tarfile.TarInfo('storages'))
        with pytest.raises(fileio.UnsafeFileError, match='tar archive'):
            fileio.torch_load(path)


@FORMATS
def test_damaged_files(tmp_path, zipped):
    path = tmp_path / 'model.pth'
    data = buffer_of({'weights': torch.arange(50.0)}, zipped).getvalue()
    for size in range(0, len(data), 11):
        path.write_bytes(data[:size])
        with pytest.raises(fileio.DamagedFileError, match=r'model\.pth'):
            fileio.torch_load(path)
    for content, reason in (
        (b'<html>not found</html>', r"begins with b'<html>not found<'"),
        (b'\x08\x07\x12\x07pytorch', r'another format.*pytorch'),  # as ONNX begins
        (b'', 'an empty file'),
        (pickle.dumps({'plain': 'pickle'}), 'magic number'),
        (buffer_of(torch.rand(5000)).getvalue()[:12_000], 'ends early'),
    ):
        path.write_bytes(content)
        with pytest.raises(fileio.DamagedFileError, match=rf'model\.pth.*{reason}'):
            fileio.torch_load(path)
    with pytest.raises(FileNotFoundError, match=r'missing\.pth'):
        fileio.torch_load(tmp_path / 'missing.pth')


def test_a_changed_byte(tmp_path):
    """Anywhere in a zip file it is noticed, or changes nothing of what is loaded."""
    weights = {'a': torch.rand(64), 'b': torch.rand(8)}
    path = tmp_path / 'model.pth'
    data = buffer_of(weights).getvalue()
    noticed = 0
    # 38 bytes into its entry of the directory, 0x10 makes a member a folder.
    entry = data.rindex(b'PK\x01\x02')
    for place in (entry + 38, *range(0, len(data), 7)):
        changed = bytearray(data)
        changed[place] ^= 0x10
        path.write_bytes(changed)
        try:
            loaded = fileio.torch_load(path)
        except fileio.DamagedFileError:
            noticed += 1
            continue
        assert loaded.keys() == weights.keys()
        for key, value in weights.items():
            assert torch.equal(loaded[key], value), (place, key)
    assert noticed > 300 / 7 * 4, 'the weights alone have 288 bytes'


@pytest.mark.skipif(
    not hasattr(torch.serialization, 'set_crc32_options'),
    reason='needs torch 2.6, which can leave them out',
)
def test_files_without_checksums():
    torch.serialization.set_crc32_options(False)
    try:
        data = buffer_of({'a': torch.arange(5)})
    finally:
        torch.serialization.set_crc32_options(True)
    assert fileio.torch_load(data)['a'].tolist() == [0, 1, 2, 3, 4]


def test_a_legacy_file_that_names_a_storage_it_does_not_have():
    """Damage, though torch's own message speaks of deserialized objects."""
    data = bytearray(buffer_of({'a': torch.ones(3)}, zipped=False).getvalue())
    place = re.search(rb'FloatStorage\nq.X.\x00\x00\x00(\d+)', data)
    data[place.start(1)] ^= 1
    with pytest.raises(fileio.DamagedFileError, match=r'whole file of torch\.save'):
        fileio.torch_load(io.BytesIO(data))


@pytest.mark.skipif(torch.cuda.is_available(), reason='needs a machine without a GPU')
def test_a_missing_device_is_not_a_damaged_file():
    with pytest.raises(RuntimeError, match='CUDA'):
        fileio.torch_load(buffer_of(torch.ones(1)), map_location='cuda')


def test_what_is_moved_aside_replaces_nothing(tmp_path, monkeypatch):
    """Also twice within a second."""
    monkeypatch.setattr('time.strftime', lambda form: 'earlier_now')
    moved = []
    for text in ('first', 'second'):
        fileio.write_text(tmp_path / 'best.pth', text)
        paths = [tmp_path / 'best.pth', tmp_path / 'absent.pth']
        moved.append(fileio.move_aside(tmp_path, paths))
    assert [folder.name for folder in moved] == ['earlier_now', 'earlier_now_2']
    assert [(f / 'best.pth').read_text() for f in moved] == ['first', 'second']
    assert sorted(p.name for p in tmp_path.iterdir()) == [f.name for f in moved]


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / 'link').symlink_to(tmp_path / 'folder')
    (tmp_path / 'folder').mkdir()
    for path in (tmp_path / 'folder', tmp_path / 'link'):
        with pytest.raises(IsADirectoryError, match=r'a folder\. Name a file'):
            fileio.write_bytes(path, b'content')
    assert not list(tmp_path.rglob('.*'))


class TestAtomicPath:
    def test_replaces_and_creates_folders(self, tmp_path):
        path = tmp_path / 'new' / 'folder' / 'a.pth'
        fileio.torch_save({'w': torch.ones(2)}, path)
        fileio.torch_save({'w': torch.zeros(2)}, path)
        assert fileio.torch_load(path)['w'].tolist() == [0, 0]
        assert list(path.parent.iterdir()) == [path]
        fileio.write_text(path.with_suffix('.txt'), 'é')
        assert path.with_suffix('.txt').read_bytes() == 'é'.encode()

    def test_an_error_leaves_the_old_file(self, tmp_path):
        path = tmp_path / 'a.pth'
        path.write_text('old')

        def interrupted():
            with fileio.atomic_path(path) as temporary:
                assert temporary.parent == tmp_path
                assert temporary.name.startswith('.a.pth.')
                assert temporary.suffix != '.pth'
                temporary.write_text('half')
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert path.read_text() == 'old'
        assert list(tmp_path.iterdir()) == [path]

    @pytest.mark.parametrize(('mask', 'mode'), [(0o022, 0o644), (0o007, 0o660)])
    def test_permission_bits(self, tmp_path, mask, mode):
        previous = os.umask(mask)
        try:
            fileio.write_text(tmp_path / 'a', 'text')
        finally:
            os.umask(previous)
        assert stat.S_IMODE((tmp_path / 'a').stat().st_mode) == mode
        (tmp_path / 'a').chmod(0o600)
        fileio.write_text(tmp_path / 'a', 'text')
        assert stat.S_IMODE((tmp_path / 'a').stat().st_mode) == 0o600

    def test_symbolic_links_stay(self, tmp_path):
        (tmp_path / 'link').symlink_to(tmp_path / 'file')
        fileio.write_text(tmp_path / 'link', 'text')
        assert (tmp_path / 'link').is_symlink()
        assert (tmp_path / 'file').read_text() == 'text'

    def test_unwritable_folder(self, tmp_path, monkeypatch):
        # root may write everywhere, so the system call itself refuses.
        def refuse(*args):
            raise PermissionError(13, 'Permission denied')

        monkeypatch.setattr(os, 'open', refuse)
        with pytest.raises(PermissionError, match='Change its permissions') as error:
            fileio.write_text(tmp_path / 'a.txt', 'text')
        assert str(tmp_path / 'a.txt') in str(error.value)

    def test_a_kill_in_mid_write_leaves_the_old_file(self, tmp_path):
        path = tmp_path / 'a.pth'
        fileio.torch_save({'w': torch.ones(2)}, path)
        code = """
            import sys, time, torch
            from sr_plugins import fileio

            class Slow:
                def __reduce__(self):
                    print('writing', flush=True)
                    time.sleep(60)

            fileio.torch_save([torch.zeros(9), Slow()], sys.argv[1])
        """
        writer = subprocess.Popen(
            [sys.executable, '-c', textwrap.dedent(code), str(path)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert writer.stdout.readline() == 'writing\n'
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        assert fileio.torch_load(path)['w'].tolist() == [1, 1]
        # It was killed while it wrote: what is left cannot be taken for a checkpoint.
        left = [entry for entry in tmp_path.iterdir() if entry != path]
        assert len(left) == 1
        assert not left[0].match('*.pth')
        fileio.torch_save({'w': torch.zeros(2)}, path)
        assert fileio.torch_load(path)['w'].tolist() == [0, 0]


def test_leftovers_are_removed_and_nothing_else(tmp_path):
    """What a killed writer leaves, by its real name."""
    with fileio.atomic_path(tmp_path / 'iter_3.pth') as temporary:
        temporary.write_bytes(b'whole')
    temporary.touch()
    kept = ['iter_3.pth', '.hidden', 'x.tmp', '.notes.tmp']
    for name in kept[1:]:
        (tmp_path / name).touch()
    assert len(list(tmp_path.iterdir())) == len(kept) + 1
    fileio.remove_leftovers(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(kept)
