"""Downsampling with a kernel of its own, and displaced taps, for every pixel.

Paper: Sun and Chen, Learned image downscaling for upscaling using content adaptive
resampler, TIP 2020, https://arxiv.org/abs/1907.12904
Original code: https://github.com/sunwj/CAR

Deviations from the original: the reflection padding takes place in the indices, images
get a gradient too, and so do all kernels and offsets where an image is wider than high.

Here are the schema, the operators in plain torch, shapes and gradients. Compiled
kernels (`csrc`, made by `python -m sr_plugins.ops.build`) take over by dispatch.
"""

from typing import NamedTuple

import torch
from torch import Tensor


def adaptive_grid_sample(
    img: Tensor, kernels: Tensor, offsets_h: Tensor, offsets_v: Tensor, scale: int
) -> Tensor:
    """Weigh k x k bilinear samples around the centre of each LR pixel, k = 3 scale + 1.

    Tap `k * ky + kx` of LR pixel (y, x) is sampled at column
    `(x + 0.5 + offset_h) * scale - 0.5 + kx - k // 2` of the image, and at the row that
    follows alike from `offset_v`. The image continues by reflection for k // 2 pixels,
    beyond them by its outermost ones. As published, both neighbours of a sample left of
    (above) the continued image are the first two columns (rows), weighed by the
    fraction of its position.

    float16 and bfloat16 are computed in float32. Under autocast, inputs of different
    types are brought to the widest. A sum may be added up in another order by each
    implementation. Gradients reach all four tensors, once: they have none themselves.

    Args:
        img: (N, C, scale * h, scale * w).
        kernels: (N, k * k, h, w); channels of a pixel share its kernel.
        offsets_h: displacements to the right, of the shape of `kernels`, in LR pixels.
        offsets_v: displacements downwards, of the shape of `kernels`, in LR pixels.
        scale: 1 or more.

    Returns:
        (N, C, h, w), of the type of `img`.

    Raises:
        TypeError: when a tensor is not floating, or their types differ.
        ValueError: on another shape or device, a scale that is not positive, a side of
            at most k // 2 pixels, or, on a CPU, offsets that, in pixels, are not
            finite. On other devices the latter give NaN.
        NotImplementedError: when gradients are differentiated.
    """
    tensors = {
        'img': img,
        'kernels': kernels,
        'offsets_h': offsets_h,
        'offsets_v': offsets_v,
    }
    _check(tensors, scale)
    if torch.is_autocast_enabled(img.device.type):
        precision = img.dtype
        for tensor in tensors.values():
            precision = torch.promote_types(precision, tensor.dtype)
        output = torch.ops.sr_plugins.adaptive_grid_sample(
            *(tensor.to(precision) for tensor in tensors.values()), scale
        )
        return output.to(img.dtype)
    _check_types(tensors)
    return torch.ops.sr_plugins.adaptive_grid_sample(*tensors.values(), scale)


def adaptive_grid_sample_reference(
    img: Tensor, kernels: Tensor, offsets_h: Tensor, offsets_v: Tensor, scale: int
) -> Tensor:
    """`adaptive_grid_sample` by torch's differentiable operators, tap after tap.

    Autograd through it keeps some twenty images for each of the k * k taps.
    """
    output = img.new_zeros(*img.shape[:2], *kernels.shape[2:])
    for tap in range(kernels.shape[1]):
        place = _place(img, offsets_h, offsets_v, tap, scale)
        output = output + kernels[:, tap : tap + 1] * _sample(img, place)
    return output


def _side(scale: int) -> int:
    """Taps in a row of the kernel."""
    return 3 * scale + 1


class _Place(NamedTuple):
    """Where one tap samples the image: four pixels and the fractions between them."""

    corners: Tensor  # top left, top right, bottom left, bottom right: (4, N, h * w)
    a: Tensor  # from left to right, (N, 1, h, w)
    b: Tensor  # downwards, (N, 1, h, w)


def _place(
    img: Tensor, offsets_h: Tensor, offsets_v: Tensor, tap: int, scale: int
) -> _Place:
    ky, kx = divmod(tap, _side(scale))
    height, width = img.shape[2:]
    left, right, a = _neighbours(offsets_h[:, tap], kx, width, scale, dim=2)
    top, bottom, b = _neighbours(offsets_v[:, tap], ky, height, scale, dim=1)
    rows = torch.stack([top, top, bottom, bottom])
    columns = torch.stack([left, right, left, right])
    corners = (rows * width + columns).flatten(2)
    return _Place(corners, a.unsqueeze(1), b.unsqueeze(1))


