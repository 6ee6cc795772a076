"""What a graph takes and gives, from a command line."""

import argparse

from .interface import Interface


def add_interface_options(parser: argparse.ArgumentParser) -> None:
    """Add `--uint8`, `--layout`, `--order` and `--range`."""
    parser.add_argument(
        '--uint8', action='store_true', help='8 bits in and out, rounded in the graph'
    )
    parser.add_argument(
        '--layout',
        choices=('NCHW', 'NHWC', 'HWC'),
        help='of images (NCHW, with --uint8 NHWC)',
    )
    parser.add_argument(
        '--order', choices=('RGB', 'BGR'), default='RGB', help='of channels (RGB)'
    )
    parser.add_argument(
        '--range',
        choices=(1, 255),
        type=int,
        help='what white is in float32 (1)',
    )


def parse_interface(args: argparse.Namespace) -> Interface:
    """The interface that the options of `add_interface_options` ask for.

    Raises:
        ValueError: on a range of 1 with `--uint8`.
    """
    return Interface(
        dtype='uint8' if args.uint8 else 'float32',
        layout=args.layout or ('NHWC' if args.uint8 else 'NCHW'),
        channel_order=args.order,
        value_range=args.range,
    )
