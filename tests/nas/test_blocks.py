"""Codes of blocks, and networks as lists of them."""

import pytest

from sr_plugins.nas import BlockType, dense_groups, parse_architecture


@pytest.mark.parametrize('code', ['G_8_16_24', 'C_4_8_8', 'S_6_32_64', 'S_1_3_5'])
def test_a_code_survives_a_round_trip(code):
    block = BlockType.parse(code)
    kind, *sizes = code.split('_')
    assert block.kind == kind
    assert [block.conv_num, block.growth_rate, block.out_channels] == list(
        map(int, sizes)
    )
    assert block.code == code


@pytest.mark.parametrize(
    'code',
    [
        *('', 'G', 'X_8_16_24', 'g_8_16_24', 'G_8_16', 'G_8_16_24_32', 'G_0_16_24', 7),
        *('G_08_16_24', 'G_8_-16_24', 'G_8_16_24 ', 'G 8 16 24', 'G_8_1.5_24', None),
    ],
)
def test_a_malformed_code_shows_the_grammar(code):
    with pytest.raises(ValueError, match=r"KIND_CONVS_GROWTH_OUT .* 'G_8_16_24'") as e:
        BlockType.parse(code)
    assert repr(code) in str(e.value)


def test_the_position_of_a_malformed_code_is_told():
    with pytest.raises(ValueError, match=r'^Expected .*Q_1_2_3.* It is block 3 of 4'):
        parse_architecture('G_8_16_24 S_4_8_8\nQ_1_2_3, C_4_8_8')


def test_lists_and_strings_are_the_same():
    codes = ['G_8_16_24', 'S_4_8_8', 'C_4_8_8']
    blocks = parse_architecture(codes)
    assert [block.code for block in blocks] == codes
    for text in ('G_8_16_24 S_4_8_8 C_4_8_8', 'G_8_16_24,S_4_8_8,\n  C_4_8_8\n'):
        assert parse_architecture(text) == blocks
    assert parse_architecture(blocks) == blocks


@pytest.mark.parametrize('codes', ['', ' , ', []])
def test_an_architecture_has_blocks(codes):
    with pytest.raises(ValueError, match='at least one block'):
        parse_architecture(codes)


def test_groups_of_dense_layers():
    assert [dense_groups(i) for i in range(9)] == [1, 2, 2, 4, 4, 4, 4, 4, 4]


@pytest.mark.parametrize(
    ('code', 'message'),
    [
        ('G_4_10_16', r'`growth_rate` of G_4_10_16 to be a multiple of 4'),
        ('G_2_5_8', r'`growth_rate` of G_2_5_8 to be a multiple of 2'),
        ('C_4_6_8', r'\(conv_num \+ 1\) \* growth_rate of C_4_6_8 .* but got 30'),
    ],
)
def test_sizes_that_do_not_divide(code, message):
    with pytest.raises(ValueError, match=message):
        BlockType.parse(code)
    with pytest.raises(ValueError, match=f'^Expected {message}.* It is block 2 of 2'):
        parse_architecture(['S_4_8_8', code])


def test_sizes_that_divide_only_where_they_must():
    assert BlockType.parse('G_1_5_8').dense_channels == 10
    assert BlockType.parse('G_3_6_8').dense_channels == 24
    assert BlockType.parse('C_3_5_8').dense_channels == 20
