#!/usr/bin/env python
"""Write a network as an ONNX file in int8, and say what that gains and costs.

Ranges of values follow from training images. Then torch, onnxruntime in float32 and
onnxruntime in int8 are tested on every set that is present, in one run: scores, size of
the files, and seconds for all images of a set by the clock and of all threads together.

Writes <checkpoint>.onnx and <checkpoint>_int8.onnx with a report each, of CAR two of
both, and results.md and results.json with the table. The graphs take and give what
those of tools/export.py do, float32 unless --uint8.

Examples:
  python tools/quantize.py configs/edsr_baseline_x2.py \\
      work_dirs/edsr_baseline_x2/best.pth
  python tools/quantize.py configs/demo_edsr_x2.py work_dirs/demo_edsr_x2/best.pth \\
      --datasets Demo --method minmax --all-layers
  python tools/quantize.py configs/edsr_x2.py edsr_x2-0edfb8a3.pt --uint8 \\
      --layout HWC --order BGR
"""

import argparse
from pathlib import Path

import sr_plugins.compat  # noqa: F401  (first: it repairs what follows)

from sr_plugins.engine import (
    add_config_options,
    build_test_runner,
    load_config,
    plain_errors,
)
from sr_plugins.export import (
    Candidate,
    add_interface_options,
    calibration_images,
    compare_candidates,
    export_onnx,
    onnx_network,
    parse_interface,
    quantize_exported,
    write_comparison,
)
from sr_plugins.inference import load_network


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file, such as configs/csnln_x2.py')
    parser.add_argument('checkpoint', help='weights, of any dialect')
    parser.add_argument('--out', help='output folder (work_dirs/<config>/int8)')
    parser.add_argument('--scale', type=int, help='of a network of several, MDSR')
    parser.add_argument('--data-root', help='folder of the data sets (data)')
    parser.add_argument(
        '--datasets', nargs='+', metavar='NAME', help='sets to test (all present)'
    )
    parser.add_argument(
        '--method',
        choices=('percentile', 'entropy', 'minmax'),
        default='percentile',
        help='how ranges follow from values (percentile)',
    )
    parser.add_argument(
        '--percentile',
        type=float,
        default=99.999,
        help='how many values in 100 a range holds (99.999)',
    )
    parser.add_argument(
        '--images', type=int, default=32, help='training images to calibrate with (32)'
    )
    parser.add_argument(
        '--crop',
        type=int,
        default=64,
        help='pixels a side of what is taken of one (64)',
    )
    parser.add_argument(
        '--all-layers',
        action='store_true',
        help='in int8 the first and the last layer, too',
    )
    parser.add_argument(
        '--reduce-range',
        action='store_true',
        help='weights in 7 bits, for processors without VNNI',
    )
    parser.add_argument(
        '--repeats',
        type=int,
        default=3,
        help='how often an image is timed; the quickest counts (3)',
    )
    add_interface_options(parser)
    add_config_options(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    config, checkpoint = Path(args.config), Path(args.checkpoint)
    interface = parse_interface(args)
    out = Path(args.out or Path('work_dirs', config.stem, 'int8'))
    cfg = load_config(
        config,
        work_dir=str(out),
        data_root=args.data_root,
        scale=args.scale,
        cfg_options=args.cfg_options,
    )
    network = load_network(cfg, checkpoint)
    images = calibration_images(cfg, args.images, args.crop)
    runner = build_test_runner(cfg, args.datasets)
    exported = export_onnx(network, out / checkpoint.stem, interface)
    quantized = quantize_exported(
        exported,
        images,
        method=args.method,
        percentile=args.percentile,
        all_layers=args.all_layers,
        reduce_range=args.reduce_range,
    )
    candidates = {'torch': Candidate(network.eval())}
    for name, files in (('onnx float32', exported), ('onnx int8', quantized)):
        paths = [file.path for file in files]
        size = sum(path.stat().st_size for path in paths)
        candidates[name] = Candidate(onnx_network(paths), size)
    results = compare_candidates(runner, candidates, args.repeats)
    details = {'config': str(config), 'checkpoint': str(checkpoint)}
    for file in quantized:
        details[file.path.name] = file.sentence()
    text = write_comparison(results, candidates, network, out, details)
    print(f'\n{text}\nWritten to {out}.')


if __name__ == '__main__':
    with plain_errors():
        main()
