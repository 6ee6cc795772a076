"""The command line: what it writes, what it says and how it ends."""

import os
import re
import runpy
import socket
import subprocess
import sys

import numpy as np
import pytest
import torch
from inference.tiny import CAR, ROOT, build, by_hand, write_checkpoint, write_config
from PIL import Image, PngImagePlugin

from sr_plugins import fileio, inference
from sr_plugins.inference import Share, Upscaler
from sr_plugins.models import chop_forward

TOOL = ROOT / 'tools' / 'infer.py'


def pixels(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with spaces, a config, a checkpoint and photographs, to work in."""
    folder = tmp_path / 'my photos'
    config = write_config(folder)
    write_checkpoint(folder / 'tiny.pth', build(config))
    (folder / 'in').mkdir()
    for i, name in enumerate('abc'):
        Image.fromarray(pixels(6, 8, 3, seed=i)).save(folder / 'in' / f'{name}.png')
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def infer(monkeypatch, capsys):
    """Run the tool on the tiny network; return its status and what it printed."""

    def run(*words, config='tiny.py', checkpoint='tiny.pth'):
        words = [TOOL, config, checkpoint, '--device', 'cpu', *words]
        monkeypatch.setattr(sys, 'argv', [str(word) for word in words])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(TOOL), run_name='__main__')
        return ended.value.code, *capsys.readouterr()

    return run


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def as_a_user(folder, *words):
    """Run the tool in a process of its own, return its standard output."""
    result = subprocess.run(
        [sys.executable, TOOL, *words, '--device', 'cpu'],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    assert '100%' in result.stderr
    return result.stdout


def test_from_another_folder(folder, tmp_path):
    """As users run it: a process of its own."""
    elsewhere = tmp_path / 'else where'
    elsewhere.mkdir()
    said = as_a_user(elsewhere, folder / 'tiny.py', folder / 'tiny.pth', folder / 'in')
    assert '3 images written to results.' in said
    assert names(elsewhere / 'results') == ['ax2.png', 'bx2.png', 'cx2.png']
    network = build(folder / 'tiny.py')
    for i, name in enumerate('abc'):
        out = np.asarray(Image.open(elsewhere / 'results' / f'{name}x2.png'))
        exact = 255 * by_hand(network, pixels(6, 8, 3, seed=i))
        np.testing.assert_allclose(out, exact, atol=0.501)


@pytest.mark.parametrize(
    ('words', 'written'),
    [
        (['in/b.png'], ['bx2.png']),
        (['in/[ab].png'], ['ax2.png', 'bx2.png']),
        (['in'], ['ax2.png', 'bx2.png', 'cx2.png']),
    ],
)
def test_inputs(folder, infer, words, written):
    code, printed, _ = infer(*words, '--out', 'new/out')
    assert code == 0
    assert f'{len(written)} images written to new/out.' in printed
    assert names(folder / 'new' / 'out') == written


def test_chop(folder, infer):
    """In parts of less than 100 pixels, with an overlap that shows."""
    rgb = pixels(30, 31, 3)
    Image.fromarray(rgb).save(folder / 'large.png')
    assert infer('large.png', '--out', 'out', '--chop', 2, 100)[0] == 0
    out = np.asarray(Image.open(folder / 'out' / 'largex2.png'))
    x = torch.from_numpy(rgb / np.float32(255)).permute(2, 0, 1)[None]
    with torch.no_grad():
        network = build(folder / 'tiny.py')
        y = chop_forward(network, x, 2, shave=2, min_size=100)[0].clamp(0, 1)
    exact = 255 * y.permute(1, 2, 0).numpy()
    np.testing.assert_allclose(out, exact, atol=0.501)
    assert np.abs(out - 255 * by_hand(network, rgb)).max() > 1


def test_wrong_chop(folder, infer):
    code, _, said = infer('in', '--chop', 2)
    assert code == 1
    assert 'Expected `--chop` to be followed by nothing or by SHAVE' in said


def saved(folder):
    return np.asarray(Image.open(folder / 'out' / 'largex2.png')).astype(float)


def test_tiles(folder, infer):
    """The network of one block sees 6 pixels around."""
    rgb = pixels(40, 31, 3)
    Image.fromarray(rgb).save(folder / 'large.png')
    exact = 255 * by_hand(build(folder / 'tiny.py'), rgb)
    words = 'large.png', '--out', 'out', '--tile', 8
    code, printed, _ = infer(*words)
    assert code == 0
    assert re.search(r'1 images written to out\. Peak memory: \d+ MiB', printed)
    np.testing.assert_allclose(saved(folder), exact, atol=0.501)
    sharp, soft = [], []
    for seams, errors in (('exact', sharp), ('blended', soft)):
        assert infer(*words, '--overlap', 1, '--seams', seams)[0] == 0
        errors.append(np.abs(saved(folder) - exact).max())
    assert sharp[0] > 1
    assert soft[0] > 1
    assert sharp != soft


def test_self_ensemble(folder, infer):
    """The mean of eight by hand, before rounding; in tiles as well."""
    rgb = pixels(22, 31, 3)
    Image.fromarray(rgb).save(folder / 'large.png')
    network = build(folder / 'tiny.py')
    outputs = []
    for mirrored in (False, True):
        for quarters in range(4):
            turned = np.rot90(rgb[:, ::-1] if mirrored else rgb, quarters)
            x = torch.from_numpy(turned / np.float32(255)).permute(2, 0, 1)[None]
            with torch.no_grad():
                y = network(x)[0].permute(1, 2, 0).numpy()
            y = np.rot90(y, -quarters)
            outputs.append(y[:, ::-1] if mirrored else y)
    exact = 255 * np.mean(outputs, axis=0).clip(0, 1)
    words = 'large.png', '--out', 'out', '--self-ensemble'
    for more in ((), ('--tile', 9, '--overlap', 'auto')):
        assert infer(*words, *more)[0] == 0
        np.testing.assert_allclose(saved(folder), exact, atol=0.501)
    assert np.abs(255 * by_hand(network, rgb) - exact).max() > 1


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['--overlap', 9], 'Expected `--overlap` and `--seams` to come with `--tile`'),
        (['--tile', 5], 'at least the overlap of EDSR, 6, but got 5'),
        (['--tile', 0], 'Expected `tile` to be at least 1, but got 0'),
        (['--tile', 9, '--overlap', 'x'], "LR pixels or 'auto', but got 'x'"),
        (['--tile', 9, '--chop'], 'Expected `chop` or `tile`, but got both'),
    ],
)
def test_wrong_tiles(folder, infer, words, message):
    code, _, said = infer('in', '--out', 'out', *words)
    assert code == 1
    assert message in said
    assert not (folder / 'out').exists()


def test_bfloat16(folder, infer):
    rgb = pixels(22, 31, 3)
    Image.fromarray(rgb).save(folder / 'large.png')
    network = build(folder / 'tiny.py')
    x = torch.from_numpy(rgb / np.float32(255)).permute(2, 0, 1)[None]
    with torch.inference_mode(), torch.autocast('cpu', torch.bfloat16):
        y = network(x)[0].clamp(0, 1).permute(1, 2, 0).float().numpy()
    assert np.abs(255 * (y - by_hand(network, rgb))).max() > 0.2
    for more in ((), ('--tile', 9)):
        assert infer('large.png', '--out', 'out', '--amp', 'bf16', *more)[0] == 0
        # The layout of weights may round a sum to the next of few numbers.
        np.testing.assert_allclose(saved(folder), 255 * y, atol=1.01)


def test_compiled(folder, infer, monkeypatch):
    if ' ' in torch.__file__:
        pytest.skip("torch.compile fails where torch's own path has a space")
    words = 'in/a.png', '--out', 'out', '--compile'
    from torch._inductor import config

    with monkeypatch.context() as empty:
        empty.setenv('TORCHINDUCTOR_CACHE_DIR', str(folder.parent / 'cache'))
        with config.patch({'cpp.cxx': (None, '/no/compiler')}):
            code, printed, said = infer(*words)
    assert code == 1
    assert '0 images written' in printed
    assert 'in/a.png: Expected torch.compile to work here, but got ' in said
    assert 'No working C++ compiler found' in said
    torch._dynamo.reset()
    before = torch._dynamo.utils.counters['stats']['unique_graphs']
    assert infer(*words)[0] == 0
    assert torch._dynamo.utils.counters['stats']['unique_graphs'] > before
    out = np.asarray(Image.open(folder / 'out' / 'ax2.png'))
    exact = 255 * by_hand(build(folder / 'tiny.py'), pixels(6, 8, 3))
    np.testing.assert_allclose(out, exact, atol=0.501)


@pytest.fixture
def car(folder):
    """As `folder`, with a CAR in place of an EDSR."""
    network = build(write_config(folder, 'car_x2', **CAR))
    write_checkpoint(folder / 'tiny.pth', network)
    return folder


def test_downscaled_file_is_all_that_is_needed(car, infer):
    """Made and enlarged by three processes; sizes that the scale does not divide."""
    photos = car / 'photos'
    photos.mkdir()
    Image.fromarray(pixels(17, 22, 3)).save(photos / 'rgb.png')
    Image.fromarray(pixels(9, 13)).save(photos / 'grey.png')
    Image.fromarray(pixels(9, 13, 4)).save(photos / 'rgba.png')
    Image.fromarray(pixels(9, 13, 2)).save(photos / 'LA.png')
    Image.fromarray(pixels(1, 1, 3)).save(photos / 'dot.png')
    deep = 257 * pixels(9, 13).astype(np.uint16)
    Image.fromarray(deep).save(photos / 'deep.png')
    sources = [path.stem for path in photos.iterdir()]
    words = 'tiny.py', 'tiny.pth'
    said = as_a_user(car, *words, 'photos', '--out', 'both')
    assert '12 images written to both.' in said
    assert names(car / 'both') == sorted(
        f'{name}_down2{ending}.png' for name in sources for ending in ('', 'x2')
    )
    small = car / 'small'
    assert infer('photos', '--out', small, '--mode', 'downscale')[0] == 0
    assert names(small) == sorted(f'{name}_down2.png' for name in sources)
    as_a_user(car, *words, small, '--out', 'later', '--mode', 'upscale')
    for folder in (small, car / 'later'):
        for path in folder.iterdir():
            assert path.read_bytes() == (car / 'both' / path.name).read_bytes()
    modes = {'rgb': 'RGB', 'grey': 'L', 'rgba': 'RGBA', 'LA': 'LA', 'dot': 'RGB'}
    for name, mode in {**modes, 'deep': 'L'}.items():
        with (
            Image.open(photos / f'{name}.png') as original,
            Image.open(small / f'{name}_down2.png') as reduced,
            Image.open(car / 'later' / f'{name}_down2x2.png') as back,
        ):
            assert reduced.mode == back.mode == mode
            assert back.size == original.size
            assert reduced.size == tuple(-(-side // 2) for side in original.size)
            size = 'x'.join(map(str, original.size))
            assert reduced.info['sr_plugins.original_size'] == size
            assert 'sr_plugins.original_size' not in back.info
    network = build(car / 'tiny.py')
    exact = 255 * by_hand(network, pixels(17, 22, 3))
    back = np.asarray(Image.open(car / 'later' / 'rgb_down2x2.png'))
    np.testing.assert_allclose(back, exact, atol=0.501)


def test_upscaling_any_image(car, infer):
    assert infer('in/a.png', '--out', 'out', '--mode', 'upscale')[0] == 0
    out = np.asarray(Image.open(car / 'out' / 'ax2.png'))
    usn = build(car / 'tiny.py').upscaler
    exact = 255 * by_hand(usn, pixels(6, 8, 3, seed=0))
    np.testing.assert_allclose(out, exact, atol=0.501)


def test_upscaling_what_was_downscaled_otherwise(car, infer):
    """Named; the others go on."""
    note = PngImagePlugin.PngInfo()
    note.add_text('sr_plugins.original_size', '32x24')
    Image.fromarray(pixels(6, 8, 3)).save(car / 'in' / 'b.png', pnginfo=note)
    code, printed, said = infer('in', '--out', 'out', '--mode', 'upscale')
    assert code == 1
    assert '2 images written' in printed
    assert 'in/b.png: Expected an image that was downscaled by 2, but got 6 x 8' in said
    assert names(car / 'out') == ['ax2.png', 'cx2.png']


def test_inputs_are_not_replaced_by_smaller_ones(car, infer):
    (car / 'in' / 'c.png').rename(car / 'in' / 'a_down2x2.png')
    for mode in ('both', 'downscale'):
        code, _, said = infer('in', '--out', 'in', '--mode', mode)
        if mode == 'both':
            assert code == 1
            assert 'in/a.png would become in/a_down2x2.png' in said
            assert len(names(car / 'in')) == 3
        else:
            assert code == 0


def test_mode_of_a_network_without(folder, infer):
    code, _, said = infer('in', '--out', 'out', '--mode', 'both')
    assert code == 1
    assert 'Expected no mode for EDSR, which enlarges and does nothing else' in said
    assert not (folder / 'out').exists()


def test_unknown_mode(folder, infer):
    code, _, said = infer('in', '--mode', 'down')
    assert code == 2
    assert "invalid choice: 'down'" in said


def test_parts_and_poses_of_a_network_that_downscales(car, infer):
    code, _, said = infer('in', '--chop')
    assert code == 1
    assert 'Expected `--chop` for a model that enlarges LR images, but' in said
    code, _, said = infer('in', '--tile', 9)
    assert code == 1
    assert 'Expected `tile` to be at least the overlap of KGN, 42, but got 9' in said
    words = '--tile', 42, '--self-ensemble', '--amp', 'bf16'
    assert infer('in', '--out', 'out', *words)[0] == 0
    assert 'a_down2x2.png' in names(car / 'out')


def test_several_processes(folder, infer):
    """Files are those of one; a broken image is named and does not stop the others."""
    (folder / 'in' / 'd.png').write_text('no image')
    assert infer('in', '--out', 'one')[0] == 1
    tool = ROOT / 'tools' / 'dist_infer.sh'
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    done = subprocess.run(
        [tool, 'tiny.py', 'tiny.pth', 'in', '2', '--out', 'two', '--device', 'cpu'],
        cwd=folder,
        env={**os.environ, 'PYTHON': sys.executable, 'PORT': str(port)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 1
    assert done.stdout.count('3 images written to two.') == 1
    assert done.stderr.count('Expected an image of 8 or 16 bits') == 1
    assert names(folder / 'two') == names(folder / 'one')
    for path in (folder / 'one').iterdir():
        assert path.read_bytes() == (folder / 'two' / path.name).read_bytes()


@pytest.mark.parametrize('by_main', [False, True])
def test_failing_together(by_main):
    """What one process finds stops both; one of them says it, once."""

    class OfTwo(Share):
        def __init__(self, rank, others):
            super().__init__()
            self.rank, self.size, self.others = rank, 2, others

        def gather(self, value):
            both = [value, self.others]
            return both if self.is_main else both[::-1]

    def fail():
        raise OSError('no such file')

    with pytest.raises(ValueError, match='no such file'):
        OfTwo(0, None).together(fail, by_main)
    with pytest.raises(ValueError, match='of the other'):
        OfTwo(0, 'of the other').together(list, by_main)
    with pytest.raises(SystemExit) as ended:
        OfTwo(1, 'of the other').together(list, by_main)
    assert ended.value.code == 0
    assert OfTwo(0, None).together(lambda: [4], by_main) == [4]
    assert OfTwo(1, None).together(lambda: [4], by_main) == (None if by_main else [4])
    assert [list(OfTwo(i, None).of_mine('abc')) for i in (0, 1)] == [['a', 'c'], ['b']]


def test_launcher_without_torchrun(folder, infer, monkeypatch):
    monkeypatch.delenv('LOCAL_RANK', raising=False)
    code, _, said = infer('in', '--launcher', 'pytorch')
    assert code == 1
    assert 'but got a process of its own. Start tools/dist_infer.sh' in said


def test_cfg_options(folder, infer):
    code, _, said = infer('in', '--cfg-options', 'model.generator.scale=3')
    assert code == 1
    assert 'Expected tiny.pth to hold EDSR x3 with 1 blocks of 4 channels' in said
    assert 'but got EDSR x2' in said


def test_depth_greyness_and_alpha_are_kept(folder, infer):
    kinds = folder / 'kinds'
    kinds.mkdir()
    Image.fromarray(pixels(5, 6)).save(kinds / 'L.png')
    Image.fromarray(pixels(5, 6, 2)).save(kinds / 'LA.png')
    Image.fromarray(pixels(5, 6, 4)).save(kinds / 'RGBA.png')
    Image.fromarray(pixels(5, 6) > 99).save(kinds / 'bits.png')
    Image.fromarray(257 * pixels(5, 6).astype(np.uint16)).save(kinds / 'deep.png')
    Image.fromarray(pixels(1, 1, 3)).save(kinds / 'dot.png')
    Image.new('CMYK', (6, 5)).save(kinds / 'ink.jpg')
    palette = Image.fromarray(pixels(5, 6) % 4, 'L').convert('P')
    palette.putpalette(pixels(4, 3).tobytes())
    palette.save(kinds / 'palette.png', transparency=bytes([0, 255]))
    assert infer('kinds', '--out', 'out')[0] == 0
    modes = {
        'L': 'L',
        'LA': 'LA',
        'RGBA': 'RGBA',
        'bits': 'L',
        'deep': 'I;16',
        'dot': 'RGB',
        'ink': 'RGB',
        'palette': 'RGBA',
    }
    for name, mode in modes.items():
        with Image.open(folder / 'out' / f'{name}x2.png') as image:
            assert image.mode == mode, name
            assert image.size == ((2, 2) if name == 'dot' else (12, 10))
    # Grey is the mean of what the network makes of three equal channels.
    network = build(folder / 'tiny.py')
    for name, grey in {'L': pixels(5, 6), 'LA': pixels(5, 6, 2)[..., 0]}.items():
        exact = 255 * by_hand(network, np.stack([grey] * 3, axis=2))
        assert np.ptp(exact, axis=2).max() > 5
        with Image.open(folder / 'out' / f'{name}x2.png') as image:
            out = np.asarray(image.getchannel('L'))
        np.testing.assert_allclose(out, exact.mean(axis=2), atol=0.501)


def test_images_that_fail_are_named(folder, infer):
    whole = (folder / 'in' / 'b.png').read_bytes()
    (folder / 'in' / 'b.png').write_bytes(whole[: len(whole) // 2])
    (folder / 'in' / 'd.png').write_text('no image')
    frames = [Image.new('L', (4, 4), value) for value in (0, 255)]
    frames[0].save(folder / 'in' / 'e.png', save_all=True, append_images=frames[1:])
    code, printed, said = infer('in', '--out', 'out')
    assert code == 1
    assert '2 images written to out.' in printed
    assert names(folder / 'out') == ['ax2.png', 'cx2.png']
    complaints = said[said.index('Expected') :].splitlines()
    assert [line.split()[1:3] for line in complaints] == [
        ['a', 'whole'],
        ['an', 'image'],
        ['one', 'image'],
    ]
    for line, name in zip(complaints, 'bde', strict=True):
        assert f'in/{name}.png' in line


def test_weights_that_are_no_numbers(folder, infer):
    network = build(folder / 'tiny.py')
    with torch.no_grad():
        network.conv_first.weight[0, 0, 0, 0] = torch.nan
    write_checkpoint(folder / 'nan.pth', network)
    code, _, said = infer('in', '--out', 'out', checkpoint='nan.pth')
    assert code == 1
    assert not (folder / 'out').exists()
    # Whether the file is refused or what comes of it.
    assert 'finite' in said


def test_image_that_vanishes_is_named(folder, infer, monkeypatch):
    paths = [folder / 'in' / f'{name}.png' for name in ('a', 'gone', 'c')]
    monkeypatch.setattr(inference, 'find_images', lambda pattern: paths)
    code, _, said = infer('in', '--out', 'out')
    assert code == 1
    assert 'in/gone.png' in said
    assert names(folder / 'out') == ['ax2.png', 'cx2.png']


def test_too_large_an_image_is_named(folder, infer, monkeypatch):
    upscale = Upscaler.upscale

    def limited(self, rgb):
        if rgb[0, 0, 0] == np.float32(pixels(6, 8, 3, seed=1)[0, 0, 0] / 255):
            raise MemoryError('too large')
        return upscale(self, rgb)

    monkeypatch.setattr(Upscaler, 'upscale', limited)
    code, _, said = infer('in', '--out', 'out')
    assert code == 1
    assert 'in/b.png: too large' in said
    assert names(folder / 'out') == ['ax2.png', 'cx2.png']


def test_existing_outputs_are_replaced(folder, infer):
    (folder / 'out').mkdir()
    (folder / 'out' / 'ax2.png').write_bytes(b'old')
    assert infer('in/a.png', '--out', 'out')[0] == 0
    assert Image.open(folder / 'out' / 'ax2.png').size == (16, 12)


def test_clashing_names_stop_the_run(folder, infer):
    Image.fromarray(pixels(6, 8, 3)).save(folder / 'in' / 'a.jpg')
    code, _, said = infer('in', '--out', 'out')
    assert code == 1
    assert 'in/a.jpg and in/a.png' in said
    assert not (folder / 'out').exists()


def test_inputs_are_never_replaced(folder, infer):
    (folder / 'in' / 'c.png').rename(folder / 'in' / 'ax2.png')
    before = (folder / 'in' / 'ax2.png').read_bytes()
    code, _, said = infer('in', '--out', 'in')
    assert code == 1
    assert 'in/a.png would become in/ax2.png' in said
    assert (folder / 'in' / 'ax2.png').read_bytes() == before


@pytest.mark.parametrize(
    ('words', 'options', 'message'),
    [
        (['absent.png'], {}, 'but found none at absent.png'),
        (['in/*.jpg'], {}, 'but found none at in/*.jpg'),
        (['in'], {'config': 'absent.py'}, 'there is no absent.py'),
        (['in'], {'checkpoint': 'absent.pth'}, "but got 'absent.pth'"),
        (['in'], {'checkpoint': 'tiny.py'}, 'a whole file of torch.save, but got'),
        (['in', '--out', 'tiny.py'], {}, 'tiny.py'),
    ],
)
def test_wrong_paths(folder, infer, words, options, message):
    code, _, said = infer(*words, **options)
    assert code == 1
    assert message in said
    assert 'Traceback' not in said


def test_wrong_device(folder, infer):
    code, _, said = infer('in', '--device', 'cuda:99')
    assert code == 1
    assert 'Expected `device` to be one that torch can use here' in said


@pytest.mark.parametrize('where', ['between', 'within'])
def test_interrupted(folder, infer, monkeypatch, where):
    (folder / 'out').mkdir()
    (folder / 'out' / 'bx2.png').write_bytes(b'old')
    replace = fileio.os.replace

    def interrupt(*args):
        raise KeyboardInterrupt

    if where == 'within':

        def second(source, target):
            (interrupt if target.name == 'bx2.png' else replace)(source, target)

        monkeypatch.setattr(fileio.os, 'replace', second)
    else:
        upscale, calls = Upscaler.upscale, []

        def counted(self, rgb):
            calls.append(rgb)
            return interrupt() if len(calls) == 2 else upscale(self, rgb)

        monkeypatch.setattr(Upscaler, 'upscale', counted)
    code, _, said = infer('in', '--out', 'out')
    assert code == 130
    assert 'Interrupted.' in said
    assert 'Traceback' not in said
    assert names(folder / 'out') == ['ax2.png', 'bx2.png']
    assert (folder / 'out' / 'bx2.png').read_bytes() == b'old'
    assert Image.open(folder / 'out' / 'ax2.png').size == (16, 12)
