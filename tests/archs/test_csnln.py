"""What CSNLN keeps, computes again and accepts, beyond the contract of networks."""

import pytest
import torch
from torch import nn

from sr_plugins.archs import CSNLN

TINY = {'mid_channels': 8, 'num_recurrences': 3}


def make(**kwargs):
    torch.manual_seed(0)
    return CSNLN(**{**TINY, **kwargs})


def gradients(network, x):
    network.zero_grad()
    network(x).square().mean().backward()
    return [p.grad.clone() for p in network.parameters()]


def kept_bytes(network, x):
    """Size of what forward keeps for the backward pass, weights aside."""
    own = {p.untyped_storage().data_ptr() for p in network.parameters()}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = network(x)
    del output
    return sum(kept.values())


def test_tail_is_the_convolution_of_all_outputs():
    """Of their concatenation, as published."""
    network = make().double()
    x = torch.rand(2, 3, 8, 6, dtype=torch.float64)
    features, enlarged = network.head(x - network.mean), []
    for _ in range(3):
        stage = network.cell.stages[0]
        enlarged.append(stage.merge(*stage(features, features)))
        features = network.cell.post_conv(network.cell.down(enlarged[-1]))
    expected = network.tail(torch.cat(enlarged, dim=1)) + network.mean
    torch.testing.assert_close(network(x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize('scale', [2, 3, 4])
def test_checkpoint_changes_memory_only(scale):
    x = torch.rand(1, 3, 12, 12)
    plain, saving = make(scale=scale), make(scale=scale, with_checkpoint=True)
    assert torch.equal(plain(x), saving(x))
    for a, b in zip(gradients(plain, x), gradients(saving, x), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-8)
    assert kept_bytes(saving, x) < kept_bytes(plain, x) / 10


def test_nothing_square_in_pixels_is_kept():
    """Four times the pixels, four times the memory; a matrix would take 16 times."""
    network = make()
    small, large = (kept_bytes(network, torch.rand(1, 3, s, s)) for s in (24, 48))
    assert large < 4.1 * small


@pytest.mark.parametrize('scale', [2, 4])
def test_budget_does_not_change_the_output(scale):
    x = torch.rand(2, 3, 13, 10)
    expected = make(scale=scale)(x)
    for budget in (1e-6, 0.05, 1e6):
        output = make(scale=scale, memory_budget_mb=budget)(x)
        torch.testing.assert_close(output, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_autocast(dtype):
    """Close to float32, forward and backward."""
    network, x = make(), torch.rand(2, 3, 8, 8)
    expected, wanted = network(x), gradients(network, x)
    with torch.autocast('cpu', dtype=dtype):
        output = network(x)
        found = gradients(network, x)
    assert (output - expected).abs().max() < 0.02
    found, wanted = (torch.cat([g.flatten() for g in gs]) for gs in (found, wanted))
    assert nn.functional.cosine_similarity(found, wanted, dim=0) > 0.99


def test_compiles_as_one_graph():
    network, x = make(num_recurrences=2), torch.rand(2, 3, 8, 8)
    expected, wanted = network(x), gradients(network, x)
    # Generating code would take a minute; tracing is what can fail.
    compiled = torch.compile(network, fullgraph=True, backend='aot_eager')
    torch.testing.assert_close(compiled(x), expected, rtol=1e-4, atol=1e-5)
    found = gradients(compiled, x)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-6)


def test_wrong_budget():
    with pytest.raises(ValueError, match='Expected `memory_budget_mb` to be positive'):
        make(memory_budget_mb=0)
