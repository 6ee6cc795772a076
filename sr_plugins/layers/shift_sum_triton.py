"""The functions of `shift_sum.py` for a GPU, with few passes over memory.

Results are those of the plain form to rounding, sums of shifts to the last bit; they do
not depend on the order in which programs run.

A program takes a block of cells along a row of pixels and moves on by one cell with
each pixel, so that the three columns of the sum are registers handed on, and only the
next one is read: three rows of it, two of which the neighbours read too, at about the
same time. Blocks start one `stride` later in each row of pixels, and wrap around, for
those to be the same cells.

Imported only where Triton is; the tensors' last dimension is contiguous.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 512
"""Cells worked on at once; a power of 2."""
_PIXELS = 16
"""Of a row, gone along by one program. One column in so many is read twice."""
_SPAN = 16
"""Blocks of one pixel's cells that one program takes."""
_GROUP = 32
"""Pixels whose gradients of gain are added up by one program."""


@triton.jit
def _at(matrix, image, row, pixel, to_image, to_row, to_pixel):
    """Where the cells of a pixel begin; numbers of elements exceed 32 bits."""
    matrix += tl.cast(image, tl.int64) * to_image + tl.cast(row, tl.int64) * to_row
    return matrix + tl.cast(pixel, tl.int64) * to_pixel


@triton.jit
def _column(matrix, pixel, cell, width, cells, stride, m_row, m_pixel):
    """Sum of three rows of pixels, at the cells of each that belong together."""
    pixel = tl.cast(pixel, tl.int64)
    here = matrix + pixel * m_pixel + cell
    limit = tl.where((pixel >= 0) & (pixel < width), cells, 0)
    inside = cell < limit
    total = tl.load(here + m_row, mask=inside, other=0.0)
    total += tl.load(here - stride, mask=inside & (cell >= stride), other=0.0)
    below = here + 2 * tl.cast(m_row, tl.int64) + stride
    return total + tl.load(below, mask=cell + stride < limit, other=0.0)


# fmt: off
@triton.jit
def _shift_kernel(
    matrix, gain, out, peaks, totals, images, rows, width, cells, stride, blocks,
    m_image, m_row, m_pixel, g_image, o_image, o_row, o_pixel, WEIGH: tl.constexpr,
    PIXELS: tl.constexpr, BLOCK: tl.constexpr,
):
    """Sum the shifts; with WEIGH, note each block's maximum and sum of exponentials."""
    program = tl.program_id(0)
    # Neighbours in rows and pixels run together, and find each other's reads cached.
    tiles = tl.cdiv(width, PIXELS)
    first = program % tiles * PIXELS
    row = program // tiles % rows
    image = program // tiles // rows % images
    block = program // tiles // rows // images

    matrix = _at(matrix, image, row, 0, m_image, m_row, m_pixel)
    gain += tl.cast(image, tl.int64) * g_image
    ring = blocks * BLOCK
    cell = (block * BLOCK + row * stride + first) % ring + tl.arange(0, BLOCK)
    cell = tl.where(cell >= ring, cell - ring, cell)
    # What is found beyond either end of a row is its padding, which is zero.
    last = tl.where(cell == 0, ring - 1, cell - 1)
    before = _column(matrix, first - 1, last, width, cells, stride, m_row, m_pixel)
    here = _column(matrix, first, cell, width, cells, stride, m_row, m_pixel)
    place = cell % stride
    for pixel in range(first, min(first + PIXELS, width)):
        following = tl.where(cell + 1 == ring, 0, cell + 1)
        beyond = pixel + 1
        after = _column(matrix, beyond, following, width, cells, stride, m_row, m_pixel)
        sums = here + before + after
        to = _at(out, image, row, pixel, o_image, o_row, o_pixel)
        tl.store(to + cell, sums, mask=cell < cells)
        if WEIGH:
            scores = sums * tl.load(gain + cell, mask=cell < cells, other=0.0)
            real = (cell < cells) & (place != stride - 1)
            scores = tl.where(real, scores, -float('inf'))
            peak = tl.max(scores, 0)
            # A block may hold no cell at all.
            zero = tl.where(peak == -float('inf'), 0.0, peak)
            total = tl.sum(tl.exp(scores - zero), 0)
            part = (tl.cast(image, tl.int64) * rows + row) * width + pixel
            tl.store(peaks + part * blocks + block, peak)
            tl.store(totals + part * blocks + block, total)
            wraps = (place == stride - 1) | (following == 0)
            place = tl.where(wraps, 0, place + 1)
        before, here, cell = here, after, following


