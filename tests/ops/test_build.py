"""What the build says when it cannot, and what is loaded of what it made."""

import os
import subprocess
import sys
import warnings

import pytest
import torch

from sr_plugins.ops import build, library


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """An empty place for libraries, in a folder with a space."""
    folder = tmp_path / 'a folder'
    folder.mkdir()
    monkeypatch.setattr(library, 'FOLDER', folder)
    monkeypatch.delenv('SR_PLUGINS_OPS', raising=False)
    return folder


def test_up_to_date(elsewhere, capsys):
    library.library_path('cpu').touch()
    assert build.main([]) == 0
    assert f'up to date     {library.library_path("cpu")}' in capsys.readouterr().out


def test_no_compiler(elsewhere, monkeypatch, capsys):
    monkeypatch.setenv('CXX', 'no-such-compiler')
    assert build.main([]) == 1
    error = capsys.readouterr().err
    assert 'Expected a C++ compiler, but found no no-such-compiler.' in error
    assert 'apt install g++' in error
    assert 'No kernels were built for cpu: torch serves' in error
    assert not list(elsewhere.iterdir())


def test_compiler_that_fails(elsewhere, monkeypatch, capsys):
    fails = elsewhere.parent / 'fails'
    fails.write_text('#!/bin/sh\necho cannot compile >&2\nexit 3\n')
    fails.chmod(0o755)
    monkeypatch.setenv('CXX', str(fails))
    assert build.main([]) == 1
    text = capsys.readouterr()
    assert 'cannot compile' in text.out
    assert 'to succeed, but got status 3' in text.err
    assert not list(elsewhere.iterdir())


def test_library_that_does_not_work(elsewhere, monkeypatch, capsys):
    """What does not load never takes the place of a library."""
    makes_nothing = elsewhere.parent / 'makes_nothing'
    makes_nothing.write_text('#!/bin/sh\nexit 0\n')
    makes_nothing.chmod(0o755)
    monkeypatch.setenv('CXX', str(makes_nothing))
    assert build.main([]) == 1
    assert 'to load and to give the results of torch' in capsys.readouterr().err
    assert not list(elsewhere.iterdir())


def test_folder_that_cannot_be_written(elsewhere, monkeypatch, capsys):
    (elsewhere / 'file').touch()
    monkeypatch.setattr(library, 'FOLDER', elsewhere / 'file')
    monkeypatch.setenv('CXX', 'true')
    assert build.main([]) == 1
    assert f'Expected to write to {elsewhere / "file"}' in capsys.readouterr().err


def test_no_nvcc(monkeypatch):
    monkeypatch.setattr(build.shutil, 'which', lambda name: None)
    with pytest.raises(build.BuildError, match=r'Expected nvcc.*CUDA toolkit'):
        build.build_cuda()


def test_architecture_that_nvcc_does_not_know(monkeypatch):
    monkeypatch.setattr(build, '_output', lambda command: 'compute_80\ncompute_120\n')
    with pytest.raises(build.BuildError, match=r"of 8\.0, 12\.0.*but got '5\.2'"):
        build._targets('nvcc', ['8.0', '5.2'])
    words = build._targets('nvcc', ['8.0', '12.0'])
    assert words[1::2] == [
        'arch=compute_80,code=sm_80',
        'arch=compute_120,code=sm_120',
        'arch=compute_120,code=compute_120',
    ]


def test_nvcc_of_another_cuda(monkeypatch):
    monkeypatch.setattr(build, '_output', lambda command: 'tools, release 11.8, V11.8')
    monkeypatch.setattr(torch.version, 'cuda', '12.8')
    with pytest.raises(build.BuildError, match=r'CUDA 12\.8.*is of 11\.8.*CUDA_HOME'):
        build._check_cuda_version('nvcc')


def test_nothing_is_built(elsewhere):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        library.load()
    assert library.state('cpu') == 'missing'


def test_library_for_another_torch(elsewhere):
    (elsewhere / 'cpu-torch1.0.0-x86_64-0123456789ab.so').touch()
    assert library.state('cpu') == 'outdated'
    with pytest.warns(UserWarning, match=r'another torch.*python -m sr_plugins\.ops'):
        library.load()


def test_damaged_library(elsewhere):
    library.library_path('cpu').write_bytes(b'no library')
    with pytest.warns(UserWarning, match=r'cannot be loaded.*build --force'):
        library.load()


def test_switch(elsewhere, monkeypatch):
    library.library_path('cpu').write_bytes(b'no library')
    monkeypatch.setenv('SR_PLUGINS_OPS', 'reference')
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        library.load()
    monkeypatch.setenv('SR_PLUGINS_OPS', 'off')
    with pytest.raises(ValueError, match="to be 'reference' or unset, but got 'off'"):
        library.load()


def test_import_compiles_nothing():
    """And one runtime of OpenMP serves torch and the kernels."""
    code = (
        'import subprocess, pathlib\n'
        'def refuse(*args, **kwargs): raise AssertionError(args)\n'
        'subprocess.Popen = refuse\n'
        'import sr_plugins.ops, torch\n'
        'x = [torch.rand(s) for s in [(1, 3, 8, 8), *[(1, 49, 4, 4)] * 3]]\n'
        'sr_plugins.ops.adaptive_grid_sample(*x, 2)\n'
        'maps = pathlib.Path("/proc/self/maps").read_text().split()\n'
        'print(len({name for name in maps if "omp" in name and ".so" in name}))\n'
    )
    environment = {k: v for k, v in os.environ.items() if k != 'SR_PLUGINS_OPS'}
    done = subprocess.run(
        [sys.executable, '-c', code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) <= 1
