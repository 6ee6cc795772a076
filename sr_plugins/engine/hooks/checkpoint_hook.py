"""Checkpoints that a kill at any moment cannot spoil."""

from bisect import bisect
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook as BaseCheckpointHook

from ...checkpoints import set_aside
from ...registry import HOOKS

BEST = 'best.pth'


@HOOKS.register_module()
class CheckpointHook(BaseCheckpointHook):
    """mmengine's hook for runs by iterations, with three differences.

    The best checkpoint has one stable name, `best.pth`, and is replaced in one step;
    mmengine deletes the old one first. Where validation follows a step that is to be
    saved, it comes first, so that no checkpoint lacks its own score: resumed from one,
    a worse score could otherwise pass for the best. And a new training sets the
    checkpoints of an earlier one aside.

    Args:
        interval: iterations from one checkpoint to the next.
        max_keep_ckpts: how many to keep; at least 2, since the oldest is removed before
            the newest is written.
        save_best: the metric that decides, greater is better, or None.

    Raises:
        ValueError: when `max_keep_ckpts` is 0 or 1.
    """

    def __init__(
        self,
        interval: int,
        max_keep_ckpts: int = 3,
        save_best: str | None = None,
    ) -> None:
        if max_keep_ckpts in (0, 1):
            raise ValueError(
                f'Expected `max_keep_ckpts` to be at least 2, so that there is always '
                f'a whole checkpoint, or -1 for all, but got {max_keep_ckpts}.'
            )
        super().__init__(
            interval=interval,
            by_epoch=False,
            max_keep_ckpts=max_keep_ckpts,
            save_best=save_best,
            rule=None if save_best is None else 'greater',
        )

    def before_train(self, runner) -> None:
        super().before_train(runner)
        # Only now: a call that failed for its config or data has moved nothing.
        if runner.iter == 0 and is_main_process():
            set_aside(self.out_dir)
        # Resumed into another folder: the best of that one is still to come.
        if not Path(self.out_dir, BEST).exists():
            runner.message_hub.runtime_info.pop('best_score', None)

    def after_train_iter(
        self, runner, batch_idx: int, data_batch=None, outputs=None
    ) -> None:
        """Save if a checkpoint is due and no validation follows."""
        if self._is_due(runner, runner.iter + 1) and not self._validates(runner):
            self._save_checkpoint(runner)

    def after_val_epoch(self, runner, metrics: dict) -> None:
        """Save the best, then the checkpoint that validation has put off."""
        super().after_val_epoch(runner, metrics)
        # A validation on its own (`runner.val()`) has no training to save.
        if runner.iter > 0 and self._is_due(runner, runner.iter):
            step = runner.iter
            meta = {'epoch': runner.epoch, 'iter': step}
            self._save_checkpoint_with_step(runner, step, meta)

    def _is_due(self, runner, step: int) -> bool:
        return step % self.interval == 0 or step == runner.max_iters

    def _validates(self, runner) -> bool:
        """Whether the loop validates right after this iteration, as it decides."""
        loop, step = runner.train_loop, runner.iter + 1
        if runner.val_loop is None or step < loop.val_begin:
            return False
        # The loop looks up its interval for this step only after the hooks.
        index = bisect(loop.dynamic_milestones, step + 1) - 1
        return step % loop.dynamic_intervals[index] == 0 or step == runner.max_iters

    def _save_best_checkpoint(self, runner, metrics: dict) -> None:
        if not self.save_best:
            return
        key = self.key_indicators[0]
        if key not in metrics:
            raise ValueError(
                f'Expected `save_best` to be one of {", ".join(metrics)}, but got '
                f'{key}.'
            )
        score = metrics[key]
        best = runner.message_hub.runtime_info.get('best_score', float('-inf'))
        # Not `score <= best`: a diverged run's NaN must not pass for the best.
        if not score > best:
            return
        runner.message_hub.update_info('best_score', score)
        runner.save_checkpoint(
            self.out_dir,
            filename=BEST,
            save_optimizer=False,
            save_param_scheduler=False,
            meta={'epoch': runner.epoch, 'iter': runner.iter},
            by_epoch=False,
            backend_args=self.backend_args,
        )
        runner.logger.info(
            f'Best {key} so far: {score:.4f} at iteration {runner.iter}, saved as '
            f'{BEST}.'
        )