@triton.jit
def _weigh_kernel(
    sums, gain, out, peaks, totals, rows, width, cells, stride, blocks, s_image, s_row,
    s_pixel, g_image, o_image, o_row, o_pixel, SPAN: tl.constexpr, BLOCK: tl.constexpr,
):
    """Softmax of a span of one pixel's cells, of what the blocks have noted."""
    spans = tl.cdiv(cells, SPAN * BLOCK)
    number = tl.cast(tl.program_id(0) // spans, tl.int64)
    start = tl.program_id(0) % spans * (SPAN * BLOCK)
    pixel, row, image = number % width, number // width % rows, number // width // rows
    sums = _at(sums, image, row, pixel, s_image, s_row, s_pixel)
    out = _at(out, image, row, pixel, o_image, o_row, o_pixel)
    gain += image * g_image

    lane = tl.arange(0, BLOCK)
    peaks += number * blocks
    totals += number * blocks
    peak = tl.load(peaks)
    for part in range(0, blocks, BLOCK):
        inside = part + lane < blocks
        found = tl.load(peaks + part + lane, mask=inside, other=-float('inf'))
        peak = tl.maximum(peak, tl.max(found, 0))
    total = tl.load(totals) * 0
    for part in range(0, blocks, BLOCK):
        inside = part + lane < blocks
        found = tl.load(peaks + part + lane, mask=inside, other=-float('inf'))
        shares = tl.load(totals + part + lane, mask=inside, other=0.0)
        total += tl.sum(shares * tl.exp(found - peak), 0)

    place = (start + lane) % stride
    for first in range(start, min(start + SPAN * BLOCK, cells), BLOCK):
        cell = first + lane
        scores = tl.load(sums + cell, mask=cell < cells, other=0.0)
        scores *= tl.load(gain + cell, mask=cell < cells, other=0.0)
        weights = tl.where(place != stride - 1, tl.exp(scores - peak) / total, 0.0)
        tl.store(out + cell, weights, mask=cell < cells)
        place += BLOCK % stride
        place = tl.where(place >= stride, place - stride, place)


@triton.jit
def _dot_kernel(
    grad, weights, dots, rows, width, cells, g_image, g_row, g_pixel, w_image, w_row,
    w_pixel, SPAN: tl.constexpr, BLOCK: tl.constexpr,
):
    """Product of gradient and weights over a span of one pixel's cells."""
    spans = tl.cdiv(cells, SPAN * BLOCK)
    number = tl.cast(tl.program_id(0) // spans, tl.int64)
    start = tl.program_id(0) % spans * (SPAN * BLOCK)
    pixel, row, image = number % width, number // width % rows, number // width // rows
    grad = _at(grad, image, row, pixel, g_image, g_row, g_pixel)
    weights = _at(weights, image, row, pixel, w_image, w_row, w_pixel)
    total = tl.zeros([BLOCK], dots.dtype.element_ty)
    for first in range(start, min(start + SPAN * BLOCK, cells), BLOCK):
        cell = first + tl.arange(0, BLOCK)
        found = tl.load(grad + cell, mask=cell < cells, other=0.0)
        total += found * tl.load(weights + cell, mask=cell < cells, other=0.0)
    tl.store(dots + tl.program_id(0), tl.sum(total, 0))


@triton.jit
def _back_kernel(
    grad, weights, sums, gain, dots, out, d_gain, rows, width, cells, g_image, g_row,
    g_pixel, w_image, w_row, w_pixel, s_image, s_row, s_pixel, k_image, o_image, o_row,
    o_pixel, GROUP: tl.constexpr, BLOCK: tl.constexpr,
):
    """Gradients of a block of cells for a group of pixels, and the group's of gain."""
    blocks, pixels = tl.cdiv(cells, BLOCK), rows * width
    groups = tl.cdiv(pixels, GROUP)
    part = tl.cast(tl.program_id(0) // blocks, tl.int64)
    cell = tl.program_id(0) % blocks * BLOCK + tl.arange(0, BLOCK)
    inside = cell < cells
    image, first = part // groups, tl.cast(part % groups, tl.int32) * GROUP
    factor = tl.load(gain + image * k_image + cell, mask=inside, other=0.0)
    total = tl.zeros([BLOCK], d_gain.dtype.element_ty)
    for number in range(first, min(first + GROUP, pixels)):
        row, pixel = number // width, number % width
        g = _at(grad, image, row, pixel, g_image, g_row, g_pixel)
        w = _at(weights, image, row, pixel, w_image, w_row, w_pixel)
        s = _at(sums, image, row, pixel, s_image, s_row, s_pixel)
        o = _at(out, image, row, pixel, o_image, o_row, o_pixel)
        weight = tl.load(w + cell, mask=inside, other=0.0)
        dot = tl.load(dots + image * pixels + number)
        found = tl.load(g + cell, mask=inside, other=0.0) * weight - weight * dot
        total += found * tl.load(s + cell, mask=inside, other=0.0)
        tl.store(o + cell, found * factor, mask=inside)
    tl.store(d_gain + part * cells + cell, total, mask=inside)
# fmt: on


def _launch(kernel, programs: int, out: Tensor, *args, **constants) -> None:
    with torch.cuda.device_of(out):
        # No fused multiply-add: what is subtracted from a product has been rounded.
        kernel[(programs,)](*args, **constants, enable_fp_fusion=False)


def _shift(matrix, gain, stride, out, parts) -> None:
    images, rows, width, cells = out.shape
    # The ring of cells consists of whole blocks.
    blocks = triton.cdiv(cells, _BLOCK)
    programs = triton.cdiv(width, _PIXELS) * rows * images * blocks
    sizes = images, rows, width, cells, stride, blocks
    strides = *matrix.stride()[:3], gain.stride(0), *out.stride()[:3]
    weigh, tensors = parts is not None, (matrix, gain, out, *(parts or (out, out)))
    constants = {'WEIGH': weigh, 'PIXELS': _PIXELS, 'BLOCK': _BLOCK}
    _launch(_shift_kernel, programs, out, *tensors, *sizes, *strides, **constants)


def shift_sum(matrix: Tensor, stride: int, scratch: Tensor, out: Tensor) -> None:
    """As the plain form, but `scratch` is left alone."""
    _shift(matrix, matrix, stride, out, None)


def match(
    products: Tensor,
    gain: Tensor,
    stride: int,
    scratch: Tensor,
    sums: Tensor,
    out: Tensor,
) -> None:
    """As the plain form, but `scratch` is left alone."""
    images, rows, width, cells = out.shape
    blocks = triton.cdiv(cells, _BLOCK)
    peaks, totals = out.new_empty(2, images * rows * width, blocks)
    _shift(products, gain, stride, sums, (peaks, totals))
    programs = images * rows * width * triton.cdiv(cells, _SPAN * _BLOCK)
    tensors, sizes = (sums, gain, out, peaks, totals), (rows, width, cells)
    strides = *sums.stride()[:3], gain.stride(0), *out.stride()[:3]
    args = *tensors, *sizes, stride, blocks, *strides
    _launch(_weigh_kernel, programs, out, *args, SPAN=_SPAN, BLOCK=_BLOCK)


def match_backward(
    grad: Tensor, weights: Tensor, sums: Tensor, gain: Tensor, out: Tensor
) -> Tensor:
    """As the plain form, but `sums` is left alone."""
    images, rows, width, cells = out.shape
    sizes, spans = (rows, width, cells), triton.cdiv(cells, _SPAN * _BLOCK)
    dots = out.new_empty(images * rows * width, spans)
    strides = *grad.stride()[:3], *weights.stride()[:3]
    args = grad, weights, dots, *sizes, *strides
    _launch(_dot_kernel, dots.numel(), out, *args, SPAN=_SPAN, BLOCK=_BLOCK)

    groups = triton.cdiv(rows * width, _GROUP)
    d_gain = out.new_empty(images, groups, cells)
    strides += *sums.stride()[:3], gain.stride(0), *out.stride()[:3]
    args = grad, weights, sums, gain, dots.sum(1), out, d_gain, *sizes, *strides
    programs = images * groups * triton.cdiv(cells, _BLOCK)
    _launch(_back_kernel, programs, out, *args, GROUP=_GROUP, BLOCK=_BLOCK)
    return d_gain.sum(1)
