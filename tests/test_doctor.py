"""The doctor's table and verdict, healthy and broken."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sr_plugins import doctor
from sr_plugins.ops import library

ROOT = Path(__file__).parents[1]


def run_doctor(folder=None, code=None):
    path = [str(folder)] if folder else []
    return subprocess.run(
        [sys.executable, *(['-c', code] if code else ['-m', 'sr_plugins.doctor'])],
        env={**os.environ, 'PYTHONPATH': os.pathsep.join([*path, str(ROOT)])},
        capture_output=True,
        text=True,
        timeout=240,
    )


def test_healthy():
    result = run_doctor()
    assert result.returncode == 0, result.stdout + result.stderr
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= doctor.WIDTH
    for name in (
        *('Python', 'torch', 'CUDA devices', 'torchvision', 'numpy', 'opencv'),
        *('mmengine', 'mmcv', 'mmagic', 'basicsr', 'lmdb'),
        *('torchvision operators', 'basicsr functional_tensor', 'mmagic imports'),
        *('mmcv operators', 'numpy.bool8', 'checkpoint loading'),
        *('checkpoint writing', 'distributed on CPUs'),
        *('ONNX export', 'demo photographs', 'TensorBoard logs', 'figures'),
        *('C++ compiler', 'CUDA compiler', 'compiled kernels'),
    ):
        rows = [line for line in lines if line.startswith(f'  {name}  ')]
        assert rows, f'{name}\n{result.stdout}'
        assert not any('broken' in row for row in rows)
    assert lines[-1] == 'Everything needed works.'


def test_missing_and_failing_packages(tmp_path):
    (tmp_path / 'torchvision').mkdir()
    (tmp_path / 'torchvision' / '__init__.py').write_text(
        'raise RuntimeError("built for another torch\\nand a second line")'
    )
    # A finder that hides packages, as if they were not installed.
    code = """
import sys
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in ('mmagic', 'onnx'):
            raise ModuleNotFoundError(f'No module named {name!r}', name=name)
sys.meta_path.insert(0, Hide())
import importlib.util
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, *a: (
    None if name in ('mmagic', 'onnx') else find_spec(name, *a))
from sr_plugins import doctor
sys.exit(doctor.main([]))
"""
    result = run_doctor(tmp_path, code)
    assert result.returncode == 1, result.stderr
    text = ' '.join(result.stdout.split())
    assert 'RuntimeError: built for another torch;' in text
    assert 'second line' not in text
    assert "--force-reinstall --no-deps 'torchvision>=0.19'" in text
    assert "not installed; pip install 'mmagic>=1.2.0'" in text
    assert 'missing pip install onnx onnxruntime' in text
    assert 'Broken: torchvision, mmagic' in text


def test_without_torch(tmp_path):
    (tmp_path / 'torch.py').write_text(
        "raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')"
    )
    result = run_doctor(tmp_path)
    assert result.returncode == 1, result.stderr
    text = ' '.join(result.stdout.split())
    assert "not installed; pip install 'torch>=2.4'" in text
    assert 'unknown without torch' in text
    assert 'Traceback' not in result.stderr


@pytest.mark.parametrize(
    ('states', 'status', 'note'),
    [
        ({'cpu': 'built'}, 'ok', 'cpu built'),
        (
            {'cpu': 'outdated'},
            'missing',
            'cpu outdated; python -m sr_plugins.ops.build',
        ),
        (
            {'cpu': 'built', 'cuda': 'missing'},
            'missing',
            'cpu built, cuda missing; python -m sr_plugins.ops.build --cuda',
        ),
    ],
)
def test_kernels(monkeypatch, states, status, note):
    monkeypatch.setattr(library, 'kinds', lambda: list(states))
    monkeypatch.setattr(library, 'state', states.get)
    row = doctor._kernels(doctor.Row('needed', 'torch', '2.4', 'ok'))
    assert (row.status, row.note) == (status, note)


@pytest.mark.parametrize(
    ('version', 'status'),
    [
        ((3, 9, 18), 'broken'),
        ((3, 10, 0), 'ok'),
        ((3, 12, 9), 'ok'),
        ((3, 13, 0), 'broken'),
    ],
)
def test_python_versions(version, status):
    row = doctor._python(version)
    assert row.status == status
    assert (status == 'broken') == ('python3.12 -m venv' in row.note)


@pytest.mark.parametrize(
    ('version', 'status'),
    [
        ('2.0.1', 'broken'),
        ('2.1.0', 'ok'),
        ('2.1.0+cpu', 'ok'),
        ('2.2.0', 'broken'),
        ('2.10', 'broken'),
        ('', 'ok'),
    ],
)
def test_package_versions(monkeypatch, version, status):
    monkeypatch.setattr(doctor, '_version', lambda package: version)
    package = doctor._Package('tool', ('json.tool',), ('tool',), '2.1.0', '2.2')
    row = doctor._package(package)
    assert row.status == status
    if status == 'broken':
        assert row.note == "version not supported; pip install 'tool>=2.1.0,<2.2'"
