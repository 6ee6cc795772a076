"""Load weights of any known dialect into a network."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from .contents import (
    CheckpointMismatchError,
    Source,
    listed,
    read_contents,
    require_finite,
)
from .families import FAMILIES, Family
from .weights import recognise, refuse_ambiguous, summary_of


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
        ValueError: when the file is damaged, or holds objects other than weights, or
            weights that are NaN or infinite.
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
    contents = read_contents(source)
    where, state = contents.where, contents.state
    ours = network.state_dict()
    name = _family_name(network)
    # Names that are ours already need no dialect: those of a new network may look like
    # another's.
    known = state.keys() == ours.keys() and name not in FAMILIES
    family, dialect = (None, None) if known else recognise(state, name, where)
    dialect_name = 'sr_plugins'
    means = {}
    refuse_ambiguous(contents, family)
    if family is not None and dialect is not None:
        dtype = next(network.parameters()).dtype
        means = family.stored_means(state)
        state = family.to_ours(state, dialect, dtype)
        dialect_name = dialect.name
        if family.network != name:
            raise CheckpointMismatchError(
                f'Expected {where} to hold weights of {name}, but got '
                f'{summary_of(family, state)}.{_hint(network, family)}'
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
    require_finite(where, fits)
    return fits, means, report


def _hint(network: nn.Module, family: Family) -> str:
    """Where the weights would belong in a network of several."""
    for part, child in network.named_children():
        if _family_name(child) == family.network:
            return f' For its {part} alone, name that: {{{part!r}: ...}}.'
    return ''


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
        found = f'{summary_of(family, state)} ({report.dialect} names)'
    lines = [f'Expected {where} to hold {wanted}, but got {found}.']
    lines += _listing('missing', report.missing)
    lines += _listing('unexpected', report.unexpected)
    shapes = [
        f'{k} {tuple(state[k].shape)} for {tuple(ours[k].shape)}'
        for k in report.mismatched
    ]
    lines += _listing('of another shape', shapes)
    return '\n'.join(lines)


def _listing(title: str, names: 'tuple[str, ...] | list[str]') -> list[str]:
    return [f'  {title}: {listed(names)}'] if names else []
