"""BasicSR's options files, read and put together."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from mmengine.config import Config

_BASE = '_base_'
_SCALE = '{scale}'


class _Loader(yaml.SafeLoader):
    """Makes plain values only, and takes 1e-4 for a number, as YAML 1.2 does."""


_Loader.add_implicit_resolver(
    'tag:yaml.org,2002:float',
    re.compile(r'[-+]?\d+(\.\d*)?[eE][-+]?\d+$'),
    list('-+0123456789'),
)


def read_options(
    path: str | Path,
    *,
    data_root: str | None = None,
    seed: int | None = None,
    cfg_options: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Read an options file and put the options of a command line into it.

    Beyond what BasicSR reads, a file may have `_base_`, files that it changes; `scale`,
    which replaces `{scale}` in every text; `data_root`, which relative `dataroot_gt`
    and `dataroot_lq` are below; and `lr_patch_size`, of which `gt_size` is `scale`
    times as much.

    Args:
        path: of the file, `.yml` or `.yaml`.
        data_root: replaces that of the file.
        seed: replaces `manual_seed`.
        cfg_options: entries to replace, by dotted names.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is not YAML, not a mapping, or says nothing of a scale that
            it asks for.
    """
    options = Config(_read(Path(path)))
    options.merge_from_dict(dict(cfg_options or {}))
    options = options.to_dict()
    if data_root is not None:
        options['data_root'] = str(data_root)
    if seed is not None:
        options['manual_seed'] = seed
    return _with_scale(options, options.get('scale'), path)


def _read(path: Path) -> dict[str, Any]:
    """The mapping of a file on top of those that it names as its base."""
    if not path.is_file():
        raise FileNotFoundError(
            f'Expected an options file, but there is no {path} (from {Path.cwd()}). '
            f'Those of sr_plugins are in its folder `configs/basicsr`.'
        )
    try:
        content = yaml.load(path.read_bytes(), Loader=_Loader)
    except yaml.YAMLError as error:
        where = getattr(error, 'problem_mark', None)
        place = f'line {where.line + 1}, column {where.column + 1}: ' if where else ''
        problem = getattr(error, 'problem', None) or str(error).replace('\n', ' ')
        tabs = (
            ' Indent with spaces: YAML allows no tabs there.'
            if "'\\t'" in problem
            else ''
        )
        raise ValueError(
            f'Expected {path} to be YAML, but got {place}{problem}.{tabs}'
        ) from error
    if not isinstance(content, dict):
        raise ValueError(
            f'Expected {path} to hold `key: value` lines, but got '
            f'{type(content).__name__}.'
        )
    bases = content.pop(_BASE, [])
    merged = Config({})
    for base in [bases] if isinstance(bases, str) else bases:
        merged.merge_from_dict(_read(path.parent / base))
    merged.merge_from_dict(content)
    return merged.to_dict()


def _with_scale(value: Any, scale: int | None, path: str | Path) -> Any:
    """`value` with the scale in place of every `{scale}`."""
    if isinstance(value, dict):
        return {key: _with_scale(item, scale, path) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_scale(item, scale, path) for item in value]
    if not isinstance(value, str) or _SCALE not in value:
        return value
    if scale is None:
        raise ValueError(f'Expected {path} to have `scale`, since it has {value!r}.')
    return scale if value == _SCALE else value.replace(_SCALE, str(scale))
