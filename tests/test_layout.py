"""Imports run one way, and every package says what it offers."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / 'sr_plugins'
# A part imports those before it.
ORDER = [
    'compat',
    'fileio',
    'paths',
    'preparation',
    'registry',
    'nas',
    'ops',
    'layers',
    'archs',
    'complexity',
    'losses',
    'metrics',
    'checkpoints',
    'datasets',
    'models',
    'basicsr_plugin',
    'engine',
    'export',
    'inference',
    'doctor',
]
# The repair of mmengine's files needs safe and atomic ones.
EXCEPTIONS = {('compat', 'fileio')}
MODULES = sorted(path for path in PACKAGE.rglob('*.py') if path.parent != PACKAGE)
TORCH_ONLY = {'ops', 'layers', 'archs', 'losses'}
NUMPY_ONLY = {'nas'}


def part_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix('.py')


def imports(path):
    """Absolute names of all modules that a file imports, wherever it does."""
    package = ['sr_plugins', *path.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1]
            if node.module:
                yield '.'.join([*base, node.module])
            else:
                yield from ('.'.join([*base, alias.name]) for alias in node.names)


@pytest.mark.parametrize('path', MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_run_one_way(path):
    mine = part_of(path)
    for name in imports(path):
        words = name.split('.')
        assert words[0] not in ('tools', 'benchmarks', 'configs', 'tests'), name
        if mine in TORCH_ONLY:
            assert words[0] not in ('mmengine', 'mmagic', 'mmcv', 'basicsr'), name
        if mine in NUMPY_ONLY:
            own = words[:2] == ['sr_plugins', mine]
            assert own or words[0] in {*sys.stdlib_module_names, 'numpy'}, name
        if words[0] != 'sr_plugins' or len(words) == 1 or words[1].startswith('_'):
            continue
        other = words[1]
        if other != mine and (mine, other) not in EXCEPTIONS:
            assert ORDER.index(other) < ORDER.index(mine), f'{mine} imports {name}'


def test_every_part_has_a_place_in_the_order():
    parts = {part_of(path) for path in MODULES} - {'configs'}
    assert parts <= set(ORDER)


def test_people_are_told_so():
    text = (PACKAGE.parent / 'CONTRIBUTING.md').read_text()
    (told,) = re.findall(r'Imports run one way: `(.+?) -> tools`', text, re.DOTALL)
    assert re.split(r',? +(?:-> )?', ' '.join(told.split())) == ORDER


def test_every_package_is_shown_to_people():
    text = (PACKAGE.parent / 'README.md').read_text()
    shown = text.partition('## Where things are')[2]
    for path in PACKAGE.glob('[a-z]*/__init__.py'):
        name = path.parent.name
        if not name.endswith('_plugin'):
            assert f'sr_plugins/{name} ' in shown, name


def test_networks_do_not_import_each_other():
    # CAR's upscaling network is EDSR, in the paper and in the published weights.
    allowed = {('car', 'sr_plugins.archs.edsr')}
    for path in (PACKAGE / 'archs').glob('[a-z]*.py'):
        for name in imports(path):
            if (path.stem, name) not in allowed:
                assert not name.startswith('sr_plugins.archs'), f'{path.name}: {name}'


@pytest.mark.parametrize(
    'name', [p.parent.name for p in PACKAGE.glob('[a-z]*/__init__.py')]
)
def test_packages_say_what_they_offer(name):
    module = importlib.import_module(f'sr_plugins.{name}')
    assert module.__doc__
    assert list(module.__all__) == sorted(module.__all__, key=_ruff_order)
    for entry in module.__all__:
        assert hasattr(module, entry), entry


def _ruff_order(name):
    """Constants, classes, then functions, as ruff sorts `__all__`."""
    kind = 0 if name.isupper() else 1 if name[0].isupper() else 2
    return kind, name


def test_networks_do_without_mmagic():
    """A network is used, benchmarked and exported without loading mmagic."""
    code = (
        'import sys, torch\n'
        'from sr_plugins.archs import EDSR\n'
        'EDSR()(torch.rand(1, 3, 4, 4))\n'
        'loaded = {"mmagic", "basicsr", "mmcv", "torchvision"} & set(sys.modules)\n'
        'sys.exit(str(loaded) if loaded else 0)\n'
    )
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


def test_the_search_does_without_torch():
    code = (
        'import sys\n'
        'from sr_plugins.nas import ESREA, SearchSpace\n'
        'ESREA(SearchSpace()).ask()\n'
        'loaded = {"torch", "mmengine", "matplotlib"} & set(sys.modules)\n'
        'sys.exit(str(loaded) if loaded else 0)\n'
    )
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


def test_the_package_itself_is_light():
    code = (
        'import sys, sr_plugins, sr_plugins.compat\n'
        'loaded = {"torch", "mmengine", "numpy"} & set(sys.modules)\n'
        'sys.exit(str(loaded) if loaded else 0)\n'
    )
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    'name', sorted(p.parent.name for p in PACKAGE.glob('[a-z]*/__init__.py'))
)
def test_every_package_can_be_imported_first(name):
    """Whatever order the imports inside have, the repairs are in place."""
    done = subprocess.run(
        [sys.executable, '-c', f'import sr_plugins.{name}'],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
