"""torch.compile for training."""

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper

from ...registry import HOOKS


@HOOKS.register_module()
class CompileHook(Hook):
    """Compiles the generator in place before training starts.

    mmengine's `compile=True` compiles the whole train step, optimiser wrapper and
    logging included; the network is where the time goes. Compiled in place, parameter
    names stay, and so do checkpoints and the EMA.
    """

    def before_train(self, runner) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        model.generator.compile()
        runner.logger.info(
            f'{type(model.generator).__name__} will be compiled: the first iterations '
            f'take longer.'
        )
