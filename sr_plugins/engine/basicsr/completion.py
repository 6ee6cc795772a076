"""What an options file leaves to BasicSR's parser, to defaults and to the machine."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..launch import most_loader_processes
from ..loops.benchmark_loop import available_sets

_REQUIRED = ('model_type', 'network_g.type', 'datasets')
_REQUIRED_TRAIN = (
    'datasets.train.type',
    'datasets.train.batch_size_per_gpu',
    'train.total_iter',
    'train.optim_g.type',
    'train.optim_g.lr',
    'train.scheduler.type',
)
_SECTIONS = ('datasets', 'path', 'train', 'val', 'val.metrics', 'logger')
_COUNTS = ('scale', 'datasets.train.batch_size_per_gpu')
_ITERATIONS = (
    'train.total_iter',
    'val.val_freq',
    'logger.print_freq',
    'logger.save_checkpoint_freq',
)
# Of a data set: the least that they may be.
_SIZES = {'num_worker_per_gpu': 0, 'gt_size': 1, 'lr_patch_size': 1, 'indices': 1}


def complete(
    options: Mapping[str, Any],
    name: str,
    folder: str | Path,
    *,
    is_train: bool,
    datasets: 'list[str] | None' = None,
) -> dict[str, Any]:
    """Give what BasicSR's own parser makes of a file, for one process.

    Args:
        options: from `read_options`.
        name: of the run, where the options have none.
        folder: of a training or of the results of a test.
        is_train: or test.
        datasets: names of sets to test; None takes all.

    Raises:
        FileNotFoundError: when a named set, or any set to test, is missing.
        ValueError: when an entry is missing or is not of its kind.
    """
    _require(options, _REQUIRED + (_REQUIRED_TRAIN if is_train else ()))
    for key in _SECTIONS:
        value = _find(options, key)
        if not isinstance(value or {}, Mapping):
            raise ValueError(f'Expected `{key}` to be a mapping, but got {value!r}.')
    for key in _COUNTS + _ITERATIONS:
        value = _find(options, key)
        is_whole = isinstance(value, int)
        if isinstance(value, float) and key in _ITERATIONS:
            is_whole = value.is_integer()  # BasicSR's own files have `!!float 5e3`
        if value is not None and (not is_whole or value < 1):
            raise ValueError(
                f'Expected `{key}` to be a whole number above 0, but got {value!r}.'
            )
    folder = str(folder)
    # A device that is not there, rather than what the file says of it.
    gpus = torch.cuda.device_count()
    num_gpu = options.get('num_gpu', 'auto')
    if num_gpu != 'auto' and not isinstance(num_gpu, int):
        raise ValueError(
            f"Expected `num_gpu` to be a number or 'auto', but got {num_gpu!r}."
        )
    options = {
        'name': name,
        **options,
        'manual_seed': options.get('manual_seed') or 0,
        'num_gpu': gpus if num_gpu == 'auto' else min(num_gpu, gpus),
        'is_train': is_train,
        'auto_resume': False,
        'dist': False,
        'rank': 0,
        'world_size': 1,
        'root_path': folder,
    }
    options['path'] = _paths(options.get('path') or {}, folder, is_train)
    options['val'] = _validation(options, is_train)
    if is_train:
        log = options.get('logger') or {}
        options['logger'] = {
            'print_freq': 100,
            'save_checkpoint_freq': 5000,
            'use_tb_logger': True,
            'wandb': None,
            **log,
        }
        chosen = _training_sets(options)
    else:
        chosen = _test_sets(options, datasets)
    options['datasets'] = {
        key: _dataset(key, dataset, options) for key, dataset in chosen.items()
    }
    return options


def _find(options: Any, key: str) -> Any:
    for word in key.split('.'):
        options = options.get(word) if isinstance(options, Mapping) else None
    return options


def _require(options: Mapping[str, Any], keys: 'tuple[str, ...] | list[str]') -> None:
    missing = [key for key in keys if _find(options, key) is None]
    if missing:
        raise ValueError(
            f'Expected the options to have {", ".join(missing)}, but got '
            f'{", ".join(sorted(map(str, options)))}. For whole ones see '
            f'configs/basicsr.'
        )


def _paths(given: Mapping[str, Any], folder: str, is_train: bool) -> dict[str, Any]:
    path = {
        key: os.path.expanduser(value) if isinstance(value, str) else value
        for key, value in given.items()
    }
    path.setdefault('pretrain_network_g', None)
    path.setdefault('resume_state', None)
    path['log'] = folder
    path['visualization'] = os.path.join(folder, 'visualization')
    if is_train:
        path['experiments_root'] = folder
        for key in ('models', 'training_states'):
            path[key] = os.path.join(folder, key)
    else:
        path['results_root'] = folder
    return path


def _validation(options: Mapping[str, Any], is_train: bool) -> dict[str, Any] | None:
    if options.get('val') is None and is_train:
        return None
    return {
        'val_freq': 5000,
        'save_img': False,
        'suffix': None,
        **(options.get('val') or {}),
    }


def _training_sets(options: Mapping[str, Any]) -> dict[str, dict]:
    return {
        key: dataset
        for key, dataset in options['datasets'].items()
        if key.split('_')[0] in ('train', 'val')
    }


def _test_sets(
    options: Mapping[str, Any], names: 'list[str] | None'
) -> dict[str, dict]:
    """The sets `test`, `test_...` of a file, or else those of our folder layout."""
    sets = {
        dataset.get('name', key): dataset
        for key, dataset in options['datasets'].items()
        if key.split('_')[0] == 'test'
    }
    root, scale = options.get('data_root', 'data'), options.get('scale')
    if not sets and scale is not None:
        for name, folders in available_sets(root, scale).items():
            hr, lr = (folder.format(scale=scale) for folder in folders)
            sets[name] = {
                'name': name,
                'type': 'PairedImageDataset',
                'dataroot_gt': hr,
                'dataroot_lq': lr,
                'filename_tmpl': f'{{}}x{scale}',
            }
    missing = [name for name in names or () if name not in sets]
    if missing or not sets:
        raise FileNotFoundError(
            f'Expected test sets {", ".join(missing) or "of any name"} in the options '
            f'or, at x{scale}, in {root}, but found {", ".join(sets) or "none"}. Make '
            f'one with `python tools/prepare_data.py benchmark --help`.'
        )
    chosen = list(names or sets)
    # BasicSR goes through them in the order of their keys.
    return {f'test_{i:03}_{name}': sets[name] for i, name in enumerate(chosen)}


def _dataset(key: str, dataset: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """One entry of `datasets`, as BasicSR's data sets and loaders want it."""
    if not isinstance(dataset, Mapping) or dataset.get('type') is None:
        raise ValueError(
            f'Expected `datasets.{key}` to be a mapping with `type`, but got '
            f'{dataset!r}.'
        )
    scale = options.get('scale', dataset.get('scale'))
    dataset = {
        'name': key,
        'io_backend': {'type': 'disk'},
        'num_worker_per_gpu': 0,
        'use_hflip': True,
        'use_rot': True,
        **dataset,
        'phase': key.split('_')[0],
    }
    if scale is not None:
        dataset['scale'] = scale
    for entry, least in _SIZES.items():
        value = dataset.get(entry)
        if value is not None and (not isinstance(value, int) or value < least):
            raise ValueError(
                f'Expected `datasets.{key}.{entry}` to be a whole number from {least} '
                f'on, but got {value!r}.'
            )
    # BasicSR's thread that prefetches draws beside the process, and waits for ever when
    # an image cannot be read; loader processes are ahead as it is.
    if options['num_gpu'] == 0 or dataset.get('prefetch_mode') == 'cpu':
        dataset['prefetch_mode'] = None
    workers = min(dataset['num_worker_per_gpu'] or 0, most_loader_processes())
    dataset['num_worker_per_gpu'] = workers
    if workers == 0:
        dataset['persistent_workers'] = False  # torch refuses the two together
    root = options.get('data_root', '')
    for entry in ('dataroot_gt', 'dataroot_lq'):
        if isinstance(dataset.get(entry), str):
            dataset[entry] = os.path.join(root, os.path.expanduser(dataset[entry]))
    if 'lr_patch_size' in dataset and scale is not None:
        dataset.setdefault('gt_size', dataset['lr_patch_size'] * scale)
    if scale is not None and (dataset.get('gt_size') or 0) % scale:
        raise ValueError(
            f'Expected `datasets.{key}.gt_size` to be a multiple of the scale, but got '
            f'{dataset["gt_size"]} for x{scale}.'
        )
    return dataset
