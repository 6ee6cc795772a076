"""Parts of training photographs, to calibrate with."""

import copy

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import Tensor

from ..registry import DATASETS, MODELS


def calibration_images(cfg: Config, count: int = 32, size: int = 64) -> list[Tensor]:
    """Crops of the training set of a config, as the network is given them.

    Photographs are drawn without repetition as long as there are others; the draw is
    the same each time.

    Args:
        cfg: the config. Images go through the pipeline of its test set.
        count: how many.
        size: side of a crop, in pixels of the network's input; smaller images are
            taken whole.

    Returns:
        (1, 3, h, w) each, in [0, 1].

    Raises:
        FileNotFoundError: when there are no training images.
        ValueError: on a count or size below 1, or without a training set in the config.
    """
    if count < 1 or size < 1:
        raise ValueError(
            f'Expected at least one image of at least one pixel to calibrate with, but '
            f'got {count} of {size} x {size}.'
        )
    if 'train_dataloader' not in cfg:
        raise ValueError('Expected a config with training images to calibrate with.')
    options = copy.deepcopy(cfg.train_dataloader.dataset)
    options.pipeline = cfg.test_dataloader.dataset.pipeline
    # Of several scales, that of the network.
    options.scale = cfg.test_dataloader.dataset.scale
    # As a Runner does: configs name mmagic's parts without a scope.
    init_default_scope(cfg.get('default_scope', 'mmagic'))
    dataset = DATASETS.build(options)
    preprocess = MODELS.build(cfg.model.data_preprocessor)
    rng = np.random.default_rng(0)
    order = np.concatenate(
        [rng.permutation(len(dataset)) for _ in range(-(-count // len(dataset)))]
    )
    images = []
    for index in order[:count]:
        sample = dataset[int(index)]
        batch = {key: [value] for key, value in sample.items()}
        x = preprocess(batch, False)['inputs']
        top, left = (int(rng.integers(max(side - size, 0) + 1)) for side in x.shape[2:])
        images.append(x[:, :, top : top + size, left : left + size].clone())
    return [torch.as_tensor(image, dtype=torch.float32) for image in images]
