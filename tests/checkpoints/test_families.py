"""Tables of names, read in both directions, against the authors' state dicts."""

import golden
import pytest
import torch

from sr_plugins.checkpoints import FAMILIES

CASES = [name for name, case in golden.CASES.items() if case['arch'] in FAMILIES]


@pytest.mark.parametrize('case', CASES)
def test_published_names_there_and_back(case):
    """Every key, shape and constant of the authors' file comes back, bit for bit."""
    published = golden.state_dict(case)
    family = FAMILIES[golden.CASES[case]['arch']]
    dialect = family.recognise(published)
    assert dialect.packages == ('published',)
    ours = dialect.to_ours(published)
    theirs = dialect.to_theirs(ours)
    theirs |= dialect.constants(ours, dialect.range_of(published))
    assert theirs.keys() == published.keys()
    for key, value in published.items():
        assert torch.equal(theirs[key], value), key


def test_two_names_for_one_weight():
    state = golden.state_dict('edsr_base_x2')
    state['conv_first.weight'] = state['head.0.weight']
    with pytest.raises(ValueError, match=r'two for conv_first\.weight'):
        FAMILIES['EDSR'].recognise(state)
