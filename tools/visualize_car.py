#!/usr/bin/env python
"""Show in a picture with which kernels and displaced taps CAR downscales a photograph.

For some pixels of the downscaled image, their taps over the photograph (8 bits per
channel; transparency is ignored) and the weights of these.

Examples:
  python tools/visualize_car.py configs/car_x4.py work_dirs/car_x4/best.pth photo.png \\
      --out results/kernels.png
  python tools/visualize_car.py configs/car_x4.py work_dirs/car_x4/best.pth photo.png \\
      --pixels 10,20 31,7
"""

import argparse
import sys

import sr_plugins.compat  # noqa: F401  (first: it repairs what follows)

from sr_plugins.engine import add_config_options, load_config
from sr_plugins.inference import Rescaler, plot_kernels


def pixel(text: str) -> tuple[int, int]:
    row, column = map(int, text.split(','))
    return row, column


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file, such as configs/car_x4.py')
    parser.add_argument('checkpoint', help='weights, of any dialect')
    parser.add_argument('image', help='photograph at full size')
    parser.add_argument('--out', default='results/kernels.png', help='the picture')
    parser.add_argument(
        '--pixels',
        nargs='+',
        type=pixel,
        metavar='ROW,COLUMN',
        help='in the downscaled image (two with much contrast around and a flat one)',
    )
    parser.add_argument('--device', help='cpu, cuda, cuda:1, ... (a GPU if there is)')
    add_config_options(parser)
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    try:
        cfg = load_config(args.config, cfg_options=args.cfg_options)
        rescaler = Rescaler.from_config(cfg, args.checkpoint, args.device)
        plot_kernels(rescaler, args.image, args.out, args.pixels)
    except (ValueError, OSError, MemoryError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f'The picture is in {args.out}.')
    return 0


if __name__ == '__main__':
    sys.exit(main())
