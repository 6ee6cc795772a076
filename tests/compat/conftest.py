"""Repairs act on imports, so each test runs in interpreters of its own."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def python():
    """Run code in a fresh interpreter; return the completed process."""

    def run(code, *args, folder=None, module=None, environment=None):
        search = [str(folder)] if folder is not None else []
        env = {
            **os.environ,
            'PYTHONPATH': os.pathsep.join([*search, str(ROOT)]),
            'PYTHONWARNINGS': 'ignore',
            **(environment or {}),
        }
        command = ['-c', textwrap.dedent(code)] if module is None else ['-m', *module]
        return subprocess.run(
            [sys.executable, *command, *map(str, args)],
            env=env,
            capture_output=True,
            text=True,
            timeout=240,
        )

    return run


@pytest.fixture
def passes(python):
    """Like `python`, and fail with its output where it did not exit with 0."""

    def run(*args, **options):
        result = python(*args, **options)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    return run


@pytest.fixture
def tree(tmp_path):
    """Write a tree of small modules that stand before the installed packages."""

    def write(files):
        for name, text in files.items():
            path = tmp_path / 'tree' / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))
        return tmp_path / 'tree'

    return write
