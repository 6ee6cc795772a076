"""Tell what is installed, what is broken and how to mend it.

`python -m sr_plugins.doctor` prints a table and exits with 1 where something needed
is missing, does not import or is of an unsupported version.
"""

import argparse
import importlib
import importlib.metadata
import importlib.util
import re
import shutil
import sys
import textwrap
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ['Row', 'main', 'render', 'report']

WIDTH = 100


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        section: 'needed', 'repairs' or 'optional'.
        name: What the line is about.
        version: Its version, or an empty string.
        status: 'ok', 'broken' (only what is needed), 'active', 'idle' (repairs),
            'missing' (only what is optional).
        note: Details; for 'broken' and 'missing' the remedy.
    """

    section: str
    name: str
    version: str
    status: str
    note: str = ''


@dataclass(frozen=True)
class _Package:
    """A package that is needed: what to import, and which versions will do."""

    name: str
    modules: tuple[str, ...]
    distributions: tuple[str, ...]
    first: str
    too_new: str = ''

    @property
    def requirement(self) -> str:
        bounds = f'>={self.first}' + (f',<{self.too_new}' if self.too_new else '')
        return f"'{self.distributions[0]}{bounds}'"


PYTHONS = ((3, 10), (3, 12))
PACKAGES = (
    _Package('torch', ('torch',), ('torch',), '2.4'),
    _Package('torchvision', ('torchvision',), ('torchvision',), '0.19'),
    _Package('numpy', ('numpy',), ('numpy',), '1.26'),
    _Package(
        'opencv',
        ('cv2',),
        ('opencv-python', 'opencv-python-headless', 'opencv-contrib-python'),
        '4',
    ),
    _Package('mmengine', ('mmengine', 'mmengine.runner'), ('mmengine',), '0.10.7'),
    _Package('mmcv', ('mmcv',), ('mmcv-lite', 'mmcv'), '2.1.0', '2.2'),
    _Package('mmagic', ('mmagic', 'mmagic.models'), ('mmagic',), '1.2.0'),
    _Package('basicsr', ('basicsr',), ('basicsr',), '1.4.2'),
    _Package('lmdb', ('lmdb',), ('lmdb',), '1.0'),
)
FEATURES = (
    ('ONNX export', ('onnx', 'onnxruntime'), 'pip install onnx onnxruntime'),
    (
        'demo photographs',
        ('skimage', 'sklearn'),
        'pip install scikit-image scikit-learn',
    ),
    ('TensorBoard logs', ('tensorboard',), 'pip install tensorboard'),
    ('figures', ('matplotlib',), 'pip install matplotlib'),
)


def report() -> list[Row]:
    """Look at everything; imports what is needed, so it takes seconds."""
    # Before all others, so that they are imported as the package would import them.
    compat = importlib.import_module('sr_plugins.compat')
    rows = [_python(sys.version_info[:3])]
    for package in PACKAGES:
        rows.append(_package(package))
        if package.name == 'torch':
            rows.append(_cuda(rows[-1]))
    rows += [_repair(repair) for repair in compat.REPAIRS]
    rows += [_feature(*feature) for feature in FEATURES]
    rows += [_mmcv_ops(rows), _compiler('C++ compiler', 'c++', 'apt install g++')]
    rows.append(
        _compiler('CUDA compiler', 'nvcc', "install NVIDIA's CUDA toolkit, only")
    )
    rows.append(_kernels(next(row for row in rows if row.name == 'torch')))
    return rows


def _python(version: Sequence[int]) -> Row:
    text = '.'.join(map(str, version))
    if PYTHONS[0] <= tuple(version[:2]) <= PYTHONS[1]:
        return Row('needed', 'Python', text, 'ok')
    first, last = ('.'.join(map(str, bound)) for bound in PYTHONS)
    return Row(
        'needed',
        'Python',
        text,
        'broken',
        f'basicsr and mmengine need Python {first} to {last}; make an environment '
        f'with one: python{last} -m venv .venv',
    )


def _package(package: _Package) -> Row:
    version = _version(package)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            modules = [importlib.import_module(name) for name in package.modules]
    except Exception as error:
        # Whatever an import can raise is what the user wants to read here.
        if isinstance(error, ModuleNotFoundError) and error.name in package.modules:
            note = f'not installed; pip install {package.requirement}'
        else:
            line = str(error).strip().partition('\n')[0]
            note = f'{type(error).__name__}: {line}; {_mend(error, package)}'
        return Row('needed', package.name, version, 'broken', note)
    version = version or str(getattr(modules[0], '__version__', ''))
    if not _within(version, package):
        return Row(
            'needed',
            package.name,
            version,
            'broken',
            f'version not supported; pip install {package.requirement}',
        )
    note = ''
    if package.name == 'mmcv':
        note = 'without operators (lite)' if _ops_missing() else 'with operators'
    return Row('needed', package.name, version, 'ok', note)


def _mend(error: Exception, package: _Package) -> str:
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if missing and importlib.util.find_spec(missing.partition('.')[0]) is None:
        return f'install what it lacks: pip install {missing.partition(".")[0]}'
    return (
        f'mend the lines above first, then reinstall it: pip install '
        f'--force-reinstall --no-deps {package.requirement}'
    )


def _version(package: _Package) -> str:
    for name in package.distributions:
        try:
            # Damaged metadata gives None.
            return importlib.metadata.version(name) or ''
        except importlib.metadata.PackageNotFoundError:
            continue
    return ''


def _within(version: str, package: _Package) -> bool:
    def key(text: str) -> list[int]:
        numbers = [int(number) for number in re.findall(r'\d+', text.split('+')[0])]
        return [*numbers, 0, 0, 0][:3]

    if not re.match(r'\d', version):
        # A source tree without metadata: it imports, that is all that can be said.
        return True
    found = key(version)
    return key(package.first) <= found and (
        not package.too_new or found < key(package.too_new)
    )


def _cuda(torch_row: Row) -> Row:
    name = 'CUDA devices'
    if torch_row.status != 'ok':
        return Row('needed', name, '', 'ok', 'unknown without torch')
    torch = importlib.import_module('torch')
    if not torch.cuda.is_available():
        return Row('needed', name, '', 'ok', 'none; networks run on the CPU')
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    note = f'{len(names)}: {", ".join(sorted(set(names)))}'
    return Row('needed', name, str(torch.version.cuda), 'ok', note)


def _repair(repair: object) -> Row:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            needed = repair.needed()
    except Exception as error:
        # The package it repairs is broken; its own row says how.
        return Row(
            'repairs', repair.name, '', 'idle', f'unknown: {type(error).__name__}'
        )
    return Row(
        'repairs', repair.name, '', 'active' if needed else 'idle', repair.versions
    )


def _feature(name: str, modules: tuple[str, ...], remedy: str) -> Row:
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        return Row('optional', name, '', 'missing', remedy)
    return Row('optional', name, '', 'ok', ', '.join(modules))


def _ops_missing() -> bool:
    return importlib.import_module('sr_plugins.compat.mmcv_ops').REPAIR.needed()


def _mmcv_ops(rows: list[Row]) -> Row:
    mmcv = next(row for row in rows if row.name == 'mmcv')
    if mmcv.status == 'ok' and not _ops_missing():
        return Row('optional', 'mmcv operators', '', 'ok')
    return Row(
        'optional',
        'mmcv operators',
        '',
        'missing',
        'only for deformable convolution and the like: pip uninstall -y mmcv-lite && '
        'MMCV_WITH_OPS=1 pip install --no-build-isolation --no-binary mmcv mmcv==2.1.0',
    )


def _compiler(name: str, program: str, remedy: str) -> Row:
    path = shutil.which(program)
    if path is None:
        return Row(
            'optional', name, '', 'missing', f'{remedy} for faster custom operators'
        )
    return Row('optional', name, '', 'ok', path)


def _kernels(torch_row: Row) -> Row:
    name = 'compiled kernels'
    if torch_row.status != 'ok':
        return Row('optional', name, '', 'missing', 'unknown without torch')
    with warnings.catch_warnings():
        # What it warns of stands in the row.
        warnings.simplefilter('ignore')
        library = importlib.import_module('sr_plugins.ops.library')
    states = {kind: library.state(kind) for kind in library.kinds()}
    note = ', '.join(f'{kind} {state}' for kind, state in states.items())
    if set(states.values()) == {'built'}:
        return Row('optional', name, '', 'ok', note)
    option = ' --cuda' if states.get('cuda', 'built') != 'built' else ''
    return Row('optional', name, '', 'missing', f'{note}; {library.BUILD}{option}')


def render(rows: Sequence[Row]) -> str:
    """Return the table, at most 100 columns wide, and a last line with the verdict."""
    titles = {
        'needed': 'Needed',
        'repairs': 'Repairs of upstream packages',
        'optional': 'Optional',
    }
    name_width = max(len(row.name) for row in rows)
    version_width = max(len(row.version) for row in rows)
    lines = []
    for section, title in titles.items():
        lines += ['', title] if lines else [title]
        for row in (row for row in rows if row.section == section):
            start = (
                f'  {row.name:{name_width}}  {row.version:{version_width}}  '
                f'{row.status:7}  '
            )
            lines += textwrap.wrap(
                row.note,
                WIDTH,
                initial_indent=start,
                subsequent_indent=' ' * len(start),
                break_long_words=False,
                break_on_hyphens=False,
            ) or [start.rstrip()]
    broken = [row.name for row in rows if row.status == 'broken']
    verdict = (
        f'Broken: {", ".join(broken)}. The remedy stands in its line.'
        if broken
        else 'Everything needed works.'
    )
    return '\n'.join([*lines, '', verdict, ''])


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; return 1 where something needed is broken, else 0."""
    argparse.ArgumentParser(
        prog='python -m sr_plugins.doctor', description=__doc__.partition('\n')[0]
    ).parse_args(argv)
    rows = report()
    sys.stdout.write(render(rows))
    return int(any(row.status == 'broken' for row in rows))


if __name__ == '__main__':
    sys.exit(main())
