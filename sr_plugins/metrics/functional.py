"""PSNR and SSIM under the named protocols of the super-resolution papers.

The same pair of images scores up to 2 dB apart depending on the colour channels
and the border that are compared, so no figure here comes without its protocol.
"""

import math
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

PEAK = 255
# ITU-R BT.601 luma as MATLAB's rgb2ycbcr has it, times 256, for R, G and B in 0..255.
LUMA_WEIGHTS = np.array([65.738, 129.057, 25.064])
LUMA_DIVISOR = 256
LUMA_OFFSET = 16
SSIM_WINDOW = 11
SSIM_SIGMA = 1.5
SSIM_K1 = 0.01
SSIM_K2 = 0.03

_CHOICES = {
    'channels': ('y', 'rgb'),
    'quantization': ('round', 'truncate'),
    'ssim_windows': ('inside', 'mirrored'),
}


@dataclass(frozen=True)
class Protocol:
    """What two images are compared on.

    Attributes:
        name: The key in `PROTOCOLS`.
        channels: 'y' compares the luma, 'rgb' all three channels.
        extra_border: `scale + extra_border` pixels are cut from every side; None cuts
            nothing.
        description: Who uses it, for tables and help texts.
        quantization: How values become those of 8 bits: 'round' as a saved file has
            them, or 'truncate' to drop the fraction.
        psnr_luma_divisor: By what `LUMA_WEIGHTS` are divided for PSNR; 256 is right.
            SSIM has the right luma always.
        ssim_windows: 'inside' takes windows that lie inside the image, 'mirrored' one
            around every pixel of the image, which is mirrored at its borders.
    """

    name: str
    channels: Literal['y', 'rgb']
    extra_border: int | None
    description: str
    quantization: Literal['round', 'truncate'] = 'round'
    psnr_luma_divisor: int = LUMA_DIVISOR
    ssim_windows: Literal['inside', 'mirrored'] = 'inside'

    def __post_init__(self) -> None:
        for field, known in _CHOICES.items():
            if getattr(self, field) not in known:
                raise ValueError(
                    f'Expected `{field}` of a protocol to be one of {known}, but got '
                    f'{getattr(self, field)!r}.'
                )

    def border(self, scale: int) -> int:
        """Give the number of pixels that are cut from every side."""
        return 0 if self.extra_border is None else scale + self.extra_border


PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            'edsr_y', 'y', 0, 'luma, border = scale: Set5, Set14, ... in the papers'
        ),
        Protocol('rgb', 'rgb', 0, 'RGB, border = scale: BasicSR and MMagic'),
        Protocol(
            'edsr_div2k', 'rgb', 6, "RGB, border = scale + 6: EDSR's DIV2K validation"
        ),
        Protocol('rgb_whole', 'rgb', None, 'RGB, no border: deblurring, GoPro'),
        # https://github.com/sunwj/CAR, run.py and utils.py.
        Protocol(
            'car_y',
            'y',
            0,
            'luma / 255, fractions dropped, border = scale: the tables of CAR',
            quantization='truncate',
            psnr_luma_divisor=255,
            ssim_windows='mirrored',
        ),
    )
}


def psnr(
    output: np.ndarray, target: np.ndarray, protocol: str | Protocol, scale: int
) -> float:
    """Give the peak signal-to-noise ratio in dB, peak 255.

    Both images are clamped to 0..255 and made whole numbers first, rounded as in a
    saved file where the protocol does not say otherwise. A grey image counts as RGB
    with three equal channels.

    Args:
        output: The network's image, RGB or grey, (H, W, 3), (H, W, 1) or (H, W),
            `uint8` or floating point in 0..255.
        target: The original, of the shape of `output`.
        protocol: A key of `PROTOCOLS` or a `Protocol` of your own.
        scale: The factor of super-resolution, which sets the border.

    Returns:
        The PSNR; infinity for equal images, and NaN where a pixel is NaN.

    Raises:
        ValueError: The shapes differ or are no images, the protocol is unknown,
            or no pixel is left inside the border.
    """
    protocol = get_protocol(protocol)
    output, target = _comparable(output, target, protocol, scale, min_side=1)
    if protocol.channels == 'y':
        weights = LUMA_WEIGHTS / protocol.psnr_luma_divisor
        output, target = output @ weights, target @ weights
    mse = float(np.mean((output - target) ** 2))
    return math.inf if mse == 0 else 10 * math.log10(PEAK**2 / mse)


