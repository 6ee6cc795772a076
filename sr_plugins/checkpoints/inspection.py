"""What a file of weights is, in words and as data; and the network that it is of."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from .. import archs
from .contents import Source, listed
from .weights import identify


@dataclass(frozen=True)
class Inspection:
    """What is known of a file of weights.

    Attributes:
        path: of the file or folder.
        network: name of the class in `sr_plugins.archs`.
        summary: one line on it.
        options: its arguments, as the weights or the config in the file tell.
        assumed: arguments that nothing in the file tells, with their usual values.
        told: of the options, those that the config in the file tells.
        parameters: of the network, without constants.
        dialect: whose names the file uses.
        value_range: largest image value that the weights expect, 1 or 255.
        colours: 'RGB' or 'BGR', as the weights expect.
        container: 'plain', or 'mmengine' or 'BasicSR' for what these write.
        is_average: whether the weights are an average over training (EMA).
        is_resumable: whether training can go on from the file.
        iteration: of the training, where the file tells.
        epoch: of the training, where the file tells.
        dtypes: of the weights, the most frequent first.
        non_finite: names of weights with values that are NaN or infinite.
        missing: names that the network has beyond these.
        unexpected: names that the network does not have.
        misshapen: names of weights of another shape than the network's.
    """

    path: str
    network: str
    summary: str
    options: Mapping[str, Any]
    assumed: Mapping[str, Any]
    told: Mapping[str, Any]
    parameters: int
    dialect: str
    value_range: int
    colours: str
    container: str
    is_average: bool
    is_resumable: bool
    iteration: int | None
    epoch: int | None
    dtypes: tuple[str, ...]
    non_finite: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misshapen: tuple[str, ...]

    @property
    def is_sound(self) -> bool:
        """Whether the file holds all of a network, in finite numbers."""
        return not (
            self.non_finite or self.missing or self.unexpected or self.misshapen
        )

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def text(self) -> str:
        """A few lines for the screen."""
        rows = [('network', self.summary)]
        for title, options in (('config', self.told), ('assumed', self.assumed)):
            if options:
                rows.append((title, _shown(options)))
        rows += [
            ('parameters', f'{self.parameters:,}'.replace(',', ' ')),
            ('names', self.dialect),
            ('images', f'{self.colours} in [0, {self.value_range}]'),
            ('file', self._kind()),
        ]
        problems = {
            'not finite': self.non_finite,
            'missing': self.missing,
            'unexpected': self.unexpected,
            'misshapen': self.misshapen,
        }
        rows += [(title, listed(names)) for title, names in problems.items() if names]
        return '\n'.join([self.path, *(f'  {name:<12}{value}' for name, value in rows)])

    def _kind(self) -> str:
        kind = 'training checkpoint' if self.is_resumable else 'weights'
        parts = [kind if self.container == 'plain' else f'{kind} of {self.container}']
        if self.iteration is not None:
            parts.append(f'iteration {self.iteration}')
        if self.is_average:
            parts.append('averaged (EMA)')
        return ', '.join([*parts, ' and '.join(self.dtypes)])


def inspect(source: Source) -> Inspection:
    """Say what is in a file of weights; nothing in it is executed.

    Args:
        source: a file of any dialect, or what is in one; of CAR also a published
            folder.

    Raises:
        CheckpointMismatchError: when it holds weights of no network that is known here.
        ValueError: when the file is damaged, or holds objects other than weights.
        FileNotFoundError: when there is no such file.
    """
    weights = identify(source)
    contents, architecture = weights.contents, weights.architecture
    dtypes = [str(v.dtype).removeprefix('torch.') for v in weights.state.values()]
    return Inspection(
        path=contents.where,
        network=architecture.network,
        summary=architecture.summary,
        options=architecture.options,
        assumed=architecture.assumed,
        told=architecture.told,
        parameters=sum(value.numel() for value in weights.state.values()),
        dialect=weights.dialect,
        value_range=int(weights.value_range),
        colours='BGR' if weights.is_bgr else 'RGB',
        container=contents.container,
        is_average=contents.is_average,
        is_resumable=contents.is_resumable,
        iteration=_number(contents.meta.get('iter')),
        epoch=_number(contents.meta.get('epoch')),
        dtypes=tuple(sorted(set(dtypes), key=lambda name: -dtypes.count(name))),
        non_finite=weights.non_finite,
        missing=weights.missing,
        unexpected=weights.unexpected,
        misshapen=weights.misshapen,
    )


def build(source: Source, options: Mapping[str, Any] | None = None) -> nn.Module:
    """Build the network that a file is of, with its weights, for images in [0, 1].

    Args:
        source: a file of any dialect, or what is in one; of CAR also a published
            folder.
        options: arguments of the network that its weights do not show, such as
            `res_scale` of EDSR. Without it they are those of the config in the file,
            or else the usual ones: `Inspection.assumed`.

    Returns:
        The network, in evaluation mode.

    Raises:
        CheckpointMismatchError: when it holds weights of no network that is known
            here, or not all of one.
        ValueError: when the file is damaged, or holds objects other than weights, or
            weights that are NaN or infinite.
        FileNotFoundError: when there is no such file.
    """
    weights = identify(source)
    weights.require_sound()
    architecture = weights.architecture
    chosen = dict(architecture.options)
    for key, value in {**architecture.assumed, **(options or {})}.items():
        is_nested = isinstance(value, Mapping)
        chosen[key] = {**chosen[key], **value} if is_nested else value
    network = getattr(archs, architecture.network)(**chosen)
    network.load_state_dict(weights.for_unit_range())
    return network.eval()


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _shown(options: Mapping[str, Any]) -> str:
    parts = []
    for key, value in options.items():
        if isinstance(value, Mapping):
            parts.append(f'{key} with {_shown(value)}')
        else:
            parts.append(f'{key} {value}')
    return ', '.join(parts)
