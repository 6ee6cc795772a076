"""BasicSR's own pipelines, run by our tools on BasicSR's options files."""

from .completion import complete
from .options import read_options
from .testing import run_test
from .training import run_training

__all__ = ['complete', 'read_options', 'run_test', 'run_training']