def ssim(
    output: np.ndarray, target: np.ndarray, protocol: str | Protocol, scale: int
) -> float:
    """Give the structural similarity as the authors' MATLAB code does.

    Gaussian window of 11 x 11 pixels with sigma 1.5, K1 = 0.01, K2 = 0.03, and, where
    the protocol has no others, only windows that lie fully inside the image. The luma
    is not rounded; RGB is the mean of the three channels. BasicSR gives the same
    figures for `rgb`; MMagic's own SSIM differs by about 0.01.

    Args:
        output: As for `psnr`.
        target: As for `psnr`.
        protocol: As for `psnr`.
        scale: As for `psnr`.

    Returns:
        The SSIM, 1 for equal images.

    Raises:
        ValueError: As for `psnr`, and where less than one window is left inside
            the border: there is no SSIM of such an image, and a mean over a data
            set that skipped it could not be compared with a published one.
    """
    protocol = get_protocol(protocol)
    window_mean, min_side = _WINDOWS[protocol.ssim_windows]
    output, target = _comparable(output, target, protocol, scale, min_side)
    if protocol.channels == 'y':
        weights = LUMA_WEIGHTS / LUMA_DIVISOR
        output, target = output @ weights + LUMA_OFFSET, target @ weights + LUMA_OFFSET
    c1 = (SSIM_K1 * PEAK) ** 2
    c2 = (SSIM_K2 * PEAK) ** 2
    mean_x, mean_y = window_mean(output), window_mean(target)
    var_x = window_mean(output**2) - mean_x**2
    var_y = window_mean(target**2) - mean_y**2
    covariance = window_mean(output * target) - mean_x * mean_y
    similarity = ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)) / (
        (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
    )
    return float(similarity.mean())


def get_protocol(protocol: str | Protocol) -> Protocol:
    """Look up a protocol by its name.

    Raises:
        ValueError: There is no such name.
    """
    if isinstance(protocol, Protocol):
        return protocol
    if protocol not in PROTOCOLS:
        raise ValueError(
            f'Expected `protocol` to be one of {sorted(PROTOCOLS)}, but got '
            f'{protocol!r}.'
        )
    return PROTOCOLS[protocol]


def _comparable(
    output: np.ndarray,
    target: np.ndarray,
    protocol: Protocol,
    scale: int,
    min_side: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Give both images as (H, W, 3) in float64, quantised and cropped."""
    if output.shape != target.shape:
        raise ValueError(
            'Expected `output` and `target` to have the same shape, but got '
            f'{output.shape} and {target.shape}. Crop the target to a multiple of '
            'the scale.'
        )
    if output.ndim not in (2, 3) or (
        output.ndim == 3 and output.shape[2] not in (1, 3)
    ):
        raise ValueError(
            'Expected images of the shape (H, W), (H, W, 1) or (H, W, 3), but got '
            f'{output.shape}.'
        )
    if scale < 1:
        raise ValueError(f'Expected `scale` to be at least 1, but got {scale}.')
    border = protocol.border(scale)
    height, width = output.shape[:2]
    if min(height, width) < 2 * border + min_side:
        raise ValueError(
            f'Expected an image of at least {2 * border + min_side} x '
            f'{2 * border + min_side} pixels, since protocol {protocol.name!r} cuts '
            f'{border} pixels from every side at scale {scale}, but got '
            f'{height} x {width} (height x width).'
        )
    inside = np.s_[border : height - border, border : width - border]
    return (
        _to_rgb(output[inside], protocol.quantization),
        _to_rgb(target[inside], protocol.quantization),
    )


def _to_rgb(image: np.ndarray, quantization: str) -> np.ndarray:
    """Give (H, W, 3) RGB in float64, of whole numbers in 0..255."""
    image = np.clip(image.astype(np.float64), 0, PEAK)
    image = np.rint(image) if quantization == 'round' else np.trunc(image)
    if image.ndim == 2:
        image = image[..., None]
    if image.shape[2] == 1:
        # EDSR's data loader copies grey to three channels. Its luma weights add
        # up to 0.86, so comparing the grey itself would score 1.3 dB lower.
        image = image.repeat(3, axis=2)
    return image


def _mean_inside(image: np.ndarray) -> np.ndarray:
    """Average over every Gaussian window that lies fully inside the image."""
    edge = SSIM_WINDOW // 2
    return _mean_mirrored(image)[edge:-edge, edge:-edge]


def _mean_mirrored(image: np.ndarray) -> np.ndarray:
    """Average over a Gaussian window around every pixel.

    Mirrored with its outermost pixels repeated.
    """
    return cv2.GaussianBlur(
        np.ascontiguousarray(image),
        (SSIM_WINDOW, SSIM_WINDOW),
        SSIM_SIGMA,
        borderType=cv2.BORDER_REFLECT,
    )


# How to average, and the shortest side that has an average.
_WINDOWS = {'inside': (_mean_inside, SSIM_WINDOW), 'mirrored': (_mean_mirrored, 1)}
