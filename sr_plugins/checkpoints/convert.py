"""Weights out: files that other packages load as their own."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..fileio import torch_save
from .families import PACKAGES, Dialect, Family
from .weights import Weights, identify

_NAMES = {
    'sr_plugins': 'sr_plugins',
    'published': "the authors' code",
    'basicsr': 'BasicSR',
    'mmagic': 'mmagic',
}
_META = ('iter', 'epoch', 'cfg')


@dataclass(frozen=True)
class Conversion:
    """What `convert` wrote.

    Attributes:
        summary: one line on the network.
        source: the dialect that was read.
        target: the package that loads what was written.
        files: what was written.
        widened: names of weights that are kept in float64, since float32 cannot hold
            the product with 255 or 1 / 255 such that the way back gives the same bits.
    """

    summary: str
    source: str
    target: str
    files: tuple[Path, ...]
    widened: tuple[str, ...]


def convert(source: str | Path, out: str | Path, package: str) -> Conversion:
    """Write weights of any dialect as a file that `package` loads, whole or not at all.

    Args:
        source: weights of any dialect; of CAR also a published folder.
        out: the file. A whole CAR as published goes into a folder of that name, as
            kgn.pth and usn.pth.
        package: one of `PACKAGES`.

    Raises:
        CheckpointMismatchError: when the weights are of no known network, or not all
            of one.
        ValueError: when the package has no such network, the file is damaged, has
            weights that are NaN or infinite, or `out` is `source`.
        FileNotFoundError: when there is no `source`.
        OSError: when `out` cannot be written.
    """
    source, out = Path(source).expanduser(), Path(out).expanduser()
    if package not in PACKAGES:
        raise ValueError(
            f'Expected `package` to be one of {", ".join(PACKAGES)}, but got '
            f'{package!r}.'
        )
    weights = identify(source)
    weights.require_sound()
    if package == 'published' and weights.family.parts:
        files = _in_parts(weights, out)
    else:
        files = {out: _for_package(weights, package)}
    _refuse_outputs(source, out, files)
    for path, (content, _) in files.items():
        torch_save(content, path)
    return Conversion(
        summary=weights.architecture.summary,
        source=weights.dialect,
        target=_NAMES[package],
        files=tuple(files),
        widened=tuple(key for _, names in files.values() for key in names),
    )


Content = tuple[dict[str, Any], tuple[str, ...]]
"""What goes into a file, and which of its weights became float64."""


def _for_package(weights: Weights, package: str) -> Content:
    family, options = weights.family, weights.architecture.options
    dialect = _dialect_of(family, package)
    _refuse(dialect, family, options, package)
    state, widened = _translate(
        family, dialect, weights.state, weights.value_range, weights.is_bgr
    )
    if package == 'basicsr':
        return {'params': state}, widened
    if package == 'mmagic':
        state = {f'generator.{key}': value for key, value in state.items()}
        meta = {k: v for k, v in weights.contents.meta.items() if k in _META}
        return {'state_dict': state, 'meta': meta}, widened
    return state, widened


def _in_parts(weights: Weights, folder: Path) -> dict[Path, Content]:
    """The files of a network that is published in parts."""
    files = {}
    for part in weights.family.parts:
        state = {
            key.removeprefix(part.prefix): value
            for key, value in weights.state.items()
            if key.startswith(part.prefix)
        }
        dialect = _dialect_of(part.family, 'published')
        options = part.family.describe(state).options
        _refuse(dialect, part.family, options, 'published')
        # CAR's code takes images of [0, 1], and loads into DataParallel.
        renamed = dialect.to_theirs(state) | dialect.constants(state, 1.0)
        files[folder / part.file] = _plain(renamed, 'module.'), ()
    return files


def _translate(
    family: Family,
    dialect: Dialect,
    state: dict[str, Tensor],
    value_range: float,
    is_bgr: bool,
) -> Content:
    folded = family.fold(state, value_range, dialect.value_range)
    wide = [k for k, v in folded.items() if v.itemsize > max(4, state[k].itemsize)]
    if is_bgr != dialect.is_bgr:
        folded = family.flip(folded)
    renamed = dialect.to_theirs(folded)
    names = dict(zip(folded, renamed, strict=True))
    renamed |= dialect.constants(state, dialect.value_range)
    widened = tuple(dialect.prefix + names[key] for key in wide)
    return _plain(renamed, dialect.prefix), widened


def _plain(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Copies, so that a file holds no more than what its tensors show."""
    return {
        prefix + key: value.detach().clone(memory_format=torch.contiguous_format)
        for key, value in state.items()
    }


def _dialect_of(family: Family, package: str) -> Dialect:
    for dialect in family.dialects:
        if package in dialect.packages:
            return dialect
    known = [p for p in PACKAGES if any(p in d.packages for d in family.dialects)]
    if family.parts:
        known.append('published')
    message = (
        f'Expected a package that has {family.network}, which are '
        f'{", ".join(known)}, but got {package!r}.'
    )
    if package in ('basicsr', 'mmagic'):
        message += (
            f' With our plugin {_NAMES[package]} runs our own network, whose weights '
            f'are those of sr_plugins.'
        )
    raise ValueError(message)


def _refuse(dialect: Dialect, family: Family, options: dict, package: str) -> None:
    reason = dialect.refuses(options)
    if reason:
        shown = ', '.join(f'{key} {value}' for key, value in options.items())
        raise ValueError(
            f'Expected a network that {_NAMES[package]} can have, but got '
            f'{family.network} of {shown}: {reason}.'
        )


def _refuse_outputs(source: Path, out: Path, files: dict[Path, Content]) -> None:
    inputs = [source]
    if source.is_dir():
        inputs = [path for path in source.iterdir() if path.is_file()]
    for path in files:
        if any(path.exists() and path.samefile(each) for each in inputs):
            raise ValueError(
                f'Expected the output to be another file than the input, but both are '
                f'{path}. Choose another name.'
            )
        if path.is_dir():
            raise ValueError(
                f'Expected the output to be a file, but {path} is a folder. Name a '
                f'file in it.'
            )
    if out not in files and out.exists() and not out.is_dir():
        raise ValueError(
            f'Expected the output to be a folder, since CAR is published as '
            f'{" and ".join(path.name for path in files)}, but {out} is a file.'
        )
