"""A training loop that resumes its data stream at once and exactly."""

from itertools import chain, repeat

from mmengine.runner import IterBasedTrainLoop
from torch.nn import Module

from ...datasets import ResumableSampler
from ...registry import LOOPS


@LOOPS.register_module()
class ResumableTrainLoop(IterBasedTrainLoop):
    """mmengine's loop by iterations, for data loaders with `ResumableSampler`.

    mmengine resumes by loading all batches of the finished iterations again, which
    takes hours late in a run; here the sampler starts at the right sample.
    """

    def run(self) -> Module:
        """Train from the current iteration to `max_iters`.

        Raises:
            TypeError: when a resumed run has a sampler that cannot be positioned.
        """
        if self._iter > 0:
            # A batch sampler, where there is one, holds what a loader holds else.
            source = self.dataloader
            if source.batch_size is None:
                source = source.batch_sampler
            if not isinstance(source.sampler, ResumableSampler):
                raise TypeError(
                    f'Expected `train_dataloader.sampler` to be ResumableSampler, but '
                    f'got {type(source.sampler).__name__}. Set `sampler=dict('
                    f"type='sr_plugins.ResumableSampler')`, or train with mmengine's "
                    f'IterBasedTrainLoop.'
                )
            source.sampler.start = self._iter * source.batch_size
            # The base class draws and drops one batch per finished iteration: these
            # cost nothing.
            skipped = repeat(None, self._iter)
            self.dataloader_iterator = chain(skipped, iter(self.dataloader))
        return super().run()
