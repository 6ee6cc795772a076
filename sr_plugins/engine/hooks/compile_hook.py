"""torch.compile for training."""

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from torch import Tensor

from ...registry import HOOKS


@HOOKS.register_module()
class CompileHook(Hook):
    """Compiles the generator for training; validation runs it as it is.

    mmengine's `compile=True` compiles the whole train step, optimiser wrapper and
    logging included; the network is where the time goes. Validation images are each
    of another size, for which compiling takes longer than it saves. The model's
    parameters and their names stay, and so do checkpoints and the EMA.
    """

    def before_train(self, runner) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        # Patches have one size, or a few: a graph for each is faster than one for all.
        compiled = torch.compile(model.generator, dynamic=False)

        def forward_tensor(inputs: Tensor, data_samples=None, **kwargs) -> Tensor:
            network = compiled if model.training else model.generator
            return network(inputs, **kwargs)

        model.forward_tensor = forward_tensor
        runner.logger.info(
            f'{type(model.generator).__name__} will be compiled: the first iterations '
            f'take longer.'
        )
