"""Load weights of any known dialect into a network."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..fileio import torch_load
from .families import FAMILIES, Dialect, Family

_SHOWN = 4
Source = str | Path | Mapping[str, Any]


class CheckpointMismatchError(ValueError):
    """The weights belong to another architecture, scale, width or depth."""


@dataclass(frozen=True)
class LoadReport:
    """What `load` found and did.

    Attributes:
        dialect: whose names the file used.
        loaded: names of the weights taken.
        missing: of the network, not in the file.
        unexpected: of the file, not in the network.
        mismatched: in both, of different shapes.
    """

    dialect: str
    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[str, ...]

    def summary(self) -> str:
        """A few lines for a log."""
        lines = [f'{len(self.loaded)} taken ({self.dialect} names)']
        lines += _listing('missing', self.missing)
        lines += _listing('unexpected', self.unexpected)
        lines += _listing('of another shape', self.mismatched)
        return '\n'.join(lines)


def load(
    model: nn.Module,
    source: Source,
    strict: bool = True,
) -> LoadReport:
    """Load the weights of `source` into `model`, whoever wrote them.

    Accepts our own and mmengine's checkpoints (`state_dict`, `generator.` and
    `module.` prefixes), BasicSR's (`params_ema`, preferred, or `params`) and plain
    state dicts; for EDSR the published, BasicSR's and mmagic's names, for all
    others the published ones. Names and value range are converted. The model is changed
    only when everything fits, or with `strict=False`.

    Args:
        model: a network of `sr_plugins.archs`, or a mmagic model with one as its
            `generator`, wrapped for distributed runs or not.
        source: a file, or what is in one. Parts of a network may have files of their
            own: `{'upscaler': 'edsr_x2.pth'}` leaves all other parts as they are. For
            CAR also a published folder, with kgn.pth and usn.pth.
        strict: False takes what fits and reports the rest.

    Returns:
        The report of names taken and left.

    Raises:
        CheckpointMismatchError: with a short list of what does not fit.
        ValueError: when the file is damaged, or holds objects other than weights.
        FileNotFoundError: when there is no such file.
    """
    network = getattr(model, 'module', model)  # of a data-parallel wrapper
    network = getattr(network, 'generator', network)
    fitted = [
        (prefix, part, *_fit(part, weights, strict))
        for prefix, part, weights in _parts(network, source)
    ]
    # Only now, when nothing was refused.
    for _, part, fits, means, _ in fitted:
        part.load_state_dict(fits, strict=False)
        for buffer, mean in means.items():
            part.get_buffer(buffer).copy_(mean)
    return _merge([(prefix, report) for prefix, *_, report in fitted])


def _parts(network: nn.Module, source: Source) -> 'list[tuple[str, nn.Module, Source]]':
    """The parts of `network` that get weights of their own: prefix, part, weights."""
    family = FAMILIES.get(_family_name(network))
    has_files = family is not None and family.parts
    if has_files and isinstance(source, str | Path) and Path(source).is_dir():
        source = {
            p.prefix.removesuffix('.'): Path(source, p.file) for p in family.parts
        }
    children = dict(network.named_children())
    if (
        not isinstance(source, Mapping)
        or not source
        or not all(isinstance(v, str | Path | Mapping) for v in source.values())
        or not source.keys() <= children.keys()
    ):
        return [('', network, source)]
    return [(f'{name}.', children[name], value) for name, value in source.items()]


def _merge(reports: list[tuple[str, LoadReport]]) -> LoadReport:
    def names(field: str) -> tuple[str, ...]:
        return tuple(
            prefix + name for prefix, r in reports for name in getattr(r, field)
        )

    return LoadReport(
        dialect=', '.join(dict.fromkeys(report.dialect for _, report in reports)),
        loaded=names('loaded'),
        missing=names('missing'),
        unexpected=names('unexpected'),
        mismatched=names('mismatched'),
    )


def _family_name(network: nn.Module) -> str:
    """The known class that `network` is, or else its own name: USN is an EDSR."""
    names = [kind.__name__ for kind in type(network).__mro__]
    return next((name for name in names if name in FAMILIES), names[0])


def _fit(
    network: nn.Module, source: Source, strict: bool
) -> tuple[dict[str, Tensor], dict[str, Tensor], LoadReport]:
    """The weights of `source` that fit, mean colours, and an account of the rest."""
    where = 'the state dict'
    if isinstance(source, str | Path):
        where = str(source)
        source = torch_load(source)
    state = _unwrap(source, where)
    ours = network.state_dict()
    name = _family_name(network)
    # Names that are ours already need no dialect: those of a new network may look like
    # another's.
    known = state.keys() == ours.keys() and name not in FAMILIES
    family, dialect = (None, None) if known else _recognise(state, name)
    dialect_name = 'sr_plugins'
    means = {}
    if family is FAMILIES['EDSR'] and _is_ambiguous(source, state):
        raise CheckpointMismatchError(
            f'Expected {where} to show whose EDSR it holds, but got one of scale 1 '
            f"under BasicSR's `params`, whose names are ours: its images may be of "
            f'[0, 255] or of [0, 1]. Load the inner dict of a network of [0, 1] itself.'
        )
    if family is not None and dialect is not None:
        dtype = next(network.parameters()).dtype
        means = family.stored_means(state)
        state = family.to_ours(state, dialect, dtype)
        dialect_name = dialect.name
        if family.network != name:
            raise CheckpointMismatchError(
                f'Expected {where} to hold weights of {name}, but got '
                f'{_describe(family, state)}.{_hint(network, family)}'
            )
    fits = {k: v for k, v in state.items() if k in ours and v.shape == ours[k].shape}
    report = LoadReport(
        dialect=dialect_name,
        loaded=tuple(fits),
        missing=tuple(k for k in ours if k not in state),
        unexpected=tuple(k for k in state if k not in ours),
        mismatched=tuple(k for k in state if k in ours and k not in fits),
    )
    if report.missing or report.unexpected or report.mismatched:
        complaint = _complaint(where, name, family, report, state, ours)
        if strict:
            raise CheckpointMismatchError(
                f'{complaint}\nBuild the network that the file was made for, or pass '
                f'strict=False to take the {len(fits)} weights that fit.'
            )
        if not fits:
            raise CheckpointMismatchError(f'{complaint}\nNot one weight fits.')
    return fits, means, report


def _hint(network: nn.Module, family: Family) -> str:
    """Where the weights would belong in a network of several."""
    for part, child in network.named_children():
        if _family_name(child) == family.network:
            return f' For its {part} alone, name that: {{{part!r}: ...}}.'
    return ''


def _unwrap(source: Mapping[str, Any], where: str) -> dict[str, Tensor]:
    """The bare state dict inside a checkpoint of any of the packages."""
    for key in ('state_dict', 'params_ema', 'params'):
        if isinstance(source, Mapping) and isinstance(source.get(key), Mapping):
            source = source[key]
            break
    if not isinstance(source, Mapping) or not any(
        isinstance(value, Tensor) for value in source.values()
    ):
        found = (
            f'a dict with {sorted(map(str, source))[:_SHOWN]}'
            if isinstance(source, Mapping)
            else f'a {type(source).__name__}'
        )
        raise CheckpointMismatchError(
            f'Expected {where} to be a state dict, or a dict with one under '
            f'`state_dict`, `params_ema` or `params`, but got {found}.'
        )
    state = {k: v for k, v in source.items() if isinstance(v, Tensor)}
    for prefix in ('module.', 'generator_ema.', 'generator.', 'module.'):
        inner = {
            k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)
        }
        state = inner or state
    return state


def _is_ambiguous(source: Mapping[str, Any], state: Mapping[str, Tensor]) -> bool:
    """BasicSR's EDSR differs from ours in range, and in names of the upsampler only."""
    wrapped = 'state_dict' not in source and {'params', 'params_ema'} & set(source)
    return bool(wrapped) and not any(k.startswith(('upsample', 'tail')) for k in state)


