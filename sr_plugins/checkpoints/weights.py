"""Whose weights a file holds, and of which network."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from .. import archs
from .contents import (
    CheckpointMismatchError,
    Contents,
    Source,
    listed,
    non_finite,
    read_contents,
    refuse_non_finite,
)
from .families import FAMILIES, Architecture, Dialect, Family
from .settings import architecture_with


@dataclass(frozen=True)
class Weights:
    """The weights of a network, recognised.

    Attributes:
        contents: the file; of a folder, its files together.
        family: whose weights they are.
        dialect: name of the dialect.
        architecture: the network; of its options those are certain that the weights
            show, or the config in the file.
        state: the numbers of the file, under our names, without constants.
        value_range: largest image value that they expect.
        is_bgr: whether they expect BGR.
        missing: names that the network has beyond these.
        unexpected: names that the network does not have.
        misshapen: names of weights of another shape than the network's.
        non_finite: names of weights with values that are NaN or infinite.
    """

    contents: Contents
    family: Family
    dialect: str
    architecture: Architecture
    state: dict[str, Tensor]
    value_range: float
    is_bgr: bool
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    misshapen: tuple[str, ...] = ()
    non_finite: tuple[str, ...] = ()

    def for_unit_range(self) -> dict[str, Tensor]:
        """Float32 weights of our names, for RGB in [0, 1]."""
        state = self.family.fold(self.state, self.value_range, 1.0, torch.float32)
        return self.family.flip(state) if self.is_bgr else state

    def require_sound(self) -> None:
        """Refuse what is not all of a network's weights, or more, or not finite.

        Raises:
            CheckpointMismatchError: with a short list of what is wrong.
            ValueError: with the names of weights that are NaN or infinite.
        """
        wrong = {
            'missing': self.missing,
            'unexpected': self.unexpected,
            'of another shape': self.misshapen,
        }
        lines = [
            f'\n  {title}: {listed(names)}' for title, names in wrong.items() if names
        ]
        if lines:
            raise CheckpointMismatchError(
                f'Expected {self.contents.where} to hold all weights of a network, and '
                f'no other, but of {self.architecture.summary} there are '
                f'({self.dialect} names):{"".join(lines)}'
            )
        refuse_non_finite(self.contents.where, self.non_finite)


def identify(source: Source) -> Weights:
    """Recognise the weights in a file, or in a folder of a network's parts.

    Args:
        source: a file, or what is in one; of CAR also a published folder, with kgn.pth
            and usn.pth.

    Raises:
        CheckpointMismatchError: when they are of no network that is known here.
        ValueError: when the file is damaged, or holds objects other than weights.
        FileNotFoundError: when there is no such file.
    """
    if isinstance(source, str | Path) and Path(source).is_dir():
        return _checked(_identify_folder(Path(source)))
    return _checked(_identify_file(source))


def _identify_file(source: Source) -> Weights:
    contents = read_contents(source)
    family, dialect = recognise(contents.state, '', contents.where)
    if family is None or dialect is None:
        raise CheckpointMismatchError(
            f'Expected {contents.where} to hold weights of {", ".join(FAMILIES)}, but '
            f'got other names: {listed(sorted(contents.state))}.'
        )
    refuse_ambiguous(contents, family)
    state = dialect.to_ours(contents.state)
    return Weights(
        contents=contents,
        family=family,
        dialect=dialect.name,
        architecture=_describe(family, state, contents),
        state=state,
        value_range=dialect.range_of(contents.state),
        is_bgr=dialect.is_bgr,
    )


def _identify_folder(folder: Path) -> Weights:
    """All of a network from the files of its parts, for images of [0, 1]."""
    for family in FAMILIES.values():
        if family.parts and any((folder / part.file).exists() for part in family.parts):
            break
    else:
        files = [
            ' and '.join(p.file for p in f.parts) for f in FAMILIES.values() if f.parts
        ]
        raise FileNotFoundError(
            f'Expected a file of weights, or a folder with {" or ".join(files)}, but '
            f'got the folder {folder}, which has none of them.'
        )
    found, state = [], {}
    for part in family.parts:
        weights = _identify_file(folder / part.file)
        if weights.family is not part.family:
            raise CheckpointMismatchError(
                f'Expected {folder / part.file} to hold weights of '
                f'{part.family.network}, but got {weights.architecture.summary}.'
            )
        ours = part.family.fold(weights.state, weights.value_range, 1.0)
        state |= {part.prefix + key: value for key, value in ours.items()}
        found.append(weights)
    contents = replace(
        found[0].contents,
        where=str(folder),
        is_average=any(weights.contents.is_average for weights in found),
        is_resumable=False,
        meta={},
    )
    return Weights(
        contents=contents,
        family=family,
        dialect=', '.join(dict.fromkeys(weights.dialect for weights in found)),
        architecture=_describe(family, state, contents),
        state=state,
        value_range=1.0,
        is_bgr=False,
    )


def _checked(weights: Weights) -> Weights:
    """With what is wrong with them."""
    try:
        network = skeleton(weights.architecture)
    except ValueError as error:
        raise CheckpointMismatchError(
            f'Expected {weights.contents.where} to hold weights of a network that '
            f'there is, but got {weights.architecture.summary}: {error}'
        ) from error
    expected, state = network.state_dict(), weights.state
    return replace(
        weights,
        missing=tuple(key for key in expected if key not in state),
        unexpected=tuple(key for key in state if key not in expected),
        misshapen=tuple(
            key
            for key, value in state.items()
            if key in expected and value.shape != expected[key].shape
        ),
        non_finite=non_finite(state),
    )


def skeleton(architecture: Architecture) -> nn.Module:
    """The network of an architecture, without memory for its weights.

    Raises:
        ValueError: when there is no such network.
    """
    with torch.device('meta'):
        return getattr(archs, architecture.network)(**architecture.options)


def recognise(
    state: Mapping[str, Tensor], preferred: str, where: str
) -> tuple[Family | None, Dialect | None]:
    """Family and dialect of `state`; the family `preferred` is asked first.

    Raises:
        CheckpointMismatchError: when two weights have the same name.
    """
    order = sorted(FAMILIES.values(), key=lambda family: family.network != preferred)
    for family in order:
        try:
            dialect = family.recognise(state)
        except ValueError as error:
            raise CheckpointMismatchError(f'{where}: {error}') from error
        if dialect is not None:
            return family, dialect
    return None, None


def refuse_ambiguous(contents: Contents, family: Family | None) -> None:
    """BasicSR's EDSR differs from ours in range, and in names of the upsampler only.

    Raises:
        CheckpointMismatchError: when it is one without an upsampler.
    """
    if family is not FAMILIES['EDSR'] or contents.container != 'BasicSR':
        return
    if not any(key.startswith(('upsample', 'tail')) for key in contents.state):
        raise CheckpointMismatchError(
            f'Expected {contents.where} to show whose EDSR it holds, but got one of '
            f"scale 1 under BasicSR's `params`, whose names are ours: its images may "
            f'be of [0, 255] or of [0, 1]. Load the inner dict of a network of [0, 1] '
            f'itself.'
        )


def _describe(
    family: Family, state: dict[str, Tensor], contents: Contents
) -> Architecture:
    try:
        architecture = family.describe(state)
    except (LookupError, ArithmeticError):
        raise CheckpointMismatchError(
            f'Expected {contents.where} to hold all weights of {family.network}, but '
            f'got {summary_of(family, state)}.'
        ) from None
    return architecture_with(architecture, contents.meta.get('cfg'))


def summary_of(family: Family, state: Mapping[str, Tensor]) -> str:
    """One line on weights in our names, as far as they go."""
    try:
        return family.describe(state).summary
    except KeyError as error:
        return f'{family.network} weights without {error}'
    except (LookupError, ArithmeticError):
        return f'{family.network} weights of impossible shapes'
