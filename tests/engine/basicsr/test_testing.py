"""Testing by BasicSR's pipeline: which weights and which sets."""

import golden
import pytest
import torch
from basicsr.archs.edsr_arch import EDSR as BasicSREDSR

from sr_plugins import checkpoints
from sr_plugins.archs import EDSR
from sr_plugins.fileio import torch_save

THEIRS = {
    'network_g.type': 'EDSR',
    'network_g._delete_': True,
    'network_g.num_in_ch': 3,
    'network_g.num_out_ch': 3,
    'network_g.num_feat': 8,
    'network_g.num_block': 2,
    'network_g.upscale': 2,
    'network_g.mid_channels': None,
    'network_g.num_blocks': None,
}


def row(table, name='Tiny'):
    (line,) = (line for line in table.splitlines() if line.startswith(f'| {name} '))
    return line


def test_weights_of_every_dialect_score_the_same(test_weights, tmp_path):
    """BasicSR's EDSR in its own class, the same weights in ours."""
    torch.manual_seed(4)
    theirs = BasicSREDSR(3, 3, num_feat=8, num_block=2, upscale=2)
    torch_save({'params': theirs.state_dict()}, tmp_path / 'theirs.pth')
    ours = EDSR(2, mid_channels=8, num_blocks=2)
    checkpoints.load(ours, tmp_path / 'theirs.pth')
    torch_save({'state_dict': ours.state_dict()}, tmp_path / 'ours.pth')
    tables = [
        test_weights(tmp_path / 'theirs.pth', THEIRS, datasets=['Tiny'])[0],
        test_weights(tmp_path / 'theirs.pth', datasets=['Tiny'])[0],
        test_weights(tmp_path / 'ours.pth', datasets=['Tiny'])[0],
    ]
    assert len({row(table) for table in tables}) == 1
    assert 'DIV2K' not in tables[0]


def test_averaged_weights_are_tested(test_weights, tmp_path):
    plain, averaged = (EDSR(2, mid_channels=8, num_blocks=2) for _ in range(2))
    both = {'params': plain.state_dict(), 'params_ema': averaged.state_dict()}
    torch_save(both, tmp_path / 'both.pth')
    torch_save({'params': averaged.state_dict()}, tmp_path / 'averaged.pth')
    tables = [
        test_weights(tmp_path / name, datasets=['Tiny'])[0]
        for name in ('both.pth', 'averaged.pth')
    ]
    assert row(tables[0]) == row(tables[1])


def test_sets_of_the_options_come_first(test_weights, tiny_data, tmp_path):
    torch_save(EDSR(2, mid_channels=8, num_blocks=2).state_dict(), tmp_path / 'w.pth')
    own = {
        'datasets.test_a.type': 'PairedImageDataset',
        'datasets.test_a.name': 'Mine',
        'datasets.test_a.dataroot_gt': 'benchmark/Tiny/HR',
        'datasets.test_a.dataroot_lq': 'benchmark/Tiny/LR_bicubic/X2',
        'datasets.test_a.filename_tmpl': '{}x2',
    }
    table, _ = test_weights(tmp_path / 'w.pth', own)
    assert row(table, 'Mine')
    assert 'Tiny' not in table
    with pytest.raises(FileNotFoundError, match=r'test sets Tiny .* found Mine'):
        test_weights(tmp_path / 'w.pth', own, datasets=['Tiny'])
    with pytest.raises(FileNotFoundError, match=r'of any name .* found none'):
        test_weights(tmp_path / 'w.pth', data_root=str(tmp_path))


def test_wrong_weights(test_weights, tmp_path):
    with pytest.raises(FileNotFoundError, match=r'none\.pth'):
        test_weights(tmp_path / 'none.pth')
    torch_save(golden.state_dict('csnln_x2_d12'), tmp_path / 'csnln.pth')
    with pytest.raises(ValueError, match=r'Expected .* to hold .*EDSR.*CSNLN'):
        test_weights(tmp_path / 'csnln.pth')
    with pytest.raises(ValueError, match="weights of EDSR under BasicSR's names, but"):
        test_weights(tmp_path / 'csnln.pth', THEIRS)
    wider = BasicSREDSR(3, 3, num_feat=9, num_block=2, upscale=2).state_dict()
    torch_save({'params': wider}, tmp_path / 'wider.pth')
    with pytest.raises(ValueError, match='hold weights of EDSR as its options have it'):
        test_weights(tmp_path / 'wider.pth', THEIRS)
    content = (tmp_path / 'csnln.pth').read_bytes()
    (tmp_path / 'torn.pth').write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r'to be a whole file of torch\.save'):
        test_weights(tmp_path / 'torn.pth')


class Evil:
    def __reduce__(self):
        return print, ('this must not run',)


@pytest.mark.parametrize('options', [{}, THEIRS])
def test_a_file_that_would_run_code(test_weights, tmp_path, options, capsys):
    torch.save({'params': Evil()}, tmp_path / 'evil.pth')
    with pytest.raises(ValueError, match='to hold only tensors'):
        test_weights(tmp_path / 'evil.pth', options)
    assert 'this must not run' not in capsys.readouterr().out
