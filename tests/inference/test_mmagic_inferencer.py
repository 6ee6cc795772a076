"""mmagic's inferencer knows our models, and its own as before."""

import runpy
import sys
import warnings
from pathlib import Path

import cv2
import mmagic.apis
import numpy as np
import pytest
import torch
from inference.tiny import CAR, ROOT, build, by_hand, write_checkpoint, write_config
from mmagic.apis.inferencers import ImageSuperResolutionInferencer
from mmagic.registry import MODELS
from mmengine.config import Config
from PIL import Image

from sr_plugins.checkpoints import CheckpointMismatchError
from sr_plugins.inference import MMagicInferencer
from sr_plugins.models import ImageForward

TASK = 'Image Super-Resolution'
THEIRS = f'{mmagic.__path__[0]}/.mim/configs/edsr/'
EDSR_X4 = 'edsr_x4c64b16_1xb16-300k_div2k'


def pixels(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


@pytest.fixture
def photo(tmp_path):
    Image.fromarray(pixels(9, 12, 3)).save(tmp_path / 'my photo.png')
    return tmp_path / 'my photo.png'


@pytest.fixture
def tiny(tmp_path):
    config = write_config(tmp_path)
    network = build(config)
    return config, write_checkpoint(tmp_path / 'tiny.pth', network), network


@pytest.fixture
def full(tmp_path):
    """Make the network of a config of the repository and a checkpoint of it."""

    def make(name):
        network = build(ROOT / 'configs' / f'{name}.py')
        return network, write_checkpoint(tmp_path / f'{name}.pth', network)

    return make


def their_model(name, path):
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(f'{THEIRS}{name}.py').model)
    torch.save({'state_dict': model.state_dict()}, path)
    return path


def test_names():
    theirs = mmagic.apis.MMagicInferencer.get_inference_supported_models()
    names = MMagicInferencer.get_inference_supported_models()
    ours = ['car', 'csnln', 'edsr_baseline', 'edsr_full', 'esrn']
    ours += ['mdsr', 'mdsr_baseline']
    assert names == [*theirs, *ours]
    assert len(theirs) > 40
    # mmagic's class cannot build ours, so it does not list them.
    assert not set(theirs) & set(ours)

    tasks = MMagicInferencer.get_inference_supported_tasks()
    assert sorted(mmagic.apis.MMagicInferencer.get_inference_supported_tasks()) == tasks
    assert TASK in tasks
    for spelling in (TASK, 'Image super-resolution'):
        models = MMagicInferencer.get_task_supported_models(spelling)
        assert set(models) > {'srcnn', 'edsr', *ours}
        assert 'pix2pix' not in models
    assert MMagicInferencer.get_task_supported_models('Matting') == [
        'dim',
        'indexnet',
        'gca',
    ]


@pytest.mark.parametrize(
    ('name', 'setting', 'config_name', 'config', 'scale'),
    [
        ('csnln', 2, None, 'csnln_x2', 2),
        ('edsr_baseline', 3, None, 'edsr_baseline_x3', 3),
        ('edsr_baseline', None, None, 'edsr_baseline_x2', 2),
        ('edsr_baseline', None, 'edsr_baseline_x3', 'edsr_baseline_x3', 3),
        ('esrn', 4, None, 'esrn_x4', 4),
    ],
)
def test_our_names(
    full, photo, tmp_path, monkeypatch, name, setting, config_name, config, scale
):
    network, checkpoint = full(config)
    monkeypatch.chdir(tmp_path)
    editor = MMagicInferencer(
        name,
        model_setting=setting,
        config_name=config_name,
        model_ckpt=checkpoint.name,
        device='cpu',
    )
    results, image = editor.infer(img='my photo.png', result_out_dir='out.png')
    rgb = np.asarray(Image.open('out.png'))
    exact = 255 * by_hand(network, pixels(9, 12, 3))
    assert rgb.shape == (9 * scale, 12 * scale, 3)
    np.testing.assert_allclose(rgb, exact, atol=0.501)
    np.testing.assert_array_equal(image, rgb[..., ::-1])
    prediction = results['infer_results'].output.pred_img
    bgr = exact.transpose(2, 0, 1)[::-1]
    np.testing.assert_allclose(prediction, bgr, atol=1e-3)


