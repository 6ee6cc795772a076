#!/usr/bin/env python
"""Count the parameters and multiply-adds of a network, module by module.

As papers do, for one HR image of 1280 x 720; nothing is computed.

Examples:
  python tools/complexity.py configs/esrn_x2.py
  python tools/complexity.py configs/csnln_x2.py --shape 3 256 256 --depth 3
"""

import argparse

import sr_plugins.compat  # noqa: F401  (first: it repairs what follows)

from sr_plugins.complexity import HR_SHAPE, format_costs, measure, summary
from sr_plugins.engine import add_config_options, load_config, plain_errors
from sr_plugins.registry import MODELS


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file, such as configs/csnln_x2.py')
    parser.add_argument(
        '--shape',
        nargs=3,
        type=int,
        default=HR_SHAPE,
        metavar=('C', 'H', 'W'),
        help='of the HR image (3 720 1280)',
    )
    parser.add_argument(
        '--depth', type=int, default=2, help='how deep to go into modules (2)'
    )
    add_config_options(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    cfg = load_config(args.config, cfg_options=args.cfg_options)
    network = MODELS.build(cfg.model.generator)
    costs = measure(network, args.shape)
    print(f'{summary(network, args.shape)}\n\n{format_costs(costs, args.depth)}')


if __name__ == '__main__':
    with plain_errors():
        main()
