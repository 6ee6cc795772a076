#!/usr/bin/env python
"""Compare bicubic, a network and the original on one photograph, in a picture.

The photograph (8 bits per channel; transparency is ignored) is reduced by MATLAB's
bicubic and enlarged again by both. CAR enlarges its own reduction.

Example:
  python tools/compare.py configs/demo_edsr_x2.py work_dirs/demo_edsr_x2/best.pth \\
      data/demo/benchmark/Demo/HR/astronaut.png --out results/comparison.png
"""

import argparse
import sys
from pathlib import Path

import sr_plugins.compat  # noqa: F401  (first: it repairs what follows)

from sr_plugins.engine import add_config_options, load_config
from sr_plugins.inference import compare, scaler_from_config


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file, such as configs/csnln_x2.py')
    parser.add_argument('checkpoint', help='weights, of any dialect')
    parser.add_argument('image', help='photograph at full size')
    parser.add_argument('--out', default='results/comparison.png', help='the picture')
    parser.add_argument(
        '--scale', type=int, help='of a network of several, MDSR (the first)'
    )
    parser.add_argument('--device', help='cpu, cuda, cuda:1, ... (a GPU if there is)')
    add_config_options(parser)
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    try:
        cfg = load_config(args.config, scale=args.scale, cfg_options=args.cfg_options)
        scaler = scaler_from_config(cfg, args.checkpoint, args.device)
        compare(scaler, args.image, args.out, label=Path(args.config).stem)
    except (ValueError, OSError, MemoryError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f'The comparison is in {args.out}.')
    return 0


if __name__ == '__main__':
    sys.exit(main())
