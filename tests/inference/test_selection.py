"""The right files are found, and none is lost."""

import pytest

from sr_plugins.inference import find_images, plan_outputs


def test_find_images(tmp_path, monkeypatch):
    folder = tmp_path / 'my [best] photos'
    names = ['b.png', 'a.JPG', 'c.gif', 'notes.txt', '._b.png', 'deep/d.tiff']
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (folder / 'folder.png').mkdir()

    assert find_images(folder) == [folder / 'a.JPG', folder / 'b.png']
    assert find_images(folder / 'c.gif') == [folder / 'c.gif']
    assert find_images(tmp_path / '*' / '*.png') == [folder / 'b.png']
    everywhere = [folder / name for name in ('a.JPG', 'b.png', 'deep/d.tiff')]
    assert find_images(tmp_path / '**' / '*') == everywhere
    monkeypatch.setenv('HOME', str(tmp_path))
    assert find_images('~/my*/*.png') == [folder / 'b.png']
    monkeypatch.chdir(folder)
    assert [str(path) for path in find_images('*.png')] == ['b.png']
    for wrong in ('absent.png', 'deep/*.png', tmp_path):
        with pytest.raises(FileNotFoundError, match=r'found none at .* \(from .*\)'):
            find_images(wrong)


def test_plan_outputs(tmp_path):
    sources = [tmp_path / 'a.b.jpg', tmp_path / 'c.png']
    outputs = plan_outputs(sources, tmp_path, 'x3')
    assert outputs == {
        sources[0]: tmp_path / 'a.bx3.png',
        sources[1]: tmp_path / 'cx3.png',
    }


@pytest.mark.parametrize('other', ['a.jpg', 'folder/a.png'])
def test_outputs_of_one_name_are_refused(tmp_path, other):
    sources = [tmp_path / 'a.png', tmp_path / other]
    with pytest.raises(ValueError, match=rf'a\.png and .*{other}, .* both .*ax2\.png'):
        plan_outputs(sources, 'out', 'x2')


def test_output_that_is_an_input_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sources = [tmp_path / 'a.png', tmp_path / 'ax2.png']
    with pytest.raises(ValueError, match=r'a\.png would become ax2\.png'):
        plan_outputs(sources, '.', 'x2')
    plan_outputs(sources, 'elsewhere', 'x2')
