"""The search of ESR-EA on mmengine's Runner: what to try, and what became of it."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta

from mmengine.dist import get_world_size, is_main_process, master_only
from mmengine.hooks import Hook

from ...nas import ESREA, Candidate
from ...registry import HOOKS
from ..search import Evaluation, SearchFiles, load_search, measure_latency


@HOOKS.register_module()
class ESREAHook(Hook):
    """Asks `sr_plugins.nas.ESREA`, tells it scores, logs, saves and draws.

    For `EvolutionSearchLoop`, which trains and scores. The groups of arguments are
    those of the published file; what is left out is as published. Into the work folder
    go, after every candidate, `search.json` (all candidates, and the state to resume
    from) and `best.json` (for `architecture` of `ESRN`); after every generation
    `evolution.png` and `pareto.png`.

    All of this is done by the main process.

    Args:
        search_space: kinds and sizes of blocks, `G0` and `scale`; see
            `sr_plugins.nas.SearchSpace`.
        range: its limits: `node_num`, `min_active`, `min_params`, `max_params`,
            `max_multiply_adds` and `max_latency`, milliseconds for an HR image of
            1280 x 720 on the main process's device. A search with the latter cannot be
            repeated exactly.
        policy: arguments of `ESREA`: `num_generation`, `num_individual`,
            `num_elitism`, `mutation_rate`, `guided` and `seed`, which is that of the
            Runner unless it is given.
        resume_from: a `search.json`; set by `--resume`.

    Raises:
        ValueError: on unknown names, and on a space in which no network fits.
    """

    def __init__(
        self,
        search_space: Mapping | None = None,
        range: Mapping | None = None,
        policy: Mapping | None = None,
        resume_from: str | None = None,
    ) -> None:
        self.groups = {'search_space': search_space, 'range': range}
        self.policy = dict(policy or {})
        self.resume_from = resume_from
        # What is wrong fails here, before any data are read.
        self.search = self._build(self.policy)
        self.metric = ''
        self._files: SearchFiles | None = None
        self._training: dict = {}

    def before_train(self, runner) -> None:
        """Start or resume the search.

        Raises:
            ValueError: when the loop or the network of the config is not the one that
                the search needs, or the search to resume was another one.
        """
        if not hasattr(runner.train_loop, 'describe'):
            raise ValueError(
                f'Expected `train_cfg.type` to be sr_plugins.EvolutionSearchLoop, '
                f'which trains what ESREAHook asks for, but got '
                f'{type(runner.train_loop).__name__}.'
            )
        self._require_network(runner.cfg.model.generator)
        self.metric = runner.train_loop.fitness
        if not is_main_process():
            return
        self.search = self._build({'seed': runner.seed, **self.policy})
        self._training = _plain(runner.train_loop.describe())
        self._files = SearchFiles(runner.work_dir)
        if self.resume_from is None:
            self._files.set_aside()
        else:
            self.search = self._resume(self.resume_from)
            told = sum(c.done for c in self.search.candidates)
            runner.logger.info(
                f'Resumed the search {self.resume_from}, in which {told} candidates '
                f'are done.'
            )
            # A kill may have come between two files; the folder may be a new one.
            self._files.save(self.search, self._training)
            self._draw()

    def ask(self, runner) -> list[Candidate]:
        """Candidates of the present generation that are not done; none at the end."""
        candidates = self.search.ask()
        if candidates:
            self._files.save(self.search, self._training)
            runner.logger.info(
                f'Generation {self.search.generation + 1} of '
                f'{self.search.num_generation}: {len(candidates)} candidates.'
            )
        return candidates

    def tell(self, runner, id: int, evaluation: Evaluation) -> None:
        """Take the score of a candidate."""
        self.search.tell(id, *evaluation)
        self._files.save(self.search, self._training)
        candidate = self.search.candidate(id)
        self._log(runner, candidate)
        if not self.search.pending:
            self._finish_generation(runner)

    @master_only
    def after_train(self, runner) -> None:
        """Log the best candidate."""
        best = self.search.best
        if best is None:
            runner.logger.warning(
                f'All {len(self.search.candidates)} candidates failed; search.json has '
                f'the reasons.'
            )
            return
        runner.logger.info(f'Best architecture: {" ".join(best.codes)}')
        performance = {
            'flops': round(best.multiply_adds / 1e9, 3),
            'params': round(best.params / 1e3, 3),
            self.metric.rpartition('/')[-1]: best.fitness,
        }
        values = [{'worker_id': best.id, 'performance': performance}]
        runner.logger.info(f'Best values: {values}')

    def _build(self, policy: Mapping) -> ESREA:
        return ESREA.from_config(**self.groups, policy=policy, latency=self._measure)

    def _measure(self, codes: Sequence[str]) -> float:
        return measure_latency(codes, self.search.space)

    def _require_network(self, generator: Mapping) -> None:
        space = self.search.space
        wanted = {'type': 'sr_plugins.ESRN', 'scale': space.scale}
        wanted.update(mid_channels=space.G0, bias=False)
        found = {'mid_channels': 32, 'bias': False, 'scale': 2, **generator}
        for name, value in wanted.items():
            if found.get(name) != value:
                raise ValueError(
                    f'Expected `model.generator.{name}` to be {value!r}, as '
                    f'`search_space` of ESREAHook has it, but got {found.get(name)!r}.'
                )

    def _resume(self, path: str) -> ESREA:
        search, training = load_search(path, self._measure)
        now, before = self.search.state_dict(), search.state_dict()
        # A search may go on for longer than first planned.
        before['policy']['num_generation'] = now['policy']['num_generation']
        changes = [
            *_changes(before['space'], now['space'], 'search_space'),
            *_changes(before['policy'], now['policy'], 'policy'),
            *_changes(training, self._training, 'training'),
        ]
        if changes:
            raise ValueError(
                f'Expected the config to be that of {path}, but {"; ".join(changes)}. '
                f'Resume with the same, or start a new search without `--resume`.'
            )
        search.num_generation = self.search.num_generation
        return search

    def _log(self, runner, candidate: Candidate) -> None:
        search = self.search
        origin = candidate.operator
        if candidate.parents:
            origin += f' of {" and ".join(map(str, candidate.parents))}'
        name = f'Candidate {candidate.id} of {search.num_candidates}'
        cost = (
            f'{candidate.params:,} parameters, {candidate.multiply_adds / 1e9:.1f} G '
            f'multiply-adds, {origin}, {candidate.info["seconds"]:.0f} s, eta: '
            f'{timedelta(seconds=round(self._seconds_left()))}'
        )
        if candidate.fitness is None:
            runner.logger.warning(f'{name} failed: {candidate.error}; {cost}')
            return
        runner.logger.info(f'{name}: {self.metric} {candidate.fitness:.4f}, {cost}')
        scalars = {self.metric: candidate.fitness, 'params': candidate.params}
        scalars['multiply_adds'] = candidate.multiply_adds
        self._add_scalars(runner, 'candidate', scalars, candidate.id)

    def _finish_generation(self, runner) -> None:
        row = self.search.generations()[-1]
        values = {k: row[k] for k in ('best', 'elites', 'mean') if row[k] is not None}
        shown = ', '.join(f'{name} {value:.4f}' for name, value in values.items())
        number = row['generation'] + 1
        runner.logger.info(
            f'Generation {number} of {self.search.num_generation} is done: '
            f'{shown or "all failed"}.'
        )
        self._add_scalars(runner, 'generation', values, number)
        self._draw()

    def _draw(self) -> None:
        if self.search.best is not None and self.search.elites:
            self._files.draw(self.search, self.metric)

    def _seconds_left(self) -> float:
        search = self.search
        seconds = [c.info['seconds'] for c in search.candidates if c.done]
        rounds = math.ceil(len(search.pending) / get_world_size())
        rounds += (search.num_generation - 1 - search.generation) * math.ceil(
            search.num_individual / get_world_size()
        )
        return rounds * sum(seconds) / len(seconds)

    @staticmethod
    def _add_scalars(runner, group: str, scalars: dict, step: int) -> None:
        named = {f'{group}/{name}': value for name, value in scalars.items()}
        runner.visualizer.add_scalars(named, step=step)


def _plain(value: Mapping) -> dict:
    """As it comes back from JSON."""
    return json.loads(json.dumps(value, default=str))


def _changes(before: Mapping, now: Mapping, name: str) -> Iterator[str]:
    """What differs, as sentences."""
    for key in {**before, **now}:
        old, new = before.get(key), now.get(key)
        path = f'{name}.{key}'
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from _changes(old, new, path)
        elif old != new:
            yield f'{path} was {old!r} and is {new!r}'