def _neighbours(
    offsets: Tensor, tap: int, size: int, scale: int, dim: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The pixels before and after each position along `dim`, and the fraction."""
    pad = _side(scale) // 2
    starts = torch.arange(
        tap - pad, tap - pad + size, scale, dtype=offsets.dtype, device=offsets.device
    )
    starts = starts.unsqueeze(1) if dim == 1 else starts
    # Apart from `starts`, small numbers keep their fractions in wide images.
    displacements = offsets * scale + (scale - 1) / 2
    floor = displacements.detach().floor()
    last = size - 1 + pad
    first = (floor + starts).nan_to_num(0).clamp(-pad, last)
    # Reflected at either end.
    both = torch.stack([first, (first + 1).clamp(max=last)]).abs()
    both = (size - 1 - (size - 1 - both).abs()).long()
    return both[0], both[1], displacements - floor


def _pixels(img: Tensor, place: _Place) -> tuple[Tensor, ...]:
    """The four pixels of (N, C, H, W), each (N, C, h, w)."""
    n, channels = img.shape[:2]
    size = place.a.shape[2:]
    return tuple(
        img.flatten(2)
        .gather(2, corner.unsqueeze(1).expand(n, channels, -1))
        .unflatten(2, size)
        for corner in place.corners
    )


def _sample(img: Tensor, place: _Place) -> Tensor:
    top_left, top_right, bottom_left, bottom_right = _pixels(img, place)
    top = top_left + place.a * (top_right - top_left)
    bottom = bottom_left + place.a * (bottom_right - bottom_left)
    return top + place.b * (bottom - top)


def _check(tensors: dict[str, Tensor], scale: int) -> None:
    if not isinstance(scale, int) or isinstance(scale, bool) or scale < 1:
        raise ValueError(
            f'Expected `scale` to be a positive integer, but got {scale!r}.'
        )
    img, kernels = tensors['img'], tensors['kernels']
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise TypeError(
                f'Expected `{name}` to be of a floating type, but got {tensor.dtype}. '
                f'Images are in [0, 1].'
            )
        if tensor.ndim != 4:
            raise ValueError(
                f'Expected `{name}` to be (N, channels, height, width), but got the '
                f'shape {tuple(tensor.shape)}.'
            )
        if tensor.device != img.device:
            raise ValueError(
                f'Expected `{name}` to be where `img` is, on {img.device}, but got '
                f'{tensor.device}.'
            )
    side = _side(scale)
    n, _, height, width = img.shape
    if height % scale or width % scale:
        raise ValueError(
            f'Expected the sides of `img` to be multiples of `scale`, {scale}, but got '
            f'{height} x {width} (height x width). Pad or crop it.'
        )
    if min(height, width) <= side // 2:
        raise ValueError(
            f'Expected the sides of `img` to be more than the {side // 2} pixels of '
            f'its reflection, but got {height} x {width} (height x width). Pad it.'
        )
    if kernels.shape[1] != side**2:
        raise ValueError(
            f'Expected `kernels` to have {side} * {side} = {side**2} channels, since k '
            f'is 3 * scale + 1 at scale {scale}, but got {kernels.shape[1]}.'
        )
    shape = (n, side**2, height // scale, width // scale)
    for name in ('kernels', 'offsets_h', 'offsets_v'):
        if tensors[name].shape != shape:
            raise ValueError(
                f'Expected `{name}` to be of the shape {shape}, since `img` is of the '
                f'shape {tuple(img.shape)}, but got {tuple(tensors[name].shape)}.'
            )


def _check_types(tensors: dict[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if tensor.dtype != tensors['img'].dtype:
            raise TypeError(
                f'Expected `{name}` to be of the type of `img`, '
                f'{tensors["img"].dtype}, but got {tensor.dtype}. Convert one, or use '
                f'torch.autocast.'
            )


def _check_finite(offsets_h: Tensor, offsets_v: Tensor, scale: int) -> None:
    """On other devices looking would mean to wait for them."""
    for name, offsets in (('offsets_h', offsets_h), ('offsets_v', offsets_v)):
        if offsets.device.type == 'cpu':
            wrong = int((~(offsets * scale).isfinite()).sum())
            if wrong:
                raise ValueError(
                    f'Expected `{name}` times `scale` to be finite, but got {wrong} '
                    f'values that are not. Did the network diverge?'
                )


_NAME = 'sr_plugins::adaptive_grid_sample'
_TENSORS = 'Tensor img, Tensor kernels, Tensor offsets_h, Tensor offsets_v'
_INPUTS = f'{_TENSORS}, int scale'
torch.library.define(_NAME, f'({_INPUTS}) -> Tensor')
torch.library.define(
    f'{_NAME}_backward', f'(Tensor grad, {_INPUTS}) -> (Tensor, Tensor, Tensor)'
)
torch.library.define(f'{_NAME}_backward_img', f'(Tensor grad, {_INPUTS}) -> Tensor')


@torch.library.impl(_NAME, 'CompositeExplicitAutograd')
def _forward(
    img: Tensor, kernels: Tensor, offsets_h: Tensor, offsets_v: Tensor, scale: int
) -> Tensor:
    wide = _widen(img, kernels, offsets_h, offsets_v)
    _check_finite(*wide[2:], scale)
    return adaptive_grid_sample_reference(*wide, scale).to(img.dtype)


@torch.library.register_fake(_NAME)
def _(img, kernels, offsets_h, offsets_v, scale):
    return img.new_empty(*img.shape[:2], *kernels.shape[2:])


@torch.library.impl(f'{_NAME}_backward', 'CompositeExplicitAutograd')
def _backward_maps(
    grad: Tensor,
    img: Tensor,
    kernels: Tensor,
    offsets_h: Tensor,
    offsets_v: Tensor,
    scale: int,
) -> tuple[Tensor, Tensor, Tensor]:
    d_kernels, d_offsets_h, d_offsets_v = outputs = _empty_maps(kernels)
    wide = _widen(grad, img, kernels, offsets_h, offsets_v)
    grad, img, kernels, offsets_h, offsets_v = wide
    for tap in range(kernels.shape[1]):
        place = _place(img, offsets_h, offsets_v, tap, scale)
        top_left, top_right, bottom_left, bottom_right = _pixels(img, place)
        d_top, d_bottom = top_right - top_left, bottom_right - bottom_left
        top, bottom = top_left + place.a * d_top, bottom_left + place.a * d_bottom
        by_column = d_top + place.b * (d_bottom - d_top)
        by_row = bottom - top
        d_kernels[:, tap] = (grad * (top + place.b * by_row)).sum(1)
        factor = kernels[:, tap] * scale
        d_offsets_h[:, tap] = factor * (grad * by_column).sum(1)
        d_offsets_v[:, tap] = factor * (grad * by_row).sum(1)
    return outputs


@torch.library.register_fake(f'{_NAME}_backward')
def _(grad, img, kernels, offsets_h, offsets_v, scale):
    return _empty_maps(kernels)


def _empty_maps(kernels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return tuple(kernels.new_empty(kernels.shape) for _ in range(3))


@torch.library.impl(f'{_NAME}_backward_img', 'CompositeExplicitAutograd')
def _backward_img(
    grad: Tensor,
    img: Tensor,
    kernels: Tensor,
    offsets_h: Tensor,
    offsets_v: Tensor,
    scale: int,
) -> Tensor:
    dtype = img.dtype
    grad, img, kernels, offsets_h, offsets_v = _widen(
        grad, img, kernels, offsets_h, offsets_v
    )
    n, channels = img.shape[:2]
    d_img = img.new_zeros(n, channels, img.shape[2] * img.shape[3])
    for tap in range(kernels.shape[1]):
        corners, a, b = _place(img, offsets_h, offsets_v, tap, scale)
        value = kernels[:, tap : tap + 1] * grad
        shares = ((1 - a) * (1 - b), a * (1 - b), (1 - a) * b, a * b)
        for corner, share in zip(corners, shares, strict=True):
            index = corner.unsqueeze(1).expand(n, channels, -1)
            d_img.scatter_add_(2, index, (value * share).flatten(2))
    return d_img.view(img.shape).to(dtype)


@torch.library.register_fake(f'{_NAME}_backward_img')
def _(grad, img, kernels, offsets_h, offsets_v, scale):
    return img.new_empty(img.shape)


def _widen(*tensors: Tensor) -> list[Tensor]:
    precision = torch.promote_types(tensors[0].dtype, torch.float32)
    return [tensor.to(precision) for tensor in tensors]


def _save(ctx, inputs, output):
    *tensors, ctx.scale = inputs
    ctx.save_for_backward(*tensors)


def _differentiate(ctx, grad):
    inputs = (grad, *ctx.saved_tensors, ctx.scale)
    d_img, maps = None, (None, None, None)
    if ctx.needs_input_grad[0]:
        d_img = torch.ops.sr_plugins.adaptive_grid_sample_backward_img(*inputs)
    if any(ctx.needs_input_grad[1:4]):
        maps = torch.ops.sr_plugins.adaptive_grid_sample_backward(*inputs)
    return d_img, *maps, None


def _refuse(ctx, *grads):
    raise NotImplementedError(
        'Expected first derivatives of adaptive_grid_sample only, but got a gradient '
        'of its gradients. adaptive_grid_sample_reference has them.'
    )


torch.library.register_autograd(_NAME, _differentiate, setup_context=_save)
torch.library.register_autograd(f'{_NAME}_backward', _refuse)
torch.library.register_autograd(f'{_NAME}_backward_img', _refuse)
