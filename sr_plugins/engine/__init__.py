"""What our networks need of mmengine's Runner, beyond what it has."""

from .cli import (
    add_config_options,
    add_image_options,
    is_basicsr,
    plain_errors,
    refuse_options,
)
from .config_checks import check_types
from .hooks import (
    CheckpointHook,
    CompileHook,
    ESREAHook,
    LearningCurveHook,
    SaveImagesHook,
)
from .image_options import parse_image_options, set_image_options, set_scale
from .launch import build_runner, build_test_runner, load_config
from .log_processor import LogProcessor
from .loops import BenchmarkLoop, EvolutionSearchLoop, ResumableTrainLoop
from .optim_wrapper import BFloat16OptimWrapper
from .results import format_table, write_results

__all__ = [
    'BFloat16OptimWrapper',
    'BenchmarkLoop',
    'CheckpointHook',
    'CompileHook',
    'ESREAHook',
    'EvolutionSearchLoop',
    'LearningCurveHook',
    'LogProcessor',
    'ResumableTrainLoop',
    'SaveImagesHook',
    'add_config_options',
    'add_image_options',
    'build_runner',
    'build_test_runner',
    'check_types',
    'format_table',
    'is_basicsr',
    'load_config',
    'parse_image_options',
    'plain_errors',
    'refuse_options',
    'set_image_options',
    'set_scale',
    'write_results',
]
