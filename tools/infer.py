#!/usr/bin/env python
"""Enlarge photographs: a file, a folder or a pattern in, a folder of PNGs out.

Grey images stay grey, 16-bit ones keep 16 bits, alpha is enlarged by bicubic. Images
of any size from 1 x 1 pixel on are taken.

Examples:
  python tools/infer.py configs/csnln_x2.py work_dirs/csnln_x2/best.pth photo.jpg
  python tools/infer.py configs/edsr_x2.py edsr_x2-0edfb8a3.pt 'photos/*.png' --out big
"""

import argparse
import sys
from pathlib import Path

import sr_plugins.compat  # noqa: F401  (first: it repairs what follows)

from mmengine.config import DictAction
from tqdm import tqdm

from sr_plugins.engine import load_config
from sr_plugins.inference import (
    Upscaler,
    find_images,
    read_photograph,
    write_photograph,
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file, such as configs/csnln_x2.py')
    parser.add_argument('checkpoint', help='weights, of any dialect')
    parser.add_argument('input', help='image, folder of images, or quoted pattern')
    parser.add_argument('--out', default='results', help='output folder (results)')
    parser.add_argument('--device', help='cpu, cuda, cuda:1, ... (a GPU if there is)')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='replace entries of the config',
    )
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    paths = find_images(args.input)
    cfg = load_config(args.config, cfg_options=args.cfg_options)
    upscaler = Upscaler(cfg, args.checkpoint, args.device)
    failed = []
    for path in tqdm(paths, unit='image'):
        try:
            photograph = read_photograph(path)
        except ValueError as error:
            failed.append(str(error))
            continue
        name = f'{path.stem}x{upscaler.scale}.png'
        write_photograph(Path(args.out, name), upscaler(photograph))
    print(f'{len(paths) - len(failed)} images written to {args.out}.')
    for message in failed:
        print(message, file=sys.stderr)
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
