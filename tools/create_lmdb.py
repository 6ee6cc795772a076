#!/usr/bin/env python
"""Put training images into LMDB stores, from which a crop costs what the crop costs.

A folder `DIV2K_train_HR` becomes the store `DIV2K_train_HR.lmdb` beside it. A call that
was stopped goes on where it was when it is run again.

Layouts:
  raw  pixels, of which a crop is read without the rest; 8.4 MB for an image of DIV2K
  png  PNG files, as BasicSR's own LMDB has them and reads them

Examples:
  python tools/create_lmdb.py
      the training images of data/DIV2K, HR and LR at x2, x3 and x4
  python tools/create_lmdb.py --scales 2 --layout png --sub-images 480 240
      sub-images of 480 x 480, one every 240 pixels, as BasicSR's users make them
  python tools/create_lmdb.py --hr Flickr2K/HR --lr 'Flickr2K/LR/X{scale}'
  python tools/create_lmdb.py --verify
      read everything back
"""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sr_plugins.datasets.lmdb_store import (
    LAYOUTS,
    create_store,
    pair_store,
    plan_pairs,
    require_room,
    verify_store,
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--data-root', type=Path, default=Path('data'), help='(default: %(default)s)'
    )
    parser.add_argument(
        '--hr',
        default='DIV2K/DIV2K_train_HR',
        metavar='FOLDER',
        help='HR images, under the data root (default: %(default)s)',
    )
    parser.add_argument(
        '--lr',
        default='DIV2K/DIV2K_train_LR_bicubic/X{scale}',
        metavar='FOLDER',
        help='LR images, under the data root (default: %(default)s)',
    )
    parser.add_argument(
        '--scales',
        type=int,
        nargs='*',
        default=[2, 3, 4],
        metavar='N',
        help='which LR images; none for HR only (default: 2 3 4)',
    )
    parser.add_argument(
        '--out',
        type=Path,
        metavar='FOLDER',
        help='where the stores go, in place of the data root',
    )
    parser.add_argument('--layout', choices=LAYOUTS, default='raw', help='(raw)')
    parser.add_argument(
        '--sub-images',
        type=int,
        nargs=2,
        metavar=('SIZE', 'STEP'),
        help='cut HR images into squares of SIZE, one every STEP pixels; LR likewise',
    )
    parser.add_argument(
        '--workers',
        type=int,
        default=os.cpu_count() or 1,
        metavar='N',
        help='number of processes (default: one for every core)',
    )
    parser.add_argument(
        '--overwrite',
        action='store_true',
        help='replace stores of other images, or damaged ones',
    )
    parser.add_argument(
        '--verify',
        action='store_true',
        help='make nothing; read the stores back and name what is damaged',
    )
    return parser.parse_args()


def verify(args: argparse.Namespace) -> int:
    root = args.out or args.data_root
    status = 0
    for scale in (1, *args.scales):
        path = pair_store(root, args.hr, args.lr, scale, bool(args.sub_images))
        try:
            found = verify_store(path, args.workers)
        except (ValueError, OSError) as error:
            # The others are read nevertheless.
            print(f'error: {describe(error)}', file=sys.stderr)
            status = 1
        else:
            print(found, flush=True)
            status = status if found else 1
    return status


def describe(error: Exception) -> str:
    """Give the message of an error; those of the system say what, but not where."""
    if isinstance(error, OSError) and error.filename:
        return f'{error.filename}: {error.strerror}'
    return str(error)


def main() -> int:
    """Make or verify the stores; the exit status is 1 where one is not right."""
    args = parse_args()
    try:
        if args.verify:
            return verify(args)
        plans = plan_pairs(
            args.data_root,
            args.hr,
            args.lr,
            args.scales,
            out=args.out,
            layout=args.layout,
            sub_images=args.sub_images and tuple(args.sub_images),
        )
        print(*plans, sep='\n', flush=True)
        require_room([p for p in plans if args.overwrite or not p.path.exists()])
        failed = False
        for plan in plans:
            report = create_store(plan, args.workers, args.overwrite)
            print(report, flush=True)
            failed = failed or bool(report.failed)
    except (ValueError, OSError) as error:
        print(f'error: {describe(error)}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('\nStopped. Run the same command again to go on.', file=sys.stderr)
        return 130
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
