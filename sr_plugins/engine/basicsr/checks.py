"""Whether BasicSR knows what an options file names, before anything is built."""

import difflib
from collections.abc import Mapping
from typing import Any

import torch
from basicsr.models.lr_scheduler import CosineAnnealingRestartLR, MultiStepRestartLR
from basicsr.utils.registry import (
    ARCH_REGISTRY,
    DATASET_REGISTRY,
    LOSS_REGISTRY,
    METRIC_REGISTRY,
    MODEL_REGISTRY,
    Registry,
)

import sr_plugins.basicsr_plugin  # noqa: F401  (registers)

from ..config_checks import require_arguments

# `Registry.get` tries a name with this, too.
_SUFFIX = '_basicsr'
_OPTIMIZERS = {'Adam': torch.optim.Adam}
_SCHEDULERS = {
    'MultiStepLR': MultiStepRestartLR,
    'MultiStepRestartLR': MultiStepRestartLR,
    'CosineAnnealingRestartLR': CosineAnnealingRestartLR,
}
_PAIRED = ('PairedImageDataset', 'DIV2KLMDBDataset')
_PAIRED_ENTRIES = ('scale', 'dataroot_gt', 'dataroot_lq')
_SHOWN = 12


def check_types(options: Mapping[str, Any]) -> None:
    """Raise when a type, or an argument of a network or loss, is not known.

    Args:
        options: from `complete`.

    Raises:
        ValueError: with what there is instead.
    """
    _known(MODEL_REGISTRY, 'model_type', options['model_type'])
    for key, entry in options.items():
        if key.startswith('network_'):
            _check_arguments(ARCH_REGISTRY, key, entry)
    for key, entry in options['datasets'].items():
        _known(DATASET_REGISTRY, f'datasets.{key}.type', entry['type'])
        if entry['type'] in _PAIRED:
            _check_pairs(key, entry)
    if options['is_train']:
        for key, entry in options['train'].items():
            if key.endswith('_opt') and entry:
                _check_arguments(LOSS_REGISTRY, f'train.{key}', entry)
        _check_schedule(options['train'])
    for key, entry in ((options['val'] or {}).get('metrics') or {}).items():
        key = f'val.metrics.{key}'
        metric = _known(METRIC_REGISTRY, f'{key}.type', _type(key, entry))
        require_arguments(metric, key, {**entry, 'img': None, 'img2': None})


def _known(registry: Registry, key: str, name: str) -> Any:
    for candidate in (name, f'{name}{_SUFFIX}'):
        if candidate in registry:
            return registry.get(candidate)
    names = sorted(registry.keys())
    close = difflib.get_close_matches(str(name), names, n=_SHOWN, cutoff=0.5)
    listed = f'Did you mean {" or ".join(close)}?' if close else f'Known are {names}.'
    raise ValueError(
        f'Expected `{key}` to be something that BasicSR or sr_plugins registers, but '
        f'got {name!r}. {listed}'
    )


def _type(key: str, entry: Any) -> str:
    if not isinstance(entry, Mapping) or 'type' not in entry:
        raise ValueError(
            f'Expected `{key}` to be a mapping with `type`, but got {entry!r}.'
        )
    return entry['type']


def _check_arguments(registry: Registry, key: str, entry: Any) -> None:
    require_arguments(_known(registry, f'{key}.type', _type(key, entry)), key, entry)


def _check_schedule(train: Mapping[str, Any]) -> None:
    """Of optimisers and schedulers BasicSR has a few, and no registry."""
    entries = {key: entry for key, entry in train.items() if key.startswith('optim_')}
    for key, entry, kinds in (
        *((f'train.{key}', entry, _OPTIMIZERS) for key, entry in entries.items()),
        ('train.scheduler', train['scheduler'], _SCHEDULERS),
    ):
        name = _type(key, entry)
        if name not in kinds:
            raise ValueError(
                f'Expected `{key}.type` to be one of {", ".join(kinds)}, which BasicSR '
                f'has, but got {name!r}.'
            )
        require_arguments(kinds[name], key, entry, None)
    periods = train['scheduler'].get('periods')
    # The rate of the first iteration is that of no step yet.
    if periods is not None and sum(periods) < train['total_iter'] - 1:
        raise ValueError(
            f'Expected `train.scheduler.periods` to last for `train.total_iter`, but '
            f'got {periods} for {train["total_iter"]}. Set both.'
        )


def _check_pairs(key: str, entry: Mapping[str, Any]) -> None:
    wanted = _PAIRED_ENTRIES + (('gt_size',) if entry['phase'] == 'train' else ())
    missing = [name for name in wanted if entry.get(name) is None]
    if missing:
        raise ValueError(
            f'Expected `datasets.{key}` to have {", ".join(missing)}, but got '
            f'{", ".join(sorted(entry))}.'
        )