def test_tiles_and_poses(tiny, photo):
    config, checkpoint, network = tiny

    def infer(**extra):
        editor = MMagicInferencer(
            model_config=config,
            model_ckpt=checkpoint,
            device='cpu',
            extra_parameters=extra,
        )
        return editor.infer(img=str(photo))[0]['infer_results'].output.pred_img.numpy()

    both = infer(tile=7, self_ensemble=True)
    forward = ImageForward(network, self_ensemble=True)
    x = pixels(9, 12, 3).transpose(2, 0, 1)[None] / np.float32(255)
    exact = 255 * forward(x, torch.device('cpu'))[0, ::-1].clip(0, 1)
    np.testing.assert_allclose(both, exact, atol=1e-3)
    assert np.abs(infer() - exact).max() > 0.1
    with pytest.raises(ValueError, match=r'to be among chop, tile, .* but got tiles'):
        infer(tiles=7)


def test_full_edsr_is_known():
    # 43 million weights: only the choice of its config is tried.
    with pytest.raises(FileNotFoundError, match=r'absent\.pth'):
        MMagicInferencer('edsr_full', 4, model_ckpt='absent.pth', device='cpu')


@pytest.mark.parametrize('config_name', [None, 'mdsr_baseline'])
@pytest.mark.parametrize('setting', [None, 2, 3, 4])
def test_scales_of_mdsr_are_one_config(full, photo, setting, config_name):
    network, checkpoint = full('mdsr_baseline')
    editor = MMagicInferencer(
        'mdsr_baseline', setting, config_name, model_ckpt=checkpoint, device='cpu'
    )
    network.scale = setting or 2
    found = editor.infer(img=str(photo))[0]['infer_results'].output.pred_img
    exact = 255 * by_hand(network, pixels(9, 12, 3)).transpose(2, 0, 1)[::-1]
    assert found.shape == (3, 9 * network.scale, 12 * network.scale)
    np.testing.assert_allclose(found, exact, atol=1e-3)
    with pytest.raises(ValueError, match=r'of mdsr_baseline to be its scale, .*got 5'):
        MMagicInferencer('mdsr_baseline', 5, config_name)


@pytest.mark.parametrize('setting', [2, 4])
def test_car_is_known(setting):
    with pytest.raises(FileNotFoundError, match=r'absent\.pth'):
        MMagicInferencer('car', setting, model_ckpt='absent.pth', device='cpu')


def test_car_has_two_scales():
    with pytest.raises(ValueError, match='of car to be its scale, one of 2, 4, but go'):
        MMagicInferencer('car', model_setting=3)
    with pytest.raises(ValueError, match="car_x2, car_x4, but got 'car_x3'"):
        MMagicInferencer('car', config_name='car_x3')


def test_car_gives_the_reconstruction(photo, tmp_path):
    network = build(write_config(tmp_path, 'car_x2', **CAR))
    checkpoint = write_checkpoint(tmp_path / 'tiny.pth', network)
    editor = MMagicInferencer(
        'car', model_config=tmp_path / 'tiny.py', model_ckpt=checkpoint, device='cpu'
    )
    out = tmp_path / 'out.png'
    results, image = editor.infer(img=str(photo), result_out_dir=str(out))
    rgb = np.asarray(Image.open(out))
    np.testing.assert_allclose(
        rgb, 255 * by_hand(network, pixels(9, 12, 3)), atol=0.501
    )
    np.testing.assert_array_equal(image, rgb[..., ::-1])
    assert results['infer_results'].output.pred_img.shape == (3, 9, 12)


@pytest.mark.parametrize('name', [None, 'edsr_baseline', 'csnln', 'edsr'])
@pytest.mark.parametrize(
    'kind',
    [str, Path, Config.fromfile, lambda path: Config.fromfile(path).to_dict()],
    ids=['str', 'Path', 'Config', 'dict'],
)
def test_model_config_of_ours(tiny, photo, name, kind):
    config, checkpoint, network = tiny
    editor = MMagicInferencer(
        name, model_config=kind(config), model_ckpt=str(checkpoint), device='cpu'
    )
    _, image = editor.infer(img=str(photo))
    exact = 255 * by_hand(network, pixels(9, 12, 3))
    np.testing.assert_allclose(image[..., ::-1], exact, atol=0.501)


