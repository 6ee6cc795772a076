#!/usr/bin/env python
"""Train a network.

Examples:
  python tools/train.py configs/edsr_baseline_x2.py
  python tools/train.py configs/csnln_x2.py --amp bf16 --compile
  python tools/train.py configs/csnln_x2.py --resume
  python tools/train.py configs/edsr_x4.py --init-from work_dirs/edsr_x2/best.pth
  python tools/train.py configs/edsr_baseline_x2.py \\
      --cfg-options global_batch_size=8 train_cfg.max_iters=1000
  python tools/train.py configs/basicsr/csnln_x2.yml
"""

import argparse

import sr_plugins.compat  # noqa: F401  (first: it repairs what follows)

from sr_plugins.engine import (
    add_config_options,
    build_runner,
    is_basicsr,
    load_config,
    plain_errors,
    refuse_options,
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'config',
        help='config file, such as configs/csnln_x2.py, or options file of BasicSR, '
        'which its own pipeline trains, such as configs/basicsr/csnln_x2.yml',
    )
    parser.add_argument(
        '--work-dir', help='for logs and checkpoints (work_dirs/<name of the config>)'
    )
    parser.add_argument('--data-root', help='folder of the data sets (data)')
    parser.add_argument(
        '--resume',
        nargs='?',
        const=True,
        default=False,
        metavar='PATH',
        help='go on from the furthest readable checkpoint of the work folder, or PATH',
    )
    parser.add_argument(
        '--init-from',
        metavar='PATH',
        help='start from the weights of this file, of any dialect, as far as they fit: '
        'of another scale, all but the upsampler',
    )
    parser.add_argument(
        '--amp', choices=('bf16', 'fp16'), help='mixed precision; fp16 needs a GPU'
    )
    parser.add_argument('--compile', action='store_true', help='use torch.compile')
    parser.add_argument('--seed', type=int, help='of data, crops and weights (0)')
    parser.add_argument(
        '--deterministic', action='store_true', help='deterministic algorithms only'
    )
    add_config_options(parser)
    parser.add_argument(
        '--launcher',
        choices=('none', 'pytorch', 'slurm', 'mpi'),
        default='none',
        help='set by dist_train.sh and slurm_train.sh',
    )
    # torch.distributed.launch passes it on; torchrun sets LOCAL_RANK instead.
    parser.add_argument(
        '--local-rank', '--local_rank', type=int, help=argparse.SUPPRESS
    )
    return parser.parse_args()


def train_by_basicsr(args: argparse.Namespace) -> None:
    # Only here: training by mmengine does without BasicSR.
    from sr_plugins.engine import basicsr

    refuse_options(args, ('amp', 'compile', 'deterministic'), 'trains in no such way')
    basicsr.run_training(
        args.config,
        work_dir=args.work_dir,
        data_root=args.data_root,
        seed=args.seed,
        resume=args.resume,
        init_from=args.init_from,
        launcher=args.launcher,
        cfg_options=args.cfg_options,
    )


def main() -> None:
    args = parse_args()
    if args.init_from and args.resume:
        raise ValueError(
            'Expected `--init-from` or `--resume`, but got both. A resumed run has its '
            'weights already: leave out `--init-from`.'
        )
    if is_basicsr(args.config):
        train_by_basicsr(args)
        return
    cfg = load_config(
        args.config,
        work_dir=args.work_dir,
        data_root=args.data_root,
        seed=args.seed,
        deterministic=args.deterministic,
        amp=args.amp,
        compile_network=args.compile,
        init_from=args.init_from,
        launcher=args.launcher,
        cfg_options=args.cfg_options,
    )
    build_runner(cfg, resume=args.resume).train()


if __name__ == '__main__':
    with plain_errors():
        main()
