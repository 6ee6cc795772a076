"""The operator, compiled or not, against golden outputs, loops and autograd.

All of it runs on what is loaded; `test_on_torch_alone` runs this file again, in a
process that does without compiled kernels.
"""

import math
import os
import re
import subprocess
import sys

import golden
import numpy as np
import pytest
import torch
from ops.cases import CASES, agree, everything, make

from sr_plugins.ops import adaptive_grid_sample as sample
from sr_plugins.ops import adaptive_grid_sample_reference as reference
from sr_plugins.ops import library

OP = torch.ops.sr_plugins.adaptive_grid_sample
OP_BACKWARD = torch.ops.sr_plugins.adaptive_grid_sample_backward
OP_BACKWARD_IMG = torch.ops.sr_plugins.adaptive_grid_sample_backward_img
COMPILED = library.wanted() and library.state('cpu') == 'built'

compiled = pytest.mark.skipif(
    not COMPILED, reason='needs compiled kernels: python -m sr_plugins.ops.build'
)


@pytest.mark.parametrize('name', ['resample_x2', 'resample_x4'])
def test_published_outputs(name):
    case = golden.CASES[name]
    s, h, w = case['scale'], case['h'], case['w']
    rng = np.random.default_rng(case['seed'])
    img = rng.random((2, 3, h * s, w * s))
    kernels = rng.random((2, (3 * s + 1) ** 2, h, w))
    kernels /= kernels.sum(1, keepdims=True)
    offsets = [rng.uniform(-1, 1, kernels.shape) for _ in range(2)]
    inputs = [torch.from_numpy(array) for array in (img, kernels, *offsets)]
    expected = golden.expected(name)['y']
    for function in (sample, reference):
        assert (function(*inputs, s) - expected).abs().max() < 1e-9


def pixel_by_pixel(img, kernels, offsets_h, offsets_v, scale):
    """The published rule word by word: an image padded by reflection, and loops."""
    side = 3 * scale + 1
    pad = side // 2
    n, channels, height, width = img.shape
    edges = ((0, 0), (0, 0), (pad, pad), (pad, pad))
    padded = np.pad(img, edges, mode='reflect')
    output = np.zeros((n, channels, *kernels.shape[2:]))
    for i, tap, y, x in np.ndindex(kernels.shape):
        ky, kx = divmod(tap, side)
        py = (y + 0.5) * scale + ky + offsets_v[i, tap, y, x] * scale - 0.5
        px = (x + 0.5) * scale + kx + offsets_h[i, tap, y, x] * scale - 0.5
        b, a = py - math.floor(py), px - math.floor(px)
        top = min(max(math.floor(py), 0), height + 2 * pad - 1)
        left = min(max(math.floor(px), 0), width + 2 * pad - 1)
        bottom = min(top + 1, height + 2 * pad - 1)
        right = min(left + 1, width + 2 * pad - 1)
        p = padded[i]
        value = (1 - b) * ((1 - a) * p[:, top, left] + a * p[:, top, right]) + b * (
            (1 - a) * p[:, bottom, left] + a * p[:, bottom, right]
        )
        output[i, :, y, x] += kernels[i, tap, y, x] * value
    return output


@pytest.mark.parametrize('case', CASES[:5] + CASES[6:], ids=str)
def test_pixel_by_pixel(case):
    inputs = make(*case)
    expected = pixel_by_pixel(*(tensor.numpy() for tensor in inputs), case[0])
    agree([sample(*inputs, case[0])], [torch.from_numpy(expected)], 1e-12)


@pytest.mark.parametrize('case', CASES, ids=str)
def test_gradients_are_those_of_autograd(case):
    inputs = make(*case)
    expected = everything(inputs, case[0], reference)
    agree(everything(inputs, case[0]), expected, 1e-12)


def at_positions(inputs, scale, whole, fraction):
    """The inputs with displacements of `whole` pixels and a fraction."""
    offsets = [
        (w + f - (scale - 1) / 2) / scale for w, f in zip(whole, fraction, strict=True)
    ]
    return [*inputs[:2], *offsets]


