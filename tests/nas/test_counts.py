"""Counts of weights and multiply-adds, with numbers worked by hand."""

import pytest

from sr_plugins.nas import (
    SearchSpace,
    count_multiply_adds,
    count_params,
    parse_architecture,
    shuffled_channels,
)

# The authors' example.
PUBLISHED = parse_architecture(
    'G_8_16_24 C_8_16_16 G_4_16_24 G_8_16_16 S_4_24_32 C_8_16_48 S_4_16_24 G_6_16_24 '
    'G_8_16_16 C_8_16_24 S_8_16_16 S_8_16_24 S_8_16_32 S_6_16_16 G_6_16_64 G_8_16_16 '
    'S_8_16_32'
)
# G0 = 8, x2, less the layer that fuses the blocks: 3x3 from RGB, two 3x3 around the
# blocks, 3x3 to 24 channels.
FRAME = 27 * 8 + 2 * 9 * 8 * 8 + 9 * 8 * 24
LAST = 9 * 6 * 3


@pytest.mark.parametrize(
    ('code', 'weights'),
    [
        # Two layers, 1x1 from 16, fusion of 24 channels, 1x1 from 8 to 16 around it.
        ('S_2_8_16', 576 + 128 + 576 + 24 * 16 + 8 * 16),
        # Layers of 8, 16, 24 and 32 channels in 1, 2, 2 and 4 groups, fusion of 40.
        ('G_4_8_8', 576 + 576 + 864 + 576 + 40 * 8),
        # 1x1 from 8 to 16 before, three layers of 16; the rest goes round the block
        # after that 1x1, so there is none of its own.
        ('S_1_16_16', 8 * 16 + 9 * 256 + 32 * 16),
        # As wide inside as before and after: nothing but layers and fusion.
        ('S_1_8_8', 576 + 16 * 8),
    ],
)
def test_worked_by_hand(code, weights):
    blocks = parse_architecture(code)
    out = blocks[0].out_channels
    total = FRAME + out * 8 + weights + LAST
    assert count_params(blocks, 8) == total
    # HR 8 x 12, LR 4 x 6.
    multiply_adds = (total - LAST) * 24 + LAST * 96
    assert count_multiply_adds(blocks, 8, hr_size=(8, 12)) == multiply_adds


def test_contextual_block_by_hand():
    blocks = parse_architecture('C_3_8_16')
    layers, shrinks = 3 * 576, 16 * 8 + 24 * 8
    # 32 channels at half the size are 8 at the full one.
    full = 8 * 16 + 8 * 16
    frame = FRAME + 16 * 8
    assert count_params(blocks, 8) == layers + shrinks + full + frame + LAST
    # LR 5 x 7, pooled to 3 x 4; each layer three times.
    expected = (3 * layers + shrinks) * 12 + (full + frame) * 35 + LAST * 140
    assert count_multiply_adds(blocks, 8, hr_size=(10, 14)) == expected


def test_the_published_example():
    assert count_params(PUBLISHED) == 516_488
    assert count_params(PUBLISHED, bias=True) == 520_595
    assert count_params(PUBLISHED, scale=4) == 562_784
    assert round(count_multiply_adds(PUBLISHED) / 1e9, 2) == 111.62


def test_upsamplers_by_hand():
    blocks = parse_architecture('S_1_8_8')
    before = 27 * 8 + 2 * 576 + 8 * 8 + 576 + 16 * 8
    assert count_params(blocks, 8, scale=3) == before + 9 * 8 * 27 + 9 * 3 * 3
    assert count_params(blocks, 8, scale=4) == before + 2 * 9 * 8 * 32 + 9 * 8 * 3
    # LR 2 x 3, then 4 x 6 and 8 x 12.
    expected = (before + 9 * 8 * 32) * 6 + 9 * 8 * 32 * 24 + 9 * 8 * 3 * 96
    assert count_multiply_adds(blocks, 8, scale=4, hr_size=(8, 12)) == expected
    # 1280 / 3 is rounded down.
    expected = (before + 9 * 8 * 27) * 240 * 426 + 9 * 3 * 3 * 720 * 1278
    assert count_multiply_adds(blocks, 8, scale=3) == expected


@pytest.mark.parametrize(
    ('channels', 'scale', 'width'),
    [(32, 2, 24), (32, 3, 11), (32, 4, 32), (8, 2, 6), (10, 2, 8), (30, 3, 10)],
)
def test_width_after_the_shuffle(channels, scale, width):
    """As published 3/4 of the width at x2; x3 has the next number that works."""
    assert shuffled_channels(channels, scale) == width


def test_types_after_every_width_by_closed_forms():
    space = SearchSpace(G0=20, growth_rate=(8, 16, 24, 32))
    for i, width in enumerate(space.widths):
        for block, weights in zip(space.types, space.type_params[i], strict=True):
            c, g, o = block.conv_num, block.growth_rate, block.out_channels
            if block.kind == 'G':
                expected = 9 * g * g * (3.5 + (c + 4) * (c - 3) / 8)
            else:
                expected = g * g * (9 * c + (c + 2) * (c - 1) / 2)
            expected += (c + 1) * g * o / (4 if block.kind == 'C' else 1)
            expected += width * g if width != g else 0
            expected += width * o if o not in (width, g) else 0
            assert weights == expected + o * 20, (width, block.code)
