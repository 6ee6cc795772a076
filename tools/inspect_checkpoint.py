#!/usr/bin/env python
"""Say what is in files of weights: network, scale, width, depth, dialect, range.

Takes weights of any dialect, and published folders of CAR; nothing in a file is
executed. The exit status is 1 when a file cannot be read, or holds weights of an
unknown network, not all of one, or values that are NaN or infinite.

Examples:
  python tools/inspect_checkpoint.py edsr_x2-0edfb8a3.pt work_dirs/csnln_x2/*.pth
  python tools/inspect_checkpoint.py edsr_x2-0edfb8a3.pt --json
"""

import argparse
import json
import sys

from sr_plugins.checkpoints import inspect


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('files', nargs='+', metavar='FILE', help='weights')
    parser.add_argument(
        '--json', action='store_true', help='a list for machines, one entry a file'
    )
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    found, failures = [], []
    for file in args.files:
        try:
            found.append(inspect(file))
        except (ValueError, OSError) as error:
            failures.append(str(error))
            continue
        if not args.json:
            print(found[-1].text())
    if args.json:
        print(json.dumps([each.as_dict() for each in found], indent=2))
    for message in failures:
        print(message, file=sys.stderr)
    return 1 if failures or not all(each.is_sound for each in found) else 0


if __name__ == '__main__':
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
