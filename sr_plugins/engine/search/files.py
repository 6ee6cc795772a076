"""What a search leaves in its work folder."""

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from mmengine.logging import print_log

from ...fileio import atomic_path, move_aside, write_text
from ...nas import ESREA, Candidate

STATE = 'search.json'
BEST = 'best.json'
_EVOLUTION, _PARETO = 'evolution.png', 'pareto.png'


class SearchFiles:
    """State, best candidate and pictures; each is replaced in one step.

    Args:
        folder: the work folder.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._best: int | None = None

    def set_aside(self) -> None:
        """Move files of an earlier search to `earlier_<time>`."""
        if not (self.folder / STATE).exists():
            return
        names = BEST, _EVOLUTION, _PARETO, STATE
        earlier = move_aside(self.folder, [self.folder / name for name in names])
        print_log(
            f'An earlier search in {self.folder} is now in {earlier.name}. To go on '
            f'with that one instead: `--resume {earlier}/{STATE}`.',
            'current',
            logging.WARNING,
        )

    def save(self, search: ESREA, training: Mapping) -> None:
        """Write `search.json`, and `best.json` where the best is another than before.

        Args:
            search: of which all is written.
            training: how candidates are trained; a search resumes only with the same.
        """
        document = {'training': dict(training), **search.state_dict()}
        write_text(self.folder / STATE, _to_json(document))
        best = search.best
        if best is not None and best.id != self._best:
            self._write_best(search, best)
            self._best = best.id

    def _write_best(self, search: ESREA, best: Candidate) -> None:
        document = {
            'architecture': list(best.codes),
            'scale': search.space.scale,
            'mid_channels': search.space.G0,
            'params': best.params,
            'multiply_adds': best.multiply_adds,
            'fitness': best.fitness,
            'candidate': best.id,
            'generation': best.generation,
            **best.info,
        }
        write_text(self.folder / BEST, json.dumps(document, indent=1) + '\n')

    def draw(self, search: ESREA, metric: str) -> None:
        """Draw `evolution.png` and `pareto.png`.

        Args:
            search: with one finished generation at least.
            metric: name of the fitness.
        """
        _draw_evolution(self.folder / _EVOLUTION, search, metric)
        _draw_pareto(self.folder / _PARETO, search, metric)


def load_search(
    path: str | Path, latency: Callable[[tuple[str, ...]], float] | None = None
) -> tuple[ESREA, dict]:
    """Read what `SearchFiles.save` wrote.

    Args:
        path: of `search.json`.
        latency: as for `ESREA`.

    Returns:
        The search, and how its candidates are trained.

    Raises:
        OSError: when it cannot be read.
        ValueError: when it is damaged, or none of a search.
    """
    path = Path(path)
    try:
        document = json.loads(path.read_text(encoding='utf-8'))
        training = document.pop('training')
        return ESREA.from_state(document, latency), training
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f'Expected {path} to be the whole state of a search, but got: {error}. '
            f'Start a new search without `--resume`.'
        ) from error


def _to_json(document: Mapping) -> str:
    """One line for each entry, and for each of its candidates."""
    lines = []
    for key, value in document.items():
        if key == 'candidates':
            rows = ',\n'.join(json.dumps(row, allow_nan=False) for row in value)
            lines.append(f'"{key}": [\n{rows}\n]')
        else:
            lines.append(f'"{key}": {json.dumps(value, allow_nan=False)}')
    return '{\n' + ',\n'.join(lines) + '\n}\n'


def _draw_evolution(path: Path, search: ESREA, metric: str) -> None:
    # The object interface: pyplot would choose a backend for the whole process.
    from matplotlib.figure import Figure

    rows = search.generations()
    told = [c for c in search.candidates if c.fitness is not None]
    figure = Figure(figsize=(6, 4), layout='constrained')
    axes = figure.subplots()
    axes.plot(
        [c.generation + 1 for c in told],
        [c.fitness for c in told],
        '.',
        color='0.7',
        label='candidates',
    )
    for name in ('best', 'elites', 'mean'):
        points = [(r['generation'] + 1, r[name]) for r in rows if r[name] is not None]
        if points:
            axes.plot(*zip(*points, strict=True), marker='o', ms=3, label=name)
    axes.set(xlabel='generation', ylabel=f'{metric} (dB)')
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
    axes.legend()
    _save(figure, path)


def _draw_pareto(path: Path, search: ESREA, metric: str) -> None:
    from matplotlib.figure import Figure

    told = [c for c in search.candidates if c.fitness is not None]
    figure = Figure(figsize=(9, 4), layout='constrained')
    costs = {
        'params': ('parameters (K)', 1e3),
        'multiply_adds': ('multiply-adds at 1280 x 720 (G)', 1e9),
    }
    points = None
    for axes, (cost, (label, unit)) in zip(
        figure.subplots(1, 2, sharey=True), costs.items(), strict=True
    ):
        points = axes.scatter(
            [getattr(c, cost) / unit for c in told],
            [c.fitness for c in told],
            c=[c.generation + 1 for c in told],
            s=14,
        )
        front = sorted(search.pareto_front(cost), key=lambda c: getattr(c, cost))
        axes.step(
            [getattr(c, cost) / unit for c in front],
            [c.fitness for c in front],
            where='post',
            color='0.3',
            label='Pareto front',
        )
        axes.set(xlabel=label)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.axes[0].set_ylabel(f'{metric} (dB)')
    bar = figure.colorbar(points, ax=figure.axes, label='generation')
    bar.locator.set_params(integer=True)
    bar.update_ticks()
    _save(figure, path)


def _save(figure, path: Path) -> None:
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format='png', dpi=110)
