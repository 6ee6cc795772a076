"""How BasicSR's models read and write: safely, and whole or not at all."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from basicsr.models.base_model import BaseModel
from basicsr.utils import get_root_logger
from basicsr.utils.dist_util import master_only
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ... import checkpoints
from ...fileio import torch_load, torch_save

_stock_model_to_device = BaseModel.model_to_device


@master_only
def save_network(
    self: BaseModel,
    net: 'nn.Module | list[nn.Module]',
    net_label: str,
    current_iter: int,
    param_key: 'str | list[str]' = 'params',
) -> None:
    """In place of BaseModel's, which leaves a torn file when it is killed."""
    nets, keys = (x if isinstance(x, list) else [x] for x in (net, param_key))
    content = {
        key: {
            name.removeprefix('module.'): value.cpu()
            for name, value in self.get_bare_model(each).state_dict().items()
        }
        for key, each in zip(keys, nets, strict=True)
    }
    step = 'latest' if current_iter == -1 else current_iter
    torch_save(content, Path(self.opt['path']['models'], f'{net_label}_{step}.pth'))


@master_only
def save_training_state(self: BaseModel, epoch: int, current_iter: int) -> None:
    """In place of BaseModel's, for the same reason; the networks are saved before."""
    if current_iter == -1:
        return
    state = {
        'epoch': epoch,
        'iter': current_iter,
        'optimizers': [optimizer.state_dict() for optimizer in self.optimizers],
        'schedulers': [scheduler.state_dict() for scheduler in self.schedulers],
    }
    torch_save(
        state, Path(self.opt['path']['training_states'], f'{current_iter}.state')
    )


def load_network(
    self: BaseModel,
    net: nn.Module,
    load_path: Any,
    strict: bool = True,
    param_key: str | None = 'params',
) -> None:
    """In place of BaseModel's, which runs what a file holds.

    Networks of sr_plugins take weights of every dialect, and what
    `sr_plugins.checkpoints.load` takes besides. Others, and those that training itself
    has written, take BasicSR's.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it does not fit, or is damaged.
    """
    net = self.get_bare_model(net)
    resumes = self.is_train and self.opt['path'].get('resume_state')
    if type(net).__module__.startswith('sr_plugins.') and not resumes:
        source = _asked_for(load_path, param_key)
        report = checkpoints.load(net, source, strict=strict)
        get_root_logger().info(f'Weights from {load_path}: {report.summary()}')
        return
    content = torch_load(load_path)
    if not isinstance(content, Mapping):
        raise ValueError(
            f'Expected {load_path} to hold a dict, but got {type(content).__name__}.'
        )
    if param_key is not None:
        content = content.get(param_key, content.get('params', content))
    state = {name.removeprefix('module.'): value for name, value in content.items()}
    if not set(state) & set(net.state_dict()):
        raise ValueError(
            f'Expected {load_path} to hold weights of {type(net).__name__} under '
            f"BasicSR's names, but not one is. Those of EDSR are converted by `python "
            f'tools/convert_checkpoint.py IN OUT --to basicsr`.'
        )
    self._print_different_keys_loading(net, state, strict)
    try:
        net.load_state_dict(state, strict=strict)
    except (RuntimeError, AttributeError) as error:
        raise ValueError(
            f'Expected {load_path} to hold weights of {type(net).__name__} as its '
            f'options have it, but got: {str(error)[:500]}'
        ) from error


def _asked_for(path: Any, param_key: str | None) -> Any:
    """The file; or plain weights out of one that has averaged ones as well.

    `checkpoints.load` prefers the averaged ones.
    """
    if param_key != 'params' or not isinstance(path, str) or not Path(path).is_file():
        return path
    content = torch_load(path)
    if isinstance(content, Mapping) and {'params', 'params_ema'} <= set(content):
        return {'params': content['params']}
    return path


def model_to_device(self: BaseModel, net: nn.Module) -> nn.Module:
    """In place of BaseModel's, which needs a GPU to be distributed."""
    if self.opt['dist'] and self.device.type == 'cpu':
        return DistributedDataParallel(
            net, find_unused_parameters=self.opt.get('find_unused_parameters', False)
        )
    return _stock_model_to_device(self, net)
