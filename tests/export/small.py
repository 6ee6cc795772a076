"""Every family that can be exported, small enough for a test."""

import torch

from sr_plugins.archs import CAR, CSNLN, EDSR, ESRN, MDSR

CODES = ['S_2_8_12', 'C_2_8_16', 'G_4_8_8']
TINY = {'mid_channels': 8, 'num_blocks': 1}
NETWORKS = {
    'edsr x1': lambda: EDSR(1, **TINY),
    'edsr x3': lambda: EDSR(3, res_scale=0.1, **TINY),
    'edsr x4, grey': lambda: EDSR(4, 1, 1, **TINY),
    'mdsr x2': lambda: MDSR(scale=2, **TINY),
    'mdsr x4': lambda: MDSR(scale=4, **TINY),
    'esrn x2': lambda: ESRN(CODES, 2, mid_channels=8),
    'esrn x3': lambda: ESRN(
        CODES, 3, mid_channels=8, bias=True, mean_shift=True, global_skip=True
    ),
    'csnln x2': lambda: CSNLN(2, mid_channels=8, num_recurrences=1),
    'csnln x3': lambda: CSNLN(3, mid_channels=8, num_recurrences=1),
    'csnln x4': lambda: CSNLN(4, mid_channels=8, num_recurrences=1),
}


def make(name):
    torch.manual_seed(0)
    return NETWORKS[name]().eval()


def make_car(scale):
    """Whose taps are displaced by about a pixel, some beyond the borders."""
    torch.manual_seed(0)
    car = CAR(scale, downscaler=TINY, upscaler=TINY).eval()
    with torch.no_grad():
        for head in (car.downscaler.offsets_h_head, car.downscaler.offsets_v_head):
            head.conv2.weight.mul_(3e3)
    return car


def random_image(rng, n, channels, height, width):
    """8-bit images, (N, channels, H, W) in [0, 1]."""
    x = torch.from_numpy(rng.integers(0, 256, (n, channels, height, width)))
    return x.float() / 255
