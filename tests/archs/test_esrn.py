"""What ESRN adds to the published network: codes from files, odd sizes, options."""

import json

import golden
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sr_plugins import checkpoints
from sr_plugins.archs import ESRN
from sr_plugins.archs.esrn import ContextualBlock
from sr_plugins.checkpoints import FAMILIES, CheckpointMismatchError
from sr_plugins.layers import DIV2K_MEAN

CODES = ['G_4_8_16', 'C_4_16_8', 'S_2_8_24']


def build(*args, **kwargs):
    torch.manual_seed(0)
    return ESRN(*args, mid_channels=8, **kwargs).eval()


def test_architecture_from_anywhere(tmp_path):
    (tmp_path / 'list.json').write_text(json.dumps(CODES))
    (tmp_path / 'best.json').write_text(json.dumps({'architecture': CODES, 'id': 7}))
    network, x = build(CODES), torch.rand(1, 3, 6, 7)
    sources = [
        *(tuple(CODES), ' '.join(CODES), ', '.join(CODES)),
        *(tmp_path / 'list.json', str(tmp_path / 'best.json')),
    ]
    for source in sources:
        assert torch.equal(build(source)(x), network(x)), source


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        (None, 'to be codes or a JSON file .* but there is no '),
        ('[', 'to be JSON, but got: '),
        ('{"blocks": []}', 'to hold a list of codes, or one under `architecture`'),
        ('["G_4_8_16", "C_4_16"]', 'KIND_CONVS_GROWTH_OUT.* block 2 of 2'),
    ],
)
def test_files_that_are_none(tmp_path, content, words):
    path = tmp_path / 'best.json'
    if content is not None:
        path.write_text(content)
    error = FileNotFoundError if content is None else ValueError
    with pytest.raises(error, match=words):
        ESRN(str(path))


@pytest.mark.parametrize(
    ('codes', 'words'),
    [
        (
            ['G_4_8_16', 'X_4_8_16'],
            r"S, G or C.* but got 'X_4_8_16'\. It is block 2 of 2",
        ),
        (['G_8_6_16'], '`growth_rate` of G_8_6_16 .*multiple of 4.* block 1 of 1'),
        ('G_4_8_16 C_4_6_8', 'multiple of 4.* block 2 of 2'),
        ([], 'at least one block'),
    ],
)
def test_malformed_codes(codes, words):
    with pytest.raises(ValueError, match=words):
        ESRN(codes)


@pytest.mark.parametrize('size', [(1, 1), (5, 8), (8, 5), (7, 9)])
def test_odd_sides_are_padded_by_replication(size):
    torch.manual_seed(0)
    block, x = ContextualBlock(6, 4, 8, 12, bias=True), torch.randn(2, 6, *size)
    height, width = size
    padded = F.pad(x, (0, width % 2, 0, height % 2), mode='replicate')
    expected = block(padded)[:, :, :height, :width]
    torch.testing.assert_close(block(x), expected)


@pytest.mark.parametrize(('scale', 'channels'), [(2, 96), (3, 99), (4, 128)])
def test_width_before_the_shuffle(scale, channels):
    assert ESRN(CODES, scale).upsample[0].out_channels == channels


def test_mean_shift_and_global_skip():
    x = torch.rand(2, 3, 6, 7)
    network = build(CODES, 3, mean_shift=True, global_skip=True)
    plain = build(CODES, 3)
    mean = torch.tensor(DIV2K_MEAN).view(3, 1, 1)
    enlarged = F.interpolate(x - mean, scale_factor=3, mode='bicubic')
    with torch.no_grad():
        expected = plain(x - mean) + enlarged + mean
        torch.testing.assert_close(network(x), expected)
        nn.init.zeros_(network.conv_last.weight)
        torch.testing.assert_close(network(x), enlarged + mean)
    assert network.state_dict().keys() == plain.state_dict().keys()


def published_with_biases(case):
    state = golden.state_dict(case)
    rng = torch.Generator().manual_seed(0)
    for key in list(state):
        count = state[key].shape[0]
        bias = torch.randn(count, generator=rng)
        state[key.replace('.weight', '.bias')] = bias
    return state


@pytest.mark.parametrize('case', ['esrn_mix_x2', 'esrn_mix_x4'])
def test_biases_of_the_published_range(case):
    """A network of BGR in [0, 255], run as such, and converted."""
    options = {key: golden.CASES[case][key] for key in ('architecture', 'scale')}
    theirs, ours = (ESRN(**options, bias=True).double() for _ in range(2))
    state = published_with_biases(case)
    theirs.load_state_dict(FAMILIES['ESRN'].dialects[0].to_ours(state))
    assert checkpoints.load(ours, state).dialect == 'published'
    x = torch.rand(1, 3, 7, 6, dtype=torch.float64)
    with torch.no_grad():
        expected = theirs(255 * x.flip(1)).flip(1) / 255
        torch.testing.assert_close(ours(x), expected, rtol=1e-9, atol=1e-9)


def test_weights_of_another_architecture_are_described():
    network = ESRN(CODES, 2)
    with pytest.raises(CheckpointMismatchError) as caught:
        checkpoints.load(network, golden.state_dict('esrn_mix_x2'))
    assert f'hold ESRN x2 with 32 channels and the blocks {" ".join(CODES)}' in str(
        caught.value
    )
    codes = ' '.join(golden.CASES['esrn_mix_x2']['architecture'])
    assert f'but got ESRN x2 with 32 channels and the blocks {codes}' in str(
        caught.value
    )
    with pytest.raises(CheckpointMismatchError, match='but got ESRN x4 with 32'):
        checkpoints.load(network, golden.state_dict('esrn_mix_x4'))
