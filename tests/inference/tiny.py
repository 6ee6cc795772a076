"""Networks small enough for a test, as a user has them: a config and a checkpoint."""

from pathlib import Path

import torch
from mmengine.config import Config

from sr_plugins.registry import MODELS

ROOT = Path(__file__).parents[2]
# What `write_config` takes for a small CAR.
CAR = {
    'downscaler': {'mid_channels': 4, 'num_blocks': 1},
    'upscaler': {'mid_channels': 4, 'num_blocks': 1, 'res_scale': 1.0},
}


def write_config(folder, base='edsr_baseline_x2', **generator):
    """Write `tiny.py` on a config of the repository, return its path."""
    if not generator:
        generator = {'mid_channels': 4, 'num_blocks': 1}
    path = Path(folder, 'tiny.py')
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f'_base_ = [{str(ROOT / "configs" / base)!r} + ".py"]\n'
        f'model = dict(generator={generator!r})\n'
    )
    return path


def build(config, seed=0):
    """The network of a config, with weights large enough to show in 8 bits."""
    torch.manual_seed(seed)
    network = MODELS.build(Config.fromfile(config).model.generator)
    return network.eval()


def write_checkpoint(path, network):
    """Save weights as mmengine does, return the path."""
    state = {f'generator.{key}': value for key, value in network.state_dict().items()}
    torch.save({'state_dict': state}, path)
    return Path(path)


@torch.no_grad()
def by_hand(network, rgb):
    """(H, W, 3) uint8 -> the network's output, (H, W, 3) float32 in [0, 1]."""
    x = torch.stack([torch.tensor(rgb[..., c].tolist()) for c in range(3)])
    y = network((x / 255)[None]).clamp(0, 1)[0]
    return torch.stack(list(y), dim=-1).numpy()
