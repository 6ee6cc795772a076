"""Lay out training, validation and test images; see `--help` of each command."""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sr_plugins.preparation import (
    DIV2K_URL,
    download_div2k,
    prepare_benchmark,
    prepare_demo,
    prepare_div2k,
    prepare_gopro,
)

EXAMPLES = """examples:
  prepare_data.py demo
      ten photographs to train on, one to validate and two to test with, in
      data/demo; no download
  prepare_data.py div2k --download
      the published archives of DIV2K, in data/DIV2K
  prepare_data.py div2k --hr DIV2K_train_HR --valid-hr DIV2K_valid_HR
      the unpacked archives of DIV2K, or folders of any other photographs
  prepare_data.py benchmark --hr Set5/HR --name Set5
      a test set, in data/benchmark/Set5
  prepare_data.py gopro --source GOPRO_Large
      the unpacked archive of GoPro, blurred and sharp, in data/GoPro

Low-resolution images are made as MATLAB's imresize makes them, bit for bit; those
of --download are the published ones. A command that was stopped goes on where it
was when it is run again.
"""
HR = {
    'type': Path,
    'metavar': 'FOLDER',
    'help': 'high-resolution images: PNG, JPEG, BMP, TIFF or WebP, 8 bits a channel',
}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')

    demo = commands.add_parser(
        'demo', help='photographs that scikit-image and scikit-learn bring along'
    )
    _add_common(demo, Path('data/demo'))

    div2k = commands.add_parser('div2k', help='DIV2K, or training images of your own')
    source = div2k.add_mutually_exclusive_group(required=True)
    source.add_argument('--hr', **HR)
    source.add_argument(
        '--download',
        action='store_true',
        help='fetch the published images instead, also the low-resolution ones',
    )
    div2k.add_argument(
        '--url',
        metavar='URL',
        help=f'with --download: the folder of the archives (default: {DIV2K_URL})',
    )
    div2k.add_argument(
        '--keep-archives',
        action='store_true',
        help='with --download: keep the archives that were unpacked',
    )
    div2k.add_argument(
        '--valid-hr',
        type=Path,
        metavar='FOLDER',
        help='validation images (default: the images 0801 to 0900 of --hr)',
    )
    _add_common(div2k, Path('data'))

    benchmark = commands.add_parser('benchmark', help='a test set, such as Set5')
    benchmark.add_argument('--hr', required=True, **HR)
    benchmark.add_argument('--name', required=True, help='name of the set: Set5')
    _add_common(benchmark, Path('data'))

    gopro = commands.add_parser('gopro', help='GoPro, for deblurring')
    gopro.add_argument(
        '--source',
        type=Path,
        required=True,
        metavar='FOLDER',
        help='the unpacked archive, with the folders train and test',
    )
    _add_out(gopro, Path('data'))
    args = parser.parse_args(argv)
    if args.command == 'div2k' and args.download and args.valid_hr:
        div2k.error('argument --valid-hr: not allowed with argument --download')
    if args.command == 'div2k' and not args.download:
        for option in ('url', 'keep_archives'):
            if getattr(args, option):
                name = option.replace('_', '-')
                div2k.error(f'argument --{name}: only allowed with --download')
    return args


def _add_out(parser: argparse.ArgumentParser, out: Path) -> None:
    parser.add_argument(
        '--out',
        type=Path,
        default=out,
        metavar='FOLDER',
        help='where to write (default: %(default)s)',
    )


def _add_common(parser: argparse.ArgumentParser, out: Path) -> None:
    _add_out(parser, out)
    parser.add_argument(
        '--scales',
        type=int,
        nargs='+',
        default=[2, 3, 4],
        metavar='N',
        help='factors to shrink by (default: 2 3 4)',
    )
    parser.add_argument(
        '--workers',
        type=int,
        default=os.cpu_count() or 1,
        metavar='N',
        help='number of processes (default: one for every core)',
    )


def main() -> int:
    """Run the command and give the exit status: 1 where an image failed."""
    args = parse_args()
    common = {'out': args.out}
    if args.command != 'gopro':
        common |= {'scales': args.scales, 'workers': args.workers}
    try:
        if args.command == 'gopro':
            report = prepare_gopro(args.source, **common)
        elif args.command == 'demo':
            report = prepare_demo(**common)
        elif args.command == 'div2k' and args.download:
            report = download_div2k(
                args.out, args.scales, args.url or DIV2K_URL, args.keep_archives
            )
        elif args.command == 'div2k':
            report = prepare_div2k(args.hr, valid_hr=args.valid_hr, **common)
        else:
            report = prepare_benchmark(args.hr, args.name, **common)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('\nStopped. Run the same command again to go on.', file=sys.stderr)
        return 130
    print(report)
    return 1 if report.failed else 0


if __name__ == '__main__':
    sys.exit(main())