@pytest.mark.parametrize('scale', [1, 2])
@pytest.mark.parametrize('n', [1, 2])
@pytest.mark.parametrize('channels', [1, 2, 3, 4])
def test_gradcheck(scale, n, channels):
    inputs = make(scale, n, channels, 3, 2 + 2 // scale, 1.0)
    generator = torch.Generator().manual_seed(channels)
    shape = inputs[1].shape
    # Within the image, at its borders and far beyond; kinks are at whole numbers.
    whole = [torch.randint(-12, 13, shape, generator=generator) for _ in range(2)]
    fraction = [
        0.2 + 0.6 * torch.rand(shape, generator=generator, dtype=torch.float64)
        for _ in range(2)
    ]
    leaves = [
        tensor.clone().requires_grad_()
        for tensor in at_positions(inputs, scale, whole, fraction)
    ]
    torch.autograd.gradcheck(
        lambda *x: sample(*x, scale),
        leaves,
        fast_mode=(scale, n, channels) != (1, 1, 3),
    )


def test_second_derivatives_are_refused():
    leaves = [tensor.requires_grad_() for tensor in make(2, 1, 3, 4, 5, 1.0)]
    for leaf in (leaves[0], leaves[1]):
        (gradient,) = torch.autograd.grad(
            sample(*leaves, 2).square().sum(), leaf, create_graph=True
        )
        with pytest.raises(NotImplementedError, match='Expected first derivatives'):
            gradient.sum().backward()


def test_whole_positions():
    """At a kink the gradient is that towards larger offsets, as in the reference."""
    inputs = make(2, 1, 3, 4, 5, 1.0)
    shape = inputs[1].shape
    generator = torch.Generator().manual_seed(0)
    whole = [torch.randint(-12, 13, shape, generator=generator) for _ in range(2)]
    zeros = [torch.zeros(shape, dtype=torch.float64)] * 2
    inputs = at_positions(inputs, 2, whole, zeros)
    agree(everything(inputs, 2), everything(inputs, 2, reference), 1e-12)


@pytest.mark.parametrize(('rows', 'columns'), [(3, 9), (9, 3)])
def test_wide_and_high_images_get_all_gradients(rows, columns):
    """Where an image is wider than high, the published kernel leaves zeros."""
    # Beyond the reflection a sample would not move with its offset.
    inputs = make(2, 1, 3, rows, columns, 0.2)
    for gradient in everything(inputs, 2)[2:]:
        assert (gradient != 0).all()


def channels_last(tensor):
    return tensor.contiguous(memory_format=torch.channels_last)


def every_other(tensor):
    wide = torch.full((*tensor.shape[:3], 2 * tensor.shape[3]), math.nan)
    wide = wide.to(tensor.dtype)
    wide[..., ::2] = tensor
    return wide[..., ::2]


def cut_out(tensor):
    n, c, h, w = tensor.shape
    large = torch.full((n + 1, c + 1, h + 2, w + 2), math.nan).to(tensor.dtype)
    large[1:, 1:, 1:-1, 1:-1] = tensor
    return large[1:, 1:, 1:-1, 1:-1]


@pytest.mark.parametrize('layout', [channels_last, every_other, cut_out])
def test_strides(layout):
    inputs = make(2, 2, 3, 4, 5, 1.0)
    expected = everything(inputs, 2)
    agree(everything(map(layout, inputs), 2), expected, 0)
    leaves = [tensor.requires_grad_() for tensor in inputs]
    # One number for the whole gradient, with strides of 0.
    sample(*leaves, 2).sum().backward()
    ones = torch.ones_like(expected[0])
    found = torch.autograd.grad(sample(*leaves, 2), leaves, ones)
    agree([leaf.grad for leaf in leaves], found, 0)


def test_expanded_maps():
    img, kernels, *offsets = make(2, 1, 3, 4, 5, 1.0)
    inputs = [img.repeat(3, 1, 1, 1), *(x.expand(3, -1, -1, -1) for x in offsets)]
    inputs.insert(1, kernels.expand(3, -1, -1, -1))
    expected = sample(img, kernels, *offsets, 2).expand(3, -1, -1, -1)
    assert torch.equal(sample(*inputs, 2), expected)


@pytest.mark.parametrize(
    ('dtype', 'tolerance'),
    [(torch.float32, 2e-5), (torch.bfloat16, 1.6e-2), (torch.float16, 2e-3)],
)
@pytest.mark.parametrize('case', CASES[:7], ids=str)
def test_types(case, dtype, tolerance):
    """Against float64 at the very numbers that the type can hold."""
    inputs = make(*case, dtype=dtype)
    found = everything(inputs, case[0])
    assert all(tensor.dtype == dtype for tensor in found)
    precise = everything([tensor.double() for tensor in inputs], case[0])
    generator = torch.Generator().manual_seed(0)
    grad = torch.rand(precise[0].shape, generator=generator, dtype=torch.float64)
    leaves = [tensor.double().requires_grad_() for tensor in inputs]
    output = reference(*leaves, case[0])
    precise = [output, *torch.autograd.grad(output, leaves, grad.to(dtype).double())]
    agree(found, precise, tolerance)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_all_numbers_of_a_small_type(dtype):
    """A kernel that picks one pixel returns it as it was, subnormal or infinite."""
    numbers = torch.arange(-(2**15), 2**15, dtype=torch.int16).view(dtype)
    img = numbers.view(1, 1, 256, 256)
    kernels = torch.zeros(1, 16, 256, 256, dtype=dtype)
    # At scale 1 the tap in row and column 2 is the pixel itself.
    kernels[:, 10] = 1
    zeros = torch.zeros_like(kernels)
    finite = torch.where(img.isfinite(), img, 0)
    found = sample(finite, kernels, zeros, zeros, 1)
    torch.testing.assert_close(found, finite, rtol=0, atol=0)


def test_threads_do_not_change_results():
    inputs = make(4, 2, 3, 24, 17, 3.0, torch.float32)
    threads = torch.get_num_threads()
    results = []
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            results.append(everything(inputs, 4))
    finally:
        torch.set_num_threads(threads)
    agree(results[1], results[0], 0)
    agree(results[2], results[0], 0)


@compiled
@pytest.mark.parametrize('instructions', ['default', 'avx2', 'avx512'])
def test_instructions(instructions, tmp_path):
    """Whatever the processor, within what this one can do."""
    inputs = make(4, 1, 3, 5, 21, 1.0, torch.float32)
    torch.save(inputs, tmp_path / 'inputs.pt')
    code = (
        'import sys, torch\n'
        'from sr_plugins.ops import adaptive_grid_sample\n'
        'inputs = [x.requires_grad_() for x in torch.load(sys.argv[1])]\n'
        'output = adaptive_grid_sample(*inputs, 4)\n'
        'output.sum().backward()\n'
        'torch.save([output, *(x.grad for x in inputs)], sys.argv[2])\n'
    )
    files = [tmp_path / 'inputs.pt', tmp_path / 'outputs.pt']
    done = subprocess.run(
        [sys.executable, '-c', code, *files],
        env=os.environ | {'ATEN_CPU_CAPABILITY': instructions},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    leaves = [tensor.requires_grad_() for tensor in inputs]
    output = reference(*leaves, 4)
    expected = [output, *torch.autograd.grad(output.sum(), leaves)]
    agree(torch.load(files[1]), expected, 1e-5)


def test_black_white_and_constant_images():
    _, kernels, *offsets = make(4, 1, 1, 4, 5, 1.0)
    for value in (0.0, 0.5, 1.0):
        img = torch.full((1, 3, 16, 20), value, dtype=torch.float64)
        output, *gradients = everything([img, kernels, *offsets], 4)
        torch.testing.assert_close(output, torch.full_like(output, value))
        assert all(gradient.isfinite().all() for gradient in gradients)
        # Wherever a constant is sampled, it is the same.
        assert gradients[2].abs().max() < 1e-15
        assert gradients[3].abs().max() < 1e-15


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_opcheck(dtype):
    inputs = [tensor.requires_grad_() for tensor in make(2, 2, 3, 4, 5, 1.0, dtype)]
    torch.library.opcheck(OP, (*inputs, 2))
    plain = [tensor.detach() for tensor in inputs]
    grad = torch.rand(2, 3, 4, 5, dtype=dtype)
    # They are not differentiated themselves.
    utils = ('test_schema', 'test_faketensor')
    for op in (OP_BACKWARD, OP_BACKWARD_IMG):
        torch.library.opcheck(op, (grad, *plain, 2), test_utils=utils)


class Downscale(torch.nn.Module):
    def forward(self, img, kernels, offsets_h, offsets_v):
        return sample(img, kernels, offsets_h.tanh(), offsets_v.tanh(), 2) * 2


def test_compile():
    inputs = make(2, 2, 3, 4, 5, 1.0, torch.float32)
    module = Downscale()

    def apply(*tensors):
        return module(*tensors[:4])

    expected = everything(inputs, 2, apply)
    torch._dynamo.reset()
    faster = torch.compile(module, backend='aot_eager', fullgraph=True)
    found = everything(inputs, 2, lambda *tensors: faster(*tensors[:4]))
    agree(found, expected, 1e-6)


def test_export():
    inputs = make(2, 2, 3, 4, 5, 1.0, torch.float32)
    rows, columns = torch.export.Dim('rows', min=2), torch.export.Dim('columns', min=2)
    maps = {2: rows, 3: columns}
    shapes = ({2: 2 * rows, 3: 2 * columns}, maps, maps, maps)
    program = torch.export.export(Downscale(), tuple(inputs), dynamic_shapes=shapes)
    assert 'sr_plugins.adaptive_grid_sample' in str(program.graph)
    other = make(2, 2, 3, 7, 3, 1.0, torch.float32)
    torch.testing.assert_close(program.module()(*other), Downscale()(*other))


def test_autocast():
    img, *maps = make(2, 1, 3, 4, 5, 1.0, torch.float32)
    maps = [tensor.bfloat16().requires_grad_() for tensor in maps]
    with torch.autocast('cpu', torch.bfloat16):
        output = sample(img, *maps, 2)
    assert output.dtype == torch.float32
    wide = [tensor.detach().float() for tensor in maps]
    torch.testing.assert_close(output, sample(img, *wide, 2))
    output.sum().backward()
    assert all(tensor.grad.dtype == torch.bfloat16 for tensor in maps)


def replaced(index, change):
    inputs = make(2, 1, 3, 4, 5, 1.0, torch.float32)
    inputs[index] = change(inputs[index])
    return inputs


def poison(value, count=1):
    def change(tensor):
        tensor = tensor.clone()
        tensor.view(-1)[:count] = value
        return tensor

    return change


@pytest.mark.parametrize(
    ('inputs', 'scale', 'error', 'message'),
    [
        (lambda: make(2, 1, 3, 4, 5, 1.0), 0, ValueError, 'positive integer.*0'),
        (lambda: make(2, 1, 3, 4, 5, 1.0), 2.0, ValueError, 'positive integer.*2.0'),
        (lambda: make(2, 1, 3, 6, 6, 1.0), 3, ValueError, '100 channels.*got 49'),
        (
            lambda: replaced(1, lambda x: x[:, :48]),
            2,
            ValueError,
            r'7 \* 7 = 49 channels.*but got 48',
        ),
        (
            lambda: replaced(2, lambda x: x[:, :, 1:]),
            2,
            ValueError,
            r'offsets_h.*\(1, 49, 4, 5\).*\(1, 49, 3, 5\)',
        ),
        (lambda: replaced(0, lambda x: x[..., :-1]), 2, ValueError, 'multiples.*8 x 9'),
        (lambda: make(4, 1, 3, 1, 9, 1.0), 4, ValueError, '6 pixels.*4 x 36.*Pad'),
        (lambda: replaced(0, lambda x: x[0]), 2, ValueError, r'img.*\(3, 8, 10\)'),
        (lambda: replaced(3, lambda x: x.to('meta')), 2, ValueError, 'on cpu.*meta'),
        (lambda: replaced(1, lambda x: x.double()), 2, TypeError, 'kernels.*float64'),
        (lambda: replaced(0, lambda x: x.byte()), 2, TypeError, 'img.*uint8'),
        (
            lambda: replaced(2, poison(math.nan, 7)),
            2,
            ValueError,
            'offsets_h` times `scale` to be finite, but got 7 values',
        ),
        (lambda: replaced(3, poison(math.inf)), 2, ValueError, 'offsets_v.*1 values'),
        # Finite, but not in pixels.
        (lambda: replaced(3, poison(2.5e38)), 2, ValueError, 'offsets_v.*1 values'),
    ],
)
def test_bad_input(inputs, scale, error, message):
    with pytest.raises(error, match=f'Expected.*{message}'):
        sample(*inputs(), scale)


@compiled
def test_kernels_check_for_themselves():
    """Whoever calls the operators past the function gets an error, never a crash."""
    inputs = make(2, 1, 3, 4, 5, 1.0)
    grad = torch.rand(1, 3, 4, 5, dtype=torch.float64)
    with pytest.raises(ValueError, match=r'Expected.*\[1, 100, 2, 3\]'):
        OP(inputs[0][..., :6, :9], *inputs[1:], 3)
    with pytest.raises(ValueError, match=r'Expected `scale` to be 1 to 1024.*-1'):
        OP(*inputs, -1)
    with pytest.raises(ValueError, match='four dimensions'):
        OP(inputs[0][0], *inputs[1:], 2)
    with pytest.raises(TypeError, match='type of `img`, Double, but got Float'):
        OP(*inputs[:3], inputs[3].float(), 2)
    with pytest.raises(TypeError, match='but got Int'):
        OP(*(tensor.int() for tensor in inputs), 2)
    for op in (OP_BACKWARD, OP_BACKWARD_IMG):
        with pytest.raises(ValueError, match=r'Expected `grad`.*shape of the output'):
            op(grad[..., 1:], *inputs, 2)
        with pytest.raises(TypeError, match=r'Expected `grad`.*Float'):
            op(grad.float(), *inputs, 2)


@pytest.mark.skipif(
    not torch.cuda.is_available() or library.state('cuda') != 'built',
    reason='needs a GPU: python -m sr_plugins.ops.build --cuda',
)
@pytest.mark.parametrize('case', CASES, ids=str)
def test_on_a_gpu(case):
    inputs = make(*case)
    expected = everything(inputs, case[0], reference)

    def on_gpu(*arguments):
        *tensors, scale = arguments
        return sample(*(tensor.cuda() for tensor in tensors), scale).cpu()

    agree(everything(inputs, case[0], on_gpu), expected, 1e-12)
    torch.use_deterministic_algorithms(True)
    try:
        first, second = (everything(inputs, case[0], on_gpu) for _ in range(2))
    finally:
        torch.use_deterministic_algorithms(False)
    agree(first, expected, 1e-9)
    agree(first, second, 0)
    inputs[2][0, 0, 0, 0] = math.nan
    output = on_gpu(*inputs, case[0])
    assert output[0, :, 0, 0].isnan().all()
    assert int(output.isnan().sum()) == case[2]
    for dtype, tolerance in ((torch.float32, 2e-5), (torch.bfloat16, 1.6e-2)):
        small = make(*case, dtype=dtype)
        precise = everything([tensor.double() for tensor in small], case[0])
        agree(everything(small, case[0], on_gpu)[:1], precise[:1], tolerance)


def test_empty_batch():
    inputs = [tensor[:0] for tensor in make(2, 1, 3, 4, 5, 1.0)]
    output = sample(*inputs, 2)
    assert output.shape == (0, 3, 4, 5)


def test_library_is_built():
    if not library.wanted():
        pytest.skip('SR_PLUGINS_OPS=reference in the environment')
    from sr_plugins.ops import build

    try:
        build._cpp_compiler()
    except build.BuildError as error:
        pytest.skip(str(error))
    assert library.state('cpu') == 'built', 'python -m sr_plugins.ops.build'


@compiled
def test_on_torch_alone():
    done = subprocess.run(
        [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', __file__],
        env=os.environ | {'SR_PLUGINS_OPS': 'reference'},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(re.search(r'(\d+) passed', done.stdout)[1]) > 70, done.stdout
