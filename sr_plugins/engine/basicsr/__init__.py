"""BasicSR's own pipelines, run by our tools on BasicSR's options files."""

from .options import complete, read_options
from .pipelines import run_test, run_training

__all__ = ['complete', 'read_options', 'run_test', 'run_training']
