#!/usr/bin/env python
"""Write a network as an ONNX file for images of any number and size.

onnxruntime has to give what torch does, to 1e-4 at three sizes; otherwise nothing is
written. The comparison is printed and, with all that the file says of itself, written
to <file>.json. CAR becomes two files, <name>_downscale.onnx and <name>_upscale.onnx.

By default the graph takes and gives float32 (N, C, H, W), RGB in [0, 1]. With --uint8
it takes an image as it is in memory, and gives one that is clamped and rounded.

Examples:
  python tools/export.py configs/csnln_x2.py work_dirs/csnln_x2/best.pth
  python tools/export.py configs/edsr_x2.py edsr_x2-0edfb8a3.pt --out edsr_x2.onnx
  python tools/export.py configs/edsr_x2.py edsr_x2-0edfb8a3.pt --uint8 --layout HWC \\
      --order BGR
"""

import argparse
from pathlib import Path

import sr_plugins.compat  # noqa: F401  (first: it repairs what follows)

from sr_plugins.engine import add_config_options, load_config, plain_errors
from sr_plugins.export import add_interface_options, export_onnx, parse_interface
from sr_plugins.inference import load_network


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file, such as configs/csnln_x2.py')
    parser.add_argument('checkpoint', help='weights, of any dialect')
    parser.add_argument(
        '--format', choices=('onnx',), default='onnx', help='of the file (onnx)'
    )
    parser.add_argument(
        '--out', help='the file (work_dirs/<config>/export/<checkpoint>.onnx)'
    )
    parser.add_argument('--scale', type=int, help='of a network of several, MDSR')
    add_interface_options(parser)
    add_config_options(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    config, checkpoint = Path(args.config), Path(args.checkpoint)
    interface = parse_interface(args)
    cfg = load_config(config, scale=args.scale, cfg_options=args.cfg_options)
    out = args.out or Path('work_dirs', config.stem, 'export', checkpoint.stem)
    network = load_network(cfg, checkpoint)
    for exported in export_onnx(network, out, interface):
        print(f'\n{exported.table()}\n\nWritten to {exported.path}.')


if __name__ == '__main__':
    with plain_errors():
        main()
