#!/usr/bin/env python
"""Write weights as a file that another package loads.

Takes weights of any dialect and finds out which; nothing in a file is executed. The
other package loads what is written with strict=True:
  sr_plugins  our names, images in [0, 1]; the network's plain state dict
  published   the authors' names and range, constants included; a whole CAR becomes a
              folder with kgn.pth and usn.pth, and such a folder can be IN
  basicsr     {'params': ...} of its EDSR, images in [0, 255]
  mmagic      {'state_dict': {'generator. ...'}, ...} of a model with its EDSRNet
BasicSR and mmagic have EDSR alone; their own files load here without this.

OUT is written whole or not at all, and replaces what is there, but never IN.

Examples:
  python tools/convert_checkpoint.py edsr_x2-0edfb8a3.pt edsr_x2.pth --to basicsr
  python tools/convert_checkpoint.py work_dirs/car_x2/best.pth car/2x --to published
"""

import argparse

from sr_plugins.checkpoints import PACKAGES, convert
from sr_plugins.engine import plain_errors


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('input', metavar='IN', help='weights, of any dialect')
    parser.add_argument('output', metavar='OUT', help='the file to write')
    parser.add_argument(
        '--to', required=True, choices=PACKAGES, help='who is to load the file'
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    done = convert(args.input, args.output, args.to)
    files = ' and '.join(map(str, done.files))
    print(f'{done.summary}: from {done.source} names to {done.target}, {files}.')
    if done.widened:
        print(
            f'In float64, so that the way back gives the same bits: '
            f'{", ".join(done.widened)}.'
        )


if __name__ == '__main__':
    with plain_errors():
        main()
