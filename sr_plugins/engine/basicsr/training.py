"""BasicSR's own training."""

import functools
import logging
import math
import os
from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import basicsr.train
import yaml
from basicsr.models.base_model import BaseModel
from basicsr.utils import get_root_logger
from mmengine.dist import broadcast_object_list, is_main_process

from ...fileio import remove_leftovers, write_text
from ..launch import require_writable
from . import samples, states
from .checks import check_types
from .completion import complete
from .edges import build_dataset, edges, join_group, replaced
from .options import read_options


def run_training(
    config: str | Path,
    *,
    work_dir: str | None = None,
    data_root: str | None = None,
    seed: int | None = None,
    resume: str | bool = False,
    init_from: str | None = None,
    launcher: str = 'none',
    cfg_options: Mapping[str, Any] | None = None,
) -> None:
    """Run `basicsr.train.train_pipeline`.

    Args:
        config: an options file.
        work_dir: for all that is written; `work_dirs/<name of the file>` otherwise.
        data_root: see `read_options`.
        seed: see `read_options`.
        resume: True goes on from the furthest readable state of the work folder, a path
            from that file; False from `path.resume_state` of the options, if any.
        init_from: weights of any dialect to start from; what fits is taken.
        launcher: 'none', 'pytorch', 'slurm' or 'mpi', as in mmengine.
        cfg_options: see `read_options`.

    Raises:
        FileNotFoundError: when data, or what is to be resumed, is missing.
        OSError: when the work folder cannot be written.
        ValueError: on wrong options, files or images.
    """
    config = Path(config)
    given = read_options(
        config, data_root=data_root, seed=seed, cfg_options=cfg_options
    )
    if init_from is not None:
        path = {
            'pretrain_network_g': init_from,
            'strict_load_g': False,
            'param_key_g': 'params_ema',
            'resume_state': None,
        }
        given['path'] = {**(given.get('path') or {}), **path}
    folder = Path(work_dir or Path('work_dirs', config.stem))
    options = complete(given, config.stem, folder, is_train=True)
    check_types(options)
    require_writable(str(folder))
    join_group(options, launcher)
    # What BasicSR asks a file for; from here on it says what the run goes on from.
    resume = resume or options['path'].pop('resume_state') or False
    options['path']['resume_state'] = None
    run = _Training(options, given, config, resume)
    with edges(), run.edges():
        try:
            basicsr.train.train_pipeline(str(folder))
        except KeyboardInterrupt:
            run.say_how_to_go_on()
            raise


class _Training:
    """The edges of one run of `train_pipeline`.

    Args:
        options: from `complete`.
        given: from `read_options`.
        config: the options file.
        resume: as for `run_training`.
    """

    def __init__(
        self,
        options: dict[str, Any],
        given: Mapping[str, Any],
        config: Path,
        resume: str | bool,
    ) -> None:
        self.options, self.given, self.config = options, given, config
        self.folder = Path(options['path']['experiments_root'])
        self.resume = resume
        self.state: dict[str, Any] | None = None

    @contextmanager
    def edges(self) -> Iterator[None]:
        """Put them in place."""
        self.stock_loaders = basicsr.train.create_train_val_dataloader
        self.stock_build_model = basicsr.train.build_model
        order = functools.partial(samples.Order, seed=self.options['manual_seed'])
        with replaced(
            basicsr.train,
            parse_options=self.parse_options,
            load_resume_state=self.load_resume_state,
            make_exp_dirs=lambda opt: None,
            copy_opt_file=self.copy_options,
            build_dataset=build_dataset,
            EnlargedSampler=order,
            create_train_val_dataloader=self.create_loaders,
            build_model=self.build_model,
        ):
            yield

    def parse_options(
        self, root_path: str, is_train: bool
    ) -> tuple[dict[str, Any], Namespace]:
        """Not from the command line, which is ours."""
        return self.options, Namespace(opt=str(self.config))

    def load_resume_state(self, options: dict[str, Any]) -> dict[str, Any] | None:
        """The state to go on from, if one is asked for, on the CPU."""
        if not self.resume:
            return None
        choice = [self.resume]
        if is_main_process():
            if self.resume is True:
                choice = [str(states.last_readable(self.folder))]
            else:
                states.read_state(self.resume)
            for name in ('models', 'training_states'):
                remove_leftovers(self.folder / name)
        broadcast_object_list(choice)
        path = Path(choice[0])
        self.state = states.read_state(path)
        states.require_schedule(self.state, options['train']['total_iter'])
        states.point_to_networks(options, path, self.state['iter'])
        return self.state

    def copy_options(self, path: str, folder: str) -> None:
        """Write the options as they came to be, beside the results."""
        target = Path(folder, self.config.name)
        if is_main_process() and target.resolve() != self.config.resolve():
            text = yaml.safe_dump(dict(self.given), sort_keys=False)
            write_text(target, f'# From {self.config} and its command line.\n{text}')

    def create_loaders(self, options: dict[str, Any], logger: logging.Logger) -> tuple:
        """BasicSR's, cut to the iterations that are left."""
        loader, order, val_loaders, _, stop = self.stock_loaders(options, logger)
        per_epoch = len(loader)
        if per_epoch == 0:
            raise ValueError(
                f'Expected the training images to make a batch, but got {len(order)} '
                f'for each process and batches of {loader.batch_size}. Raise '
                f'`datasets.train.dataset_enlarge_ratio`.'
            )
        start = 0
        if self.state is not None:
            start = self.state['iter']
            # By what is trained on now, should the batch or the data have changed.
            self.state['epoch'] = start // per_epoch
        order.cut(start, stop, loader.batch_size)
        # BasicSR counts batches that its loader drops, and would end early.
        epochs = math.ceil(stop / per_epoch)
        return loader, order, val_loaders, epochs - 1, stop

    def build_model(self, options: dict[str, Any]) -> BaseModel:
        """BasicSR's. Only now: a call that failed so far has moved nothing."""
        model = self.stock_build_model(options)
        partly = not options['path'].get('strict_load_g', True)
        if self.state is None and partly and hasattr(model, 'net_g_ema'):
            # What the file to start from lacks, each of the two has drawn for itself.
            model.model_ema(decay=0)
        if is_main_process():
            if self.state is None:
                states.set_aside(self.folder)
            for name in states.MADE:
                os.makedirs(self.folder / name, exist_ok=True)
        return model

    def say_how_to_go_on(self) -> None:
        """After Ctrl-C."""
        found = states.find_states(self.folder)
        get_root_logger().warning(
            f'Stopped. `--resume` goes on from iteration {found[0].stem}.'
            if found
            else 'Stopped before a state was saved: there is nothing to resume from.'
        )
