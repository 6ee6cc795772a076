"""GoPro's folders, made of its archive's."""

import os
import shutil

import pytest
from skimage import data as photographs

from sr_plugins.preparation import prepare_gopro
from sr_plugins.preparation.images import read_rgb, write_png

SEQUENCES = {'train': ('GOPR01', 'GOPR02'), 'test': ('GOPR03',)}


@pytest.fixture
def archive(tmp_path):
    """Two photographs of a sequence, both kinds, all different."""
    image, shift = photographs.coffee(), 0
    for split, sequences in SEQUENCES.items():
        for sequence in sequences:
            for kind in ('blur', 'sharp'):
                for name in ('000001', '000002'):
                    path = tmp_path / 'archive' / split / sequence / kind
                    path.mkdir(parents=True, exist_ok=True)
                    crop = image[shift : shift + 12, shift : shift + 15]
                    write_png(path / f'{name}.png', crop, origin='test')
                    shift += 1
    return tmp_path / 'archive'


def files(root):
    return sorted(str(p.relative_to(root)) for p in root.rglob('*.png'))


def test_pairs_lie_beside_each_other(archive, tmp_path):
    report = prepare_gopro(archive, tmp_path / 'data')
    assert (report.made, report.kept) == (12, 0)
    root = tmp_path / 'data/GoPro'
    assert files(root / 'train/blur') == files(root / 'train/sharp')
    assert files(root / 'test/blur') == ['GOPR03-000001.png', 'GOPR03-000002.png']
    for kind in ('blur', 'sharp'):
        made = read_rgb(root / f'train/{kind}/GOPR02-000002.png')
        assert (made == read_rgb(archive / f'train/GOPR02/{kind}/000002.png')).all()
    again = prepare_gopro(archive, tmp_path / 'data')
    assert (again.made, again.kept) == (0, 12)


def test_on_another_disk_they_are_copied(archive, tmp_path, monkeypatch):
    def refuse(*args):
        raise OSError(18, 'Invalid cross-device link')

    monkeypatch.setattr(os, 'link', refuse)
    assert prepare_gopro(archive, tmp_path / 'data').made == 12
    assert prepare_gopro(archive, tmp_path / 'data').kept == 12
    source = archive / 'test/GOPR03/blur/000001.png'
    copy = tmp_path / 'data/GoPro/test/blur/GOPR03-000001.png'
    assert copy.read_bytes() == source.read_bytes()
    assert not copy.samefile(source)


def test_what_changed_is_made_anew(archive, tmp_path):
    prepare_gopro(archive, tmp_path / 'data')
    source = archive / 'test/GOPR03/blur/000001.png'
    source.unlink()
    write_png(source, photographs.chelsea()[:9, :9], origin='test')
    report = prepare_gopro(archive, tmp_path / 'data')
    assert (report.made, report.kept) == (1, 11)
    made = tmp_path / 'data/GoPro/test/blur/GOPR03-000001.png'
    assert read_rgb(made).shape == (9, 9, 3)


def test_what_is_missing_is_named(archive, tmp_path):
    with pytest.raises(ValueError, match=r'sequences in .*train.*above train and test'):
        prepare_gopro(archive / 'train', tmp_path / 'data')
    (archive / 'train/GOPR01/blur/000002.png').unlink()
    with pytest.raises(ValueError, match=r'GOPR01 to hold the same .* 000002\.png is'):
        prepare_gopro(archive, tmp_path / 'data')
    shutil.rmtree(archive / 'train/GOPR01/sharp')
    with pytest.raises(ValueError, match='GOPR01/sharp, which does not exist'):
        prepare_gopro(archive, tmp_path / 'data')
    assert not (tmp_path / 'data').exists()