def test_same_as_mmagics_own_inferencer(tiny, photo):
    config, checkpoint, _ = tiny
    ours = MMagicInferencer(model_config=config, model_ckpt=checkpoint, device='cpu')
    theirs = ImageSuperResolutionInferencer(str(config), str(checkpoint), 'cpu')
    results, image = ours.infer(img=str(photo))
    their_results, their_image = theirs(img=str(photo))
    # mmagic goes from [0, 1] to [0, 255] and back, which moves a value that is
    # halfway between two.
    difference = np.abs(image.astype(int) - their_image)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-3
    predictions = [r['infer_results'].output.pred_img for r in (results, their_results)]
    torch.testing.assert_close(*predictions)


KINDS = {
    'grey.png': pixels(9, 12),
    'rgb.png': pixels(9, 12, 3),
    'rgba.png': pixels(9, 12, 4),
    'grey alpha.png': pixels(9, 12, 2),
    'photo.jpg': pixels(9, 12, 3),
}


def test_same_as_the_tool(tiny, tmp_path, monkeypatch, capsys):
    config, checkpoint, _ = tiny
    photos = tmp_path / 'photos'
    photos.mkdir()
    for name, image in KINDS.items():
        Image.fromarray(image).save(photos / name)
    deep = np.random.default_rng(0).integers(0, 65536, (9, 12, 3), np.uint16)
    cv2.imwrite(str(photos / 'deep.png'), deep)

    tool = ROOT / 'tools' / 'infer.py'
    words = [tool, config, checkpoint, photos, '--out', tmp_path / 'tool']
    monkeypatch.setattr(
        sys, 'argv', [str(word) for word in (*words, '--device', 'cpu')]
    )
    with pytest.raises(SystemExit) as exit_info:
        runpy.run_path(str(tool), run_name='__main__')
    assert exit_info.value.code == 0, capsys.readouterr()

    editor = MMagicInferencer(model_config=config, model_ckpt=checkpoint, device='cpu')
    for source in photos.iterdir():
        out = tmp_path / 'mmagic' / f'{source.stem}x2.png'
        editor.infer(img=str(source), result_out_dir=str(out))
        images = [
            cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            for path in (out, tmp_path / 'tool' / out.name)
        ]
        assert images[0].shape[:2] == (18, 24)
        assert images[0].dtype == (np.uint16 if source.stem == 'deep' else np.uint8)
        np.testing.assert_array_equal(*images)
    assert len(list((tmp_path / 'tool').iterdir())) == len(KINDS) + 1


def test_other_formats_have_8_bits_without_alpha(tiny, tmp_path):
    config, checkpoint, _ = tiny
    editor = MMagicInferencer(model_config=config, model_ckpt=checkpoint, device='cpu')
    Image.fromarray(pixels(9, 12, 4)).save(tmp_path / 'rgba.png')
    for suffix in ('jpg', 'bmp'):
        out = tmp_path / 'new folder' / f'out.{suffix}'
        _, image = editor.infer(img=str(tmp_path / 'rgba.png'), result_out_dir=str(out))
        with Image.open(out) as written:
            assert written.format == {'jpg': 'JPEG', 'bmp': 'BMP'}[suffix]
            assert (written.mode, written.size) == ('RGB', (24, 18))
            if suffix == 'bmp':
                np.testing.assert_array_equal(np.asarray(written)[..., ::-1], image)


@pytest.mark.parametrize('dialect', ['params_ema', 'state_dict', 'plain'])
def test_dialects(tiny, photo, tmp_path, dialect):
    config, _, network = tiny
    state = network.state_dict()
    torch.save(
        state if dialect == 'plain' else {dialect: state}, tmp_path / 'other.pth'
    )
    editor = MMagicInferencer(
        model_config=config, model_ckpt=tmp_path / 'other.pth', device='cpu'
    )
    _, image = editor.infer(img=str(photo))
    exact = 255 * by_hand(network, pixels(9, 12, 3))
    np.testing.assert_allclose(image[..., ::-1], exact, atol=0.501)


