"""Train one candidate of a search briefly, and score it."""

import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.optim.scheduler.param_scheduler import _ParamScheduler
from mmengine.registry import PARAM_SCHEDULERS
from mmengine.runner.utils import set_random_seed
from torch.utils.data import DataLoader

from ...registry import MODELS

_LOGGED = 5
"""How often a training says how far it is."""


class DivergedError(ArithmeticError):
    """A loss that is not finite."""


class Evaluation(NamedTuple):
    """What became of a candidate, as JSON holds it.

    Attributes:
        fitness: higher is better; None after a failure.
        error: reason of a failure, or None.
        info: `seconds` of training and validation, and every metric.
    """

    fitness: float | None
    error: str | None
    info: dict[str, float]


class CandidateTraining:
    """Trains networks from scratch, each as if it were the only one.

    Everything random starts anew from `seed`, and data loaders know nothing of other
    processes: a score depends on network and seed only. All networks see the same
    samples in the same order, so that what differs is the networks. On a CPU one thread
    trains, since sums are rounded otherwise with another number of them.

    Args:
        cfg: of the search, whose `model`, `optim_wrapper` and `param_scheduler` are
            used.
        train_loader: endless, with a `ResumableSampler`.
        val_loader: of one image a batch.
        evaluator: its metrics are read without asking other processes.
        epochs: of a training.
        epoch_length: batches of an epoch.
        fitness: the metric that decides, greater is better.
        seed: of weights.
        logger: told now and then how far a training is.
    """

    def __init__(
        self,
        cfg: Config,
        train_loader: DataLoader,
        val_loader: DataLoader,
        evaluator: Evaluator,
        epochs: int,
        epoch_length: int,
        fitness: str,
        seed: int,
        logger: MMLogger,
    ) -> None:
        self.cfg = cfg
        self.train_loader = train_loader
        self.val_loader = val_loader
        self.evaluator = evaluator
        self.epochs = epochs
        self.epoch_length = epoch_length
        self.fitness = fitness
        self.seed = seed
        self.logger = logger

    def __call__(
        self, codes: Sequence[str], between: Callable[[], None] = lambda: None
    ) -> Evaluation:
        """Train and score the network of these blocks.

        Args:
            codes: for `ESRN`.
            between: called after every iteration.

        Returns:
            The metric, or the reason why there is none: a loss or score that is not
            finite, or a lack of memory. Other errors are not the candidate's, and are
            raised.
        """
        start, error, metrics = time.monotonic(), None, {}
        try:
            with _one_thread():
                metrics = self._train_and_validate(codes, between)
        except DivergedError as diverged:
            error = str(diverged)
        except (MemoryError, RuntimeError) as failure:
            if not _is_out_of_memory(failure):
                raise
            reason = str(failure).partition('\n')[0]
            error = f'out of memory: {reason or type(failure).__name__}'
        if error is not None and torch.cuda.is_available():
            torch.cuda.empty_cache()
        info = {'seconds': round(time.monotonic() - start, 3), **metrics}
        fitness = None if error is not None else metrics[self.fitness]
        if fitness is not None and not math.isfinite(fitness):
            fitness, error = None, f'{self.fitness} is {fitness}'
        finite = {k: v for k, v in info.items() if math.isfinite(v)}
        return Evaluation(fitness, error, finite)

    def _train_and_validate(
        self, codes: Sequence[str], between: Callable[[], None]
    ) -> dict[str, float]:
        set_random_seed(self.seed)
        config = copy.deepcopy(self.cfg.model)
        config.generator.architecture = list(codes)
        model = MODELS.build(config).to(get_device())
        self._train(model, between)
        return self._validate(model, between)

    def _train(self, model: BaseModel, between: Callable[[], None]) -> None:
        wrapper = build_optim_wrapper(model, copy.deepcopy(self.cfg.optim_wrapper))
        wrapper.initialize_count_status(model, 0, self.epochs * self.epoch_length)
        schedulers = self._build_schedulers(wrapper)
        batches = iter(self.train_loader)
        model.train()
        for epoch in range(1, self.epochs + 1):
            for _ in range(self.epoch_length):
                losses = model.train_step(next(batches), wrapper)
                for scheduler in schedulers:
                    if not scheduler.by_epoch:
                        scheduler.step()
                between()
            for scheduler in schedulers:
                if scheduler.by_epoch:
                    scheduler.step()
            # Not after every batch, since it waits for the GPU.
            loss = losses['loss'].item()
            if not math.isfinite(loss):
                raise DivergedError(f'the loss is {loss} after {epoch} epochs')
            if epoch % -(-self.epochs // _LOGGED) == 0 and epoch < self.epochs:
                self.logger.info(f'  epoch {epoch} of {self.epochs}, loss {loss:.4f}')

    def _build_schedulers(self, wrapper: OptimWrapper) -> list[_ParamScheduler]:
        configs = self.cfg.get('param_scheduler') or []
        built = []
        for config in configs if isinstance(configs, list | tuple) else [configs]:
            config = copy.deepcopy(config)
            by_epoch = config.get('by_epoch', True)
            config.setdefault(
                'end', self.epochs if by_epoch else self.epochs * self.epoch_length
            )
            defaults = {'optimizer': wrapper, 'epoch_length': self.epoch_length}
            built.append(PARAM_SCHEDULERS.build(config, default_args=defaults))
        return built

    @torch.no_grad()
    def _validate(
        self, model: BaseModel, between: Callable[[], None]
    ) -> dict[str, float]:
        model.eval()
        for metric in self.evaluator.metrics:
            metric.results.clear()
        for batch in self.val_loader:
            self.evaluator.process(model.val_step(batch), batch)
            between()
        values = {}
        for metric in self.evaluator.metrics:
            # Not `evaluate`, which gathers results from all processes.
            for name, value in metric.compute_metrics(metric.results).items():
                values[f'{metric.prefix}/{name}'] = float(value)
            metric.results.clear()
        if self.fitness not in values:
            raise ValueError(
                f'Expected `fitness` to be one of {", ".join(values)}, the metrics of '
                f'`val_evaluator`, but got {self.fitness!r}.'
            )
        return values


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _is_out_of_memory(error: Exception) -> bool:
    # A type of its own has only torch's allocator for GPUs.
    return isinstance(error, MemoryError | torch.cuda.OutOfMemoryError) or any(
        words in str(error)
        for words in ("can't allocate memory", 'out of memory', 'STATUS_ALLOC_FAILED')
    )
