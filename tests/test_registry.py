"""Names are found from any registry, imported or not."""

import importlib
import subprocess
import sys

import pytest

BUILD = """
import sr_plugins.compat
from {registry} import MODELS
net = MODELS.build(dict(type={name!r}, scale=3))
print(type(net).__module__, type(net).__name__)
"""


@pytest.mark.parametrize('registry', ['mmengine.registry', 'mmagic.registry'])
@pytest.mark.parametrize('name', ['EDSR', 'CSNLN'])
def test_scoped_name_from_any_registry(registry, name):
    """In a fresh interpreter: the scope's name alone leads to the networks."""
    code = BUILD.format(registry=registry, name=f'sr_plugins.{name}')
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.split() == [f'sr_plugins.archs.{name.lower()}', name]


@pytest.mark.parametrize('name', ['EDSR', 'CSNLN'])
@pytest.mark.parametrize('package', ['sr_plugins', 'mmagic', 'mmengine'])
def test_bare_name_once_imported(name, package):
    importlib.import_module('sr_plugins.archs')
    models = importlib.import_module(f'{package}.registry').MODELS
    net = models.build({'type': name, 'scale': 2})
    assert type(net).__module__ == f'sr_plugins.archs.{name.lower()}'


def test_inside_a_mmagic_model():
    from mmagic.registry import MODELS

    model = MODELS.build(
        {
            'type': 'BaseEditModel',
            'generator': {'type': 'sr_plugins.EDSR', 'scale': 2},
            'pixel_loss': {'type': 'L1Loss'},
        }
    )
    assert type(model.generator).__name__ == 'EDSR'


def test_types_of_others_do_not_hide_ours():
    """mmagic has metrics of the same names; the scope tells them apart."""
    from mmagic.registry import METRICS

    ours = METRICS.build({'type': 'sr_plugins.PSNR', 'protocol': 'rgb'})
    theirs = METRICS.build({'type': 'PSNR'})
    assert type(ours).__module__.startswith('sr_plugins.')
    assert type(theirs).__module__.startswith('mmagic.')