def _recognise(
    state: Mapping[str, Tensor], preferred: str
) -> tuple[Family | None, Dialect | None]:
    """Family and dialect of `state`; the model's own family is asked first."""
    order = sorted(FAMILIES.values(), key=lambda family: family.network != preferred)
    for family in order:
        dialect = family.recognise(state)
        if dialect is not None:
            return family, dialect
    return None, None


def _complaint(
    where: str,
    name: str,
    family: Family | None,
    report: LoadReport,
    state: Mapping[str, Tensor],
    ours: Mapping[str, Tensor],
) -> str:
    """A short account of what does not fit."""
    wanted, found = name, 'weights under unknown names'
    if family is not None:
        wanted = family.describe(ours).summary
        found = f'{_describe(family, state)} ({report.dialect} names)'
    lines = [f'Expected {where} to hold {wanted}, but got {found}.']
    lines += _listing('missing', report.missing)
    lines += _listing('unexpected', report.unexpected)
    shapes = [
        f'{k} {tuple(state[k].shape)} for {tuple(ours[k].shape)}'
        for k in report.mismatched
    ]
    lines += _listing('of another shape', shapes)
    return '\n'.join(lines)


def _describe(family: Family, state: Mapping[str, Tensor]) -> str:
    try:
        return family.describe(state).summary
    except KeyError as error:
        return f'{family.network} weights without {error}'


def _listing(title: str, names: 'tuple[str, ...] | list[str]') -> list[str]:
    if not names:
        return []
    rest = len(names) - _SHOWN
    tail = f', and {rest} more' if rest > 0 else ''
    return [f'  {title}: {", ".join(names[:_SHOWN])}{tail}']
