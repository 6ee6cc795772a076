"""ESR-EA, the evolution that searches for ESRN, as ask and tell.

Paper: Song et al., Efficient Residual Dense Block Search for Image Super-Resolution,
AAAI 2020, https://arxiv.org/abs/1909.11409
Original code: https://github.com/huawei-noah/vega

Deviations from the original:
- What misses a limit is repaired with few changes (`repair`); the original draws genes
  anew with the mutation rate until the network happens to fit.
- A network is evaluated once: a child that was there before is made again, and
  mutants differ from their parents.
- Block credits guide mutation (`credits`); `guided=False` does without, as the
  original code does.
- The search ends after `num_generation * num_individual` networks, not one later; what
  fails counts as the worst; any number of individuals and of elites works.
"""

import inspect
from collections.abc import Iterable, Mapping
from math import isfinite

import numpy as np

from .breeding import Breeder, Latency
from .candidate import Candidate
from .checks import check_integer, check_mapping, check_names, check_number
from .credits import BlockCredits
from .genome import Genome
from .history import describe_generations
from .pareto import pareto_front
from .selection import best_first
from .space import SearchSpace

_FORMAT = 1


class ESREA:
    """Evolution of networks in a search space, by generations.

    `ask` gives candidates, `tell` takes their fitness, in any order and from any number
    of workers: what follows depends on the seed and on what was told of which candidate
    only. A generation is a barrier, so `ask` gives nothing while the last candidates of
    one are being evaluated:

        search = ESREA(SearchSpace(), seed=1)
        while not search.done:
            for candidate in search.ask():
                search.tell(candidate.id, evaluate(candidate.codes))

    The first generation is drawn at random. From each, the best `num_elitism` of all so
    far are kept; of n children, 2 * (n // 4) come from crossovers, whose parents are
    picked by roulette among elites and the last generation, and the others are mutants,
    the first of the first elite and so on, of random elites when there are more.

    Args:
        space: of the networks.
        num_generation: generations, the first included.
        num_individual: candidates of a generation. There are fewer when no more new
            networks are found.
        num_elitism: elites.
        mutation_rate: chance of each gene to change in a mutation.
        guided: whether credits weigh the types that mutation draws.
        seed: of all that is random.
        latency: gives the latency of a network from its codes, in the unit of the
            space's `max_latency`; called once a network, and only when that is set.

    Attributes:
        candidates: all that were made so far, by their ids.
        generation: of the newest candidates; -1 before the first `ask`.
        credits: of block types; they are kept without guidance, too.

    Raises:
        ValueError: on numbers below 1, a rate outside 0 to 1, and a ceiling of latency
            without a function.
    """

    def __init__(
        self,
        space: SearchSpace,
        num_generation: int = 20,
        num_individual: int = 8,
        num_elitism: int = 4,
        mutation_rate: float = 0.05,
        guided: bool = True,
        seed: int = 0,
        latency: Latency | None = None,
    ) -> None:
        check_integer('num_generation', num_generation, 1)
        check_integer('num_individual', num_individual, 1)
        check_integer('num_elitism', num_elitism, 1)
        check_number('mutation_rate', mutation_rate, 0, 1)
        check_integer('seed', seed, 0)
        if not isinstance(guided, bool):
            raise ValueError(
                f'Expected `guided` to be True or False, but got {guided!r}.'
            )
        if space.max_latency is not None and latency is None:
            raise ValueError(
                f'Expected `latency`, a function that measures a network, since the '
                f'space has max_latency={space.max_latency}, but got None.'
            )
        self.space = space
        self.num_generation = num_generation
        self.num_individual = num_individual
        self.num_elitism = num_elitism
        self.mutation_rate = mutation_rate
        self.guided = guided
        self.seed = seed
        self.candidates: list[Candidate] = []
        self.generation = -1
        self.credits = BlockCredits(space)
        self._breeder = Breeder(space, mutation_rate, latency)
        self._rng = np.random.default_rng(seed)
        self._handed_out: set[int] = set()
        # Where the candidates of the present generation begin.
        self._start = 0
        # Ids of the elites after each finished generation, the best first.
        self._elites: list[list[int]] = []
        self._exhausted = False

    @classmethod
    def from_config(
        cls,
        search_space: Mapping | None = None,
        range: Mapping | None = None,
        policy: Mapping | None = None,
        latency: Latency | None = None,
    ) -> 'ESREA':
        """Make one from the groups of the published file; all have defaults.

        Args:
            search_space: fields of `SearchSpace`.
            range: more of them, which the published file keeps apart.
            policy: arguments of this class.
            latency: as in the class.

        Raises:
            ValueError: also on an unknown name, with the nearest that is known.
        """
        groups = {'search_space': search_space, 'range': range, 'policy': policy}
        for name, group in groups.items():
            check_mapping(name, {} if group is None else group)
        search_space, range, policy = (dict(group or {}) for group in groups.values())
        known = list(inspect.signature(cls).parameters)
        known.remove('space')
        known.remove('latency')
        check_names('the policy', policy, known)
        space = SearchSpace.from_config({**search_space, **range})
        return cls(space, latency=latency, **policy)

    @property
    def num_candidates(self) -> int:
        """How many networks the whole search evaluates at most."""
        return self.num_generation * self.num_individual

    @property
    def done(self) -> bool:
        """Whether everything is told and nothing more will be asked."""
        return self._exhausted or (
            self.generation == self.num_generation - 1 and not self.pending
        )

    @property
    def population(self) -> list[Candidate]:
        """Candidates of the present generation."""
        return self.candidates[self._start :]

    @property
    def pending(self) -> list[Candidate]:
        """Candidates that were not told yet."""
        return [c for c in self.population if not c.done]

    @property
    def elites(self) -> list[Candidate]:
        """Those of the last finished generation, the best first."""
        return [self.candidate(i) for i in self._elites[-1]] if self._elites else []

    @property
    def best(self) -> Candidate | None:
        """The fittest so far, the earlier of equal ones; None when none succeeded."""
        told = [c for c in self.candidates if c.fitness is not None]
        return max(told, key=lambda c: c.fitness, default=None)

    def candidate(self, id: int) -> Candidate:
        """The one with an id.

        Raises:
            ValueError: when there is none.
        """
        if not isinstance(id, int) or not 1 <= id <= len(self.candidates):
            raise ValueError(
                f'Expected the id of a candidate, 1 to {len(self.candidates)}, but got '
                f'{id!r}.'
            )
        return self.candidates[id - 1]

    def ask(self, count: int | None = None) -> list[Candidate]:
        """Hand out candidates to evaluate, each once.

        Args:
            count: the most to hand out; None hands out all of the generation.

        Returns:
            Candidates; none while others of the generation are being evaluated, and
            when the search is done.

        Raises:
            RuntimeError: when a ceiling of multiply-adds or latency rejects nearly all.
        """
        if count is not None:
            check_integer('count', count, 1)
        if not self.pending and not self.done:
            self._breed()
        waiting = [c for c in self.pending if c.id not in self._handed_out][:count]
        self._handed_out.update(c.id for c in waiting)
        return waiting

    def release(self, ids: Iterable[int] | None = None) -> None:
        """Take back what was handed out and not told, so that `ask` gives it again.

        Args:
            ids: of candidates whose workers died; None takes all back.
        """
        if ids is None:
            self._handed_out.clear()
        else:
            self._handed_out.difference_update(ids)

    def tell(
        self,
        id: int,
        fitness: float | None = None,
        error: str | None = None,
        info: Mapping | None = None,
    ) -> None:
        """Take the fitness of a candidate, or why it has none.

        Args:
            id: of the candidate.
            fitness: higher is better. One that is not finite is a failure.
            error: the reason of a failure, which ranks below every fitness.
            info: anything to keep with it that JSON can hold, such as seconds.

        Raises:
            ValueError: on an id that was not asked for or was told before, and unless
                there is either a fitness or an error.
        """
        candidate = self.candidate(id)
        if candidate.done:
            raise ValueError(
                f'Expected a candidate that was not told yet, but got {id} again.'
            )
        if (fitness is None) == (error is None):
            raise ValueError(
                f'Expected either a fitness or an error of candidate {id}, but got '
                f'fitness={fitness!r} and error={error!r}.'
            )
        if fitness is not None and not isfinite(fitness):
            fitness, error = None, f'its fitness is {float(fitness)}'
        candidate.fitness = None if fitness is None else float(fitness)
        candidate.error = None if error is None else str(error)
        candidate.info = dict(info or {})
        self._handed_out.discard(id)
        if not self.pending:
            self._finish_generation()

    def pareto_front(self, cost: str = 'params') -> list[Candidate]:
        """Those that no other beats in both cost and fitness; see `pareto_front`."""
        return pareto_front(self.candidates, cost)

    def generations(self) -> list[dict]:
        """Describe each finished generation; see `describe_generations`."""
        return describe_generations(self.candidates, self._elites)

    def state_dict(self) -> dict:
        """All that `from_state` needs, as JSON holds it."""
        return {
            'format': _FORMAT,
            'space': self.space.to_dict(),
            'policy': {
                'num_generation': self.num_generation,
                'num_individual': self.num_individual,
                'num_elitism': self.num_elitism,
                'mutation_rate': self.mutation_rate,
                'guided': self.guided,
                'seed': self.seed,
            },
            'generation': self.generation,
            'exhausted': self._exhausted,
            'elites': [list(ids) for ids in self._elites],
            'too_slow': [
                [list(genome.network), latency]
                for genome, latency in self._breeder.too_slow.items()
            ],
            'rng': self._rng.bit_generator.state,
            'candidates': [c.to_dict() for c in self.candidates],
        }

    @classmethod
    def from_state(cls, state: Mapping, latency: Latency | None = None) -> 'ESREA':
        """Go on from `state_dict`, as if the search had never stopped.

        What was handed out and not told is handed out again.

        Args:
            state: also after a way through JSON.
            latency: as in the class; a function is not part of the state.

        Raises:
            ValueError: when it is of another format.
        """
        check_mapping('a search', state)
        if state.get('format') != _FORMAT:
            raise ValueError(
                f'Expected the state of a search in format {_FORMAT}, but got '
                f'{state.get("format")!r}.'
            )
        space = SearchSpace.from_config(state['space'])
        search = cls(space, latency=latency, **state['policy'])
        search.generation = state['generation']
        search.candidates = [Candidate.from_dict(c) for c in state['candidates']]
        earlier = [c for c in search.candidates if c.generation < search.generation]
        search._start = len(earlier)
        search._exhausted = state['exhausted']
        search._elites = [list(ids) for ids in state['elites']]
        # The credits follow from the history.
        for child in search.candidates:
            if child.generation < len(search._elites):
                search._earn(child)
        search._rng.bit_generator.state = state['rng']
        search._breeder.seen.update(c.genome for c in search.candidates)
        for network, slow in state['too_slow']:
            genome = Genome.of(network, [True] * len(network))
            search._breeder.too_slow[genome] = slow
        return search

    def _breed(self) -> None:
        """Make the next generation; where nothing new is found, the search ends."""
        if self.generation < 0:
            made = self._breeder.first(self._rng, self.num_individual)
        else:
            elites = self.elites
            ids = {c.id for c in elites}
            made = self._breeder.children(
                self._rng,
                self.num_individual,
                elites,
                [c for c in self.population if c.id not in ids],
                self.credits.probabilities() if self.guided else None,
            )
        if not made:
            self._exhausted = True
            return
        self.generation += 1
        self._start = len(self.candidates)
        for child in made:
            network = child.genome.network
            self.candidates.append(
                Candidate(
                    id=len(self.candidates) + 1,
                    generation=self.generation,
                    genome=child.genome,
                    codes=self.space.codes(child.genome),
                    params=int(self.space.params(network)),
                    multiply_adds=int(self.space.multiply_adds(network)),
                    latency=child.latency,
                    operator=child.operator,
                    parents=child.parents,
                )
            )

    def _earn(self, child: Candidate) -> None:
        if child.operator == 'mutation':
            self.credits.update(self.candidate(child.parents[0]), child)

    def _finish_generation(self) -> None:
        """Choose the elites and settle the credits, by ids, not by who came first."""
        for child in self.population:
            self._earn(child)
        pool = sorted(
            {c.id: c for c in [*self.elites, *self.population]}.values(),
            key=lambda c: c.id,
        )
        order = best_first([c.rank for c in pool])[: self.num_elitism]
        self._elites.append([pool[i].id for i in order])