def test_wrong_checkpoint(tiny, full):
    config, checkpoint, _ = tiny
    with pytest.raises(CheckpointMismatchError, match=r'tiny\.pth .*EDSR x2 with 1 b'):
        MMagicInferencer('edsr_baseline', 3, model_ckpt=checkpoint, device='cpu')
    with pytest.raises(
        CheckpointMismatchError, match=r'tiny\.pth .*CSNLN, but got EDSR'
    ):
        MMagicInferencer('csnln', 2, model_ckpt=str(checkpoint), device='cpu')
    with pytest.raises(FileNotFoundError, match=r'absent\.pth'):
        MMagicInferencer(model_config=config, model_ckpt='absent.pth', device='cpu')


def test_no_checkpoint_is_told(tiny):
    with pytest.warns(UserWarning, match='weights of EDSR are random') as told:
        MMagicInferencer(model_config=tiny[0], device='cpu')
    assert [note.filename for note in told] == [__file__]


@pytest.mark.parametrize('setting', [1, 5, -1, '2', 2.5])
def test_wrong_setting(setting):
    with pytest.raises(
        ValueError, match=r'its scale, one of 2, 3, 4, but got'
    ) as error:
        MMagicInferencer('csnln', model_setting=setting)
    assert repr(setting) in str(error.value)


def test_wrong_names(tiny):
    for name in ('csnnl', 'EDSR'):
        for config in (None, tiny[0]):
            with pytest.raises(ValueError, match=f'Model {name} is not supported'):
                MMagicInferencer(name, model_config=config)
    with pytest.raises(
        ValueError, match='`model_name` or `model_config`, but got neith'
    ):
        MMagicInferencer()
    with pytest.raises(ValueError, match=r"csnln_x4, but got 'edsr_x2'"):
        MMagicInferencer('csnln', config_name='edsr_x2')
    for config in (f'{THEIRS}{EDSR_X4}.py', 'absent.py'):
        with pytest.raises(ValueError, match=r'Expected `model_config` of csnln'):
            MMagicInferencer('csnln', model_config=config)


def test_wrong_images(tiny, tmp_path):
    config, checkpoint, _ = tiny
    editor = MMagicInferencer(model_config=config, model_ckpt=checkpoint, device='cpu')
    with pytest.raises(FileNotFoundError, match=r'absent\.png'):
        editor.infer(img=str(tmp_path / 'absent.png'))
    for image in (None, pixels(4, 4, 3)):
        with pytest.raises(TypeError, match='the path of an image, but got a'):
            editor.infer(img=image)


def test_interface_of_mmagics_demo(tiny, photo, tmp_path):
    """It hands all its arguments to both."""
    config, checkpoint, _ = tiny
    arguments = {
        'img': str(photo),
        'label': 1,
        'result_out_dir': str(tmp_path / 'o.png'),
    }
    editor = MMagicInferencer(
        model_config=str(config), model_ckpt=checkpoint, device='cpu', **arguments
    )
    editor.infer(**arguments, video=None, trimap=None, mask=None)
    assert (tmp_path / 'o.png').is_file()
    assert isinstance(editor, mmagic.apis.MMagicInferencer)
    editor.print_extra_parameters()


@pytest.mark.parametrize(
    'options',
    [
        {'model_setting': 2},
        {'config_name': EDSR_X4},
        {'model_config': f'{THEIRS}{EDSR_X4}.py'},
    ],
    ids=lambda options: next(iter(options)),
)
def test_mmagics_models_are_as_before(tmp_path, photo, options):
    checkpoint = str(their_model(EDSR_X4, tmp_path / 'edsr_x4.pth'))
    images = []
    for i, kind in enumerate((MMagicInferencer, mmagic.apis.MMagicInferencer)):
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            editor = kind('edsr', model_ckpt=checkpoint, device='cpu', **options)
        out = tmp_path / f'{i}.png'
        results, _ = editor.infer(img=str(photo), result_out_dir=str(out))
        images.append(cv2.imread(str(out)))
        assert results['infer_results'].output.pred_img.shape == (3, 36, 48)
    np.testing.assert_array_equal(*images)
    assert images[0].std() > 1
