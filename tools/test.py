#!/usr/bin/env python
"""Test a checkpoint on the benchmark sets, whole images, in named protocols.

Takes our own checkpoints and those of the published code, BasicSR and mmagic. Prints a
table and writes it to results.md, and with every image to results.json.

Examples:
  python tools/test.py configs/csnln_x2.py work_dirs/csnln_x2/best.pth
  python tools/test.py configs/edsr_x2.py edsr_x2-0edfb8a3.pt --datasets Set5 Set14
  python tools/test.py configs/demo_edsr_x2.py work_dirs/demo_edsr_x2/best.pth \\
      --bicubic --save-images
  python tools/test.py configs/basicsr/csnln_x2.yml csnln_x2.pth
"""

import argparse
from pathlib import Path

import sr_plugins.compat  # noqa: F401  (first: it repairs what follows)

from mmengine.dist import is_main_process

from sr_plugins import checkpoints
from sr_plugins.engine import (
    add_config_options,
    add_image_options,
    build_test_runner,
    is_basicsr,
    load_config,
    plain_errors,
    refuse_options,
    write_results,
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'config',
        help='config file, such as configs/csnln_x2.py, or options file of BasicSR, '
        'which its own pipeline tests, such as configs/basicsr/csnln_x2.yml',
    )
    parser.add_argument('checkpoint', help='weights, of any dialect')
    parser.add_argument(
        '--out', help='for results (work_dirs/<config>/test/<checkpoint>)'
    )
    parser.add_argument('--data-root', help='folder of the data sets (data)')
    parser.add_argument(
        '--datasets', nargs='+', metavar='NAME', help='sets to test (all present)'
    )
    parser.add_argument(
        '--scale', type=int, help='of a network of several, MDSR (the first)'
    )
    parser.add_argument(
        '--bicubic', action='store_true', help='score bicubic enlargement too'
    )
    parser.add_argument(
        '--save-images', action='store_true', help='write outputs to <out>/images'
    )
    add_image_options(parser)
    add_config_options(parser)
    parser.add_argument(
        '--launcher',
        choices=('none', 'pytorch', 'slurm', 'mpi'),
        default='none',
        help='set by dist_test.sh',
    )
    parser.add_argument(
        '--local-rank', '--local_rank', type=int, help=argparse.SUPPRESS
    )
    return parser.parse_args()


def test_by_basicsr(args: argparse.Namespace, out: str | Path) -> None:
    # Only here: testing by mmengine does without BasicSR.
    from sr_plugins.engine import basicsr

    ours = ('scale', 'bicubic', 'chop', 'tile', 'overlap', 'seams', 'self_ensemble')
    refuse_options(args, (*ours, 'amp'), 'tests in no such way')
    table = basicsr.run_test(
        args.config,
        args.checkpoint,
        out,
        data_root=args.data_root,
        datasets=args.datasets,
        save_images=args.save_images,
        launcher=args.launcher,
        cfg_options=args.cfg_options,
    )
    if table is not None:
        print(f'\n{table}\n\nWritten to {out}.')


def main() -> None:
    args = parse_args()
    config, checkpoint = Path(args.config), Path(args.checkpoint)
    at_scale = f'_x{args.scale}' if args.scale else ''
    name = checkpoint.stem + at_scale
    out = args.out or Path('work_dirs', config.stem, 'test', name)
    if is_basicsr(config):
        test_by_basicsr(args, out)
        return
    cfg = load_config(
        config,
        work_dir=str(out),
        data_root=args.data_root,
        scale=args.scale,
        chop=args.chop,
        tile=args.tile,
        overlap=args.overlap,
        seams=args.seams,
        self_ensemble=args.self_ensemble,
        inference_amp=args.amp,
        launcher=args.launcher,
        cfg_options=args.cfg_options,
    )
    runner = build_test_runner(
        cfg,
        datasets=args.datasets,
        bicubic=args.bicubic,
        images_dir=Path(out, 'images') if args.save_images else None,
    )
    checkpoints.load(runner.model, checkpoint)
    runner.test()
    precision = f' {args.amp}' if args.amp else ''
    if is_main_process():
        table = write_results(
            runner.test_loop.results,
            out,
            # As in the papers, EDSR+.
            label=config.stem + at_scale + '+' * args.self_ensemble + precision,
            config=str(config),
            checkpoint=str(checkpoint),
        )
        print(f'\n{table}\n\nWritten to {out}.')


if __name__ == '__main__':
    with plain_errors():
        main()
