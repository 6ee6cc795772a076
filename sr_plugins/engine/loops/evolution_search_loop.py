"""Train and score the candidates of a search, on all processes at once."""

import time
from collections.abc import Callable, Iterable

from mmengine.dist import barrier, is_main_process
from mmengine.runner import Runner
from mmengine.runner.base_loop import BaseLoop
from torch.nn import Module
from torch.utils.data import SequentialSampler

from ...datasets import ResumableSampler
from ...nas import Candidate
from ...registry import LOOPS
from ..hooks.compile_hook import CompileHook
from ..hooks.esr_ea_hook import ESREAHook
from ..search import CandidateTraining, Evaluation, WorkQueue

_COLLECT_S = 1.0
"""While it trains, the main process looks for results of others that often."""


@LOOPS.register_module()
class EvolutionSearchLoop(BaseLoop):
    """Asks `ESREAHook` for candidates, trains each briefly and tells its score.

    Every process trains a candidate of its own, whole batches and no gradients shared;
    one that is done takes the next of the generation. Only the main process knows the
    search. Epochs and iterations are those of a candidate's training.

    Whole images are validated. For a faster search, `PairedCenterCrop` in the pipeline
    of `val_dataloader` takes a fixed part of each.

    Args:
        runner: the runner, with one `ESREAHook` and a validation.
        dataloader: of training, with a `ResumableSampler`.
        epochs: of a candidate's training.
        epoch_length: batches of an epoch.
        fitness: the metric of `val_evaluator` that decides, greater is better.

    Raises:
        ValueError: when there is not one `ESREAHook`, a `CompileHook` or no validation,
            or on lengths below 1.
        TypeError: on another sampler.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: dict,
        epochs: int = 500,
        epoch_length: int = 50,
        fitness: str = 'edsr_y/PSNR',
    ) -> None:
        super().__init__(runner, dataloader)
        for name, value in (('epochs', epochs), ('epoch_length', epoch_length)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(
                    f'Expected `{name}` to be an integer of at least 1, but got '
                    f'{value!r}.'
                )
        hooks = [hook for hook in runner.hooks if isinstance(hook, ESREAHook)]
        if len(hooks) != 1:
            raise ValueError(
                f'Expected `custom_hooks` to have one sr_plugins.ESREAHook, which says '
                f'what to search for, but got {len(hooks)}.'
            )
        if any(isinstance(hook, CompileHook) for hook in runner.hooks):
            raise ValueError(
                'Expected a search without CompileHook (`--compile`), since it does '
                'not compile candidates, but got one.'
            )
        sampler = self.dataloader.sampler
        if not isinstance(sampler, ResumableSampler):
            raise TypeError(
                f'Expected `train_dataloader.sampler` to be sr_plugins.'
                f'ResumableSampler, which starts anew for every candidate, but got '
                f'{type(sampler).__name__}.'
            )
        # Every process takes all samples.
        sampler.rank, sampler.world_size = 0, 1
        self.search = hooks[0]
        self.epochs = self.max_epochs = epochs
        self.epoch_length = epoch_length
        self.fitness = fitness
        self.max_iters = epochs * epoch_length
        self.epoch = self.iter = 0
        self._training: CandidateTraining | None = None

    def describe(self) -> dict:
        """All of the config that scores depend on, the seed included."""
        cfg = self.runner.cfg.to_dict()
        loaders = {'train': cfg['train_dataloader'], 'val': cfg['val_dataloader']}
        for loader in loaders.values():
            # The folder may have moved.
            loader['dataset'].pop('data_root', None)
        model = cfg['model']
        model['generator'].pop('architecture')
        return {
            'seed': self.runner.seed,
            'epochs': self.epochs,
            'epoch_length': self.epoch_length,
            'batch_size': self.dataloader.batch_size,
            'fitness': self.fitness,
            'model': model,
            'optim_wrapper': cfg['optim_wrapper'],
            'param_scheduler': cfg.get('param_scheduler'),
            'data': {name: loader['dataset'] for name, loader in loaders.items()},
        }

    def run(self) -> Module:
        """Search until the last generation is told."""
        self.runner.call_hook('before_train')
        self._training = self._build_training()
        queue = WorkQueue.connect()
        if is_main_process():
            self._lead(queue)
        else:
            while queue.wait_for_batch():
                self._work(queue)
        # The main process has the store, and waits for the others to leave it.
        barrier()
        self.runner.call_hook('after_train')
        return self.runner.model

    def _lead(self, queue: WorkQueue) -> None:
        while candidates := self.search.ask(self.runner):
            queue.publish([list(candidate.codes) for candidate in candidates])
            # What others have is told and saved while this one trains its own.
            self._work(queue, lambda: self._tell(candidates, queue.arrived()))
            self._tell(candidates, queue.wait_for_all())
        queue.close()

    def _work(
        self, queue: WorkQueue, collect: Callable[[], None] = lambda: None
    ) -> None:
        now_and_then = _at_most_every(_COLLECT_S, collect)
        while (taken := queue.take()) is not None:
            index, codes = taken
            queue.deliver(index, self._training(codes, now_and_then))
            collect()

    def _tell(
        self, candidates: list[Candidate], results: Iterable[tuple[int, list]]
    ) -> None:
        for index, result in results:
            self.search.tell(self.runner, candidates[index].id, Evaluation(*result))

    def _build_training(self) -> CandidateTraining:
        runner = self.runner
        if runner.val_loop is None:
            raise ValueError(
                'Expected the config of a search to have `val_dataloader`, '
                '`val_evaluator` and `val_cfg`, but got none.'
            )
        # The Runner's own loader shares the images among processes.
        dataset = runner.val_loop.dataloader.dataset
        val_loader = {
            **runner.cfg.val_dataloader,
            'dataset': dataset,
            'sampler': SequentialSampler(dataset),
        }
        return CandidateTraining(
            runner.cfg,
            self.dataloader,
            runner.build_dataloader(val_loader),
            runner.val_loop.evaluator,
            self.epochs,
            self.epoch_length,
            self.fitness,
            runner.seed,
            runner.logger,
        )


def _at_most_every(seconds: float, function: Callable[[], None]) -> Callable[[], None]:
    """Give what calls `function` unless it did so just now."""
    last = time.monotonic()

    def call() -> None:
        nonlocal last
        if time.monotonic() - last > seconds:
            function()
            last = time.monotonic()

    return call
