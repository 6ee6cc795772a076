"""Which file a run goes on from."""

import pytest
import torch

from sr_plugins.checkpoints import (
    find_resumable,
    last_readable,
    require_resumable,
    set_aside,
)


def save(folder, *steps):
    for step in steps:
        torch.save({'meta': {'iter': step}}, folder / f'iter_{step}.pth')


def test_by_number_not_by_name(tmp_path):
    save(tmp_path, 900, 1000, 50)
    torch.save({}, tmp_path / 'best.pth')
    (tmp_path / 'iter_x.pth').touch()
    names = [path.name for path in find_resumable(tmp_path)]
    assert names == ['iter_1000.pth', 'iter_900.pth', 'iter_50.pth']
    assert last_readable(tmp_path).name == 'iter_1000.pth'


def test_damaged_files_are_passed_over(tmp_path, caplog):
    save(tmp_path, 10, 20, 30)
    (tmp_path / 'iter_30.pth').write_bytes(b'')
    newest = tmp_path / 'iter_20.pth'
    newest.write_bytes(newest.read_bytes()[:-40])
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'iter_30.pth'))
    assert last_readable(tmp_path).name == 'iter_10.pth'
    assert newest.exists(), "a damaged file is the user's to remove"


def test_nothing_to_resume(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'Start without `--resume`'):
        last_readable(tmp_path)
    (tmp_path / 'iter_3.pth').write_bytes(b'torn')
    with pytest.raises(FileNotFoundError, match=r'damaged files \(iter_3.pth\)'):
        last_readable(tmp_path)


def test_weights_alone_are_nothing_to_resume_from(tmp_path):
    path = tmp_path / 'best.pth'
    torch.save({'state_dict': {}, 'meta': {}, 'message_hub': {}}, path)
    with pytest.raises(ValueError, match=r'best\.pth, which has no optimizer'):
        require_resumable(path)


def test_an_earlier_training_is_set_aside(tmp_path):
    save(tmp_path, 10, 20)
    torch.save({}, tmp_path / 'best.pth')
    (tmp_path / 'last_checkpoint').write_text('iter_20.pth')
    set_aside(tmp_path)
    assert find_resumable(tmp_path) == []
    (folder,) = tmp_path.iterdir()
    names = {path.name for path in folder.iterdir()}
    assert names == {'iter_10.pth', 'iter_20.pth', 'best.pth', 'last_checkpoint'}
    set_aside(tmp_path)
    assert list(tmp_path.iterdir()) == [folder], 'nothing to set aside'
