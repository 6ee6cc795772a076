#!/usr/bin/env python
"""Enlarge photographs: a file, a folder or a pattern in, a folder of PNGs out.

photo.jpg becomes <out>/photox2.png, replacing what is there. Two images that would
become the same file, or an output that would replace an input, stop the run before
it starts. Images that cannot be read are named at the end, the others go on.

CAR downscales photographs and enlarges what came of them:
  --mode downscale  photo.jpg becomes photo_down2.png, in 8 bits
  --mode upscale    photo_down2.png becomes photo_down2x2.png, of the size of photo.jpg,
                    which it notes in a text field; images without that are enlarged
                    by the scale
  --mode both       both files, the same bit for bit; what CAR does when not told

What goes in and what comes out, for images of any size from 1 x 1 pixel on:
  grey, 1-bit              grey, the mean of the three channels that the network gives
  RGB, palette, CMYK       RGB
  alpha, transparent       alpha, resized by bicubic; colours below it are kept
    colour or entry
  16 bits (PNG, TIFF)      16 bits; grey with alpha as RGBA of three equal channels
  orientation of a camera  applied
  colour profile           kept, except that of CMYK; other metadata are not
Floating point and other depths, animations and files of several pages are refused.

With --onnx a file of tools/export.py or tools/quantize.py takes the place of config and
checkpoint, on the CPU. Of CAR each file does what it can; with both, --mode chooses.

The exit status is 0 if all went well, 1 if not, 130 after Ctrl-C.

Examples:
  python tools/infer.py configs/csnln_x2.py work_dirs/csnln_x2/best.pth photo.jpg
  python tools/infer.py configs/edsr_x2.py edsr_x2-0edfb8a3.pt 'photos/*.png' --out big
  python tools/infer.py configs/car_x4.py work_dirs/car_x4/best.pth photo.jpg \\
      --mode downscale
  python tools/infer.py --onnx edsr_x2.onnx photos --tile 256
"""

import argparse
import sys

import sr_plugins.compat  # noqa: F401  (first: it repairs what follows)

from tqdm import tqdm

from sr_plugins.engine import (
    add_config_options,
    add_image_options,
    load_config,
    parse_image_options,
)
from sr_plugins.export import onnx_network
from sr_plugins.inference import (
    Rescaler,
    Share,
    Upscaler,
    find_images,
    make_scaler,
    peak_memory,
    plan_outputs,
    read_photograph,
    scaler_from_config,
    steps,
    write_photograph,
)


def parse_args() -> argparse.Namespace:
    graphs = argparse.ArgumentParser(add_help=False)
    graphs.add_argument(
        '--onnx',
        action='append',
        metavar='FILE',
        help='in place of config and checkpoint; twice for the two files of CAR',
    )
    parser = argparse.ArgumentParser(
        usage='%(prog)s CONFIG CHECKPOINT INPUT [options]\n'
        '       %(prog)s --onnx FILE INPUT [options]',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[graphs],
    )
    if graphs.parse_known_args()[0].onnx is None:
        parser.add_argument('config', help='config file, such as configs/csnln_x2.py')
        parser.add_argument('checkpoint', help='weights, of any dialect')
    parser.add_argument('input', help='image, folder of images, or quoted pattern')
    parser.add_argument('--out', default='results', help='output folder (results)')
    parser.add_argument(
        '--mode',
        choices=('downscale', 'upscale', 'both'),
        help='what CAR is to do (both)',
    )
    parser.add_argument(
        '--scale', type=int, help='of a network of several, MDSR (the first)'
    )
    parser.add_argument('--device', help='cpu, cuda, cuda:1, ... (a GPU if there is)')
    add_image_options(parser)
    parser.add_argument(
        '--compile', action='store_true', help='use torch.compile; it takes a while'
    )
    parser.add_argument(
        '--launcher',
        choices=('none', 'pytorch'),
        default='none',
        help='set by dist_infer.sh',
    )
    add_config_options(parser)
    return parser.parse_args()


def build(args: argparse.Namespace, share: Share) -> Upscaler | Rescaler:
    names = ('chop', 'tile', 'overlap', 'seams', 'self_ensemble')
    options = {name: getattr(args, name) for name in names}
    if args.onnx:
        others = (args.scale, args.amp, args.compile or None, args.cfg_options)
        if any(other is not None for other in (*others, args.device)):
            raise ValueError(
                'Expected none of `--scale`, `--amp`, `--compile`, `--cfg-options` and '
                '`--device` with `--onnx`, which runs a file as it is on the CPU.'
            )
        network = onnx_network(args.onnx)
        return make_scaler(network, 'cpu', **parse_image_options(**options))
    cfg = load_config(
        args.config,
        scale=args.scale,
        **options,
        inference_amp=args.amp,
        cfg_options=args.cfg_options,
    )
    device = args.device or share.device()
    return scaler_from_config(cfg, args.checkpoint, device, args.compile)


def process_all(args: argparse.Namespace, share: Share) -> list[str]:
    """Do this process's share of the work; return why images failed, of all."""
    scaler = share.together(lambda: build(args, share))
    chain = steps(scaler, args.mode)

    def plan() -> tuple[list, list]:
        paths = find_images(args.input)
        endings = [ending for ending, _ in chain]
        return paths, [plan_outputs(paths, args.out, ending) for ending in endings]

    paths, outputs = share.together(plan, by_main=True)
    failures, written = [], 0
    for source in tqdm(share.of_mine(paths), unit='image', disable=not share.is_main):
        try:
            image = read_photograph(source)
        except (ValueError, OSError) as error:
            failures.append(str(error))
            continue
        for (_, function), targets in zip(chain, outputs, strict=True):
            try:
                image = function(image)
            except (ValueError, MemoryError) as error:
                failures.append(f'{source}: {error}')
                break
            write_photograph(targets[source], image)
            written += 1
    total = sum(share.gather(written))
    memory = share.gather(peak_memory(scaler.device))
    if share.is_main:
        print(f'{total} images written to {args.out}. {max(memory)}')
    failures = [message for each in share.gather(failures) for message in each]
    return failures if share.is_main else []


def main() -> int:
    args = parse_args()
    try:
        share = Share(args.launcher)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    try:
        failures = process_all(args, share)
    except (ValueError, OSError, ImportError) as error:
        failures = [str(error)]
    except KeyboardInterrupt:
        print('Interrupted. Files that are there are whole.', file=sys.stderr)
        return 130
    finally:
        share.leave()
    for message in failures:
        print(message, file=sys.stderr)
    return 1 if failures else 0


if __name__ == '__main__':
    sys.exit(main())
