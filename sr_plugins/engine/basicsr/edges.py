"""Where BasicSR's pipelines meet the world, replaced while they run.

What the pipelines do stays BasicSR's: models, losses, optimiser, schedule, order of the
images, validation, logs. Replaced are the command line, folders, files, devices and
random numbers.
"""

import atexit
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import basicsr.data
import basicsr.data.paired_image_dataset
import cv2
from basicsr.models.base_model import BaseModel
from basicsr.utils import set_random_seed
from basicsr.utils.dist_util import get_dist_info
from basicsr.utils.logger import initialized_logger
from mmengine.dist import init_dist, is_distributed
from torch import multiprocessing

from ..launch import leave_group
from . import samples, weights

# Others wait while one process validates, for which it may need hours.
_TIMEOUT_SECONDS = 24 * 60 * 60


@contextmanager
def replaced(owner: Any, **values: Any) -> Iterator[None]:
    """Let the attributes of `owner` be `values`, and then what they were.

    Raises:
        AttributeError: when `owner` has no such attribute, as in another version.
    """
    stock = {name: getattr(owner, name) for name in values}
    try:
        for name, value in values.items():
            setattr(owner, name, value)
        yield
    finally:
        for name, value in stock.items():
            setattr(owner, name, value)


@contextmanager
def edges() -> Iterator[None]:
    """What training and testing have in common."""
    threads = cv2.getNumThreads()
    _close_log()
    try:
        # Loader processes are forked, and OpenCV's threads do not survive that.
        cv2.setNumThreads(0)
        with (
            replaced(
                basicsr.data.paired_image_dataset,
                paired_paths_from_folder=samples.pair_folders,
                paired_random_crop=samples.crop_pair,
                imfrombytes=samples.decode,
            ),
            replaced(
                BaseModel,
                load_network=weights.load_network,
                model_to_device=weights.model_to_device,
                save_network=weights.save_network,
                save_training_state=weights.save_training_state,
                validation=validate,
            ),
        ):
            yield
    finally:
        cv2.setNumThreads(threads)
        _close_log()


_stock_validation = BaseModel.validation


def validate(self: BaseModel, *args: Any, **kwargs: Any) -> None:
    """In place of BaseModel's, which one process runs, where there are several.

    Without averaged weights it would go through a wrapper that waits for the others.
    """
    wrapped = self.net_g
    self.net_g = self.get_bare_model(wrapped)
    try:
        _stock_validation(self, *args, **kwargs)
    finally:
        self.net_g = wrapped


def _close_log() -> None:
    """Else a run would write into the log of an earlier one of this process.

    BasicSR opens a log only once, also for a model that was built without a run.
    """
    initialized_logger.pop('basicsr', None)
    logger = logging.getLogger('basicsr')
    for handler in list(logger.handlers):
        handler.close()
        logger.removeHandler(handler)


def join_group(options: dict[str, Any], launcher: str) -> None:
    """Be one of several processes, if so launched, and seed this one."""
    if launcher != 'none':
        # As mmengine's Runner does. Loader processes must have the edges, too.
        multiprocessing.set_start_method('fork', force=True)
        if not is_distributed():
            backend = 'nccl' if options['num_gpu'] else 'gloo'
            init_dist(launcher, backend, timeout=_TIMEOUT_SECONDS)
            atexit.register(leave_group)
        options['dist'] = True
    options['rank'], options['world_size'] = get_dist_info()
    set_random_seed(options['manual_seed'] + options['rank'])


def build_dataset(options: Mapping[str, Any]) -> samples.Samples:
    """In place of BasicSR's in a pipeline, by it."""
    dataset = basicsr.data.build_dataset(options)
    return samples.Samples(dataset, options.get('indices'))
