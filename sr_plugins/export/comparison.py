"""What float32 and int8 score, take and cost, in one run."""

import copy
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.runner import Runner
from torch import nn

from ..complexity import measure
from ..engine.results import as_json, format_rows
from ..fileio import write_text
from ..models import arrange_weights


@dataclass(frozen=True)
class Candidate:
    """One way to compute a network.

    Attributes:
        network: in place of the generator of a model.
        bytes: of its files; None where there are none of its own.
    """

    network: nn.Module
    bytes: int | None = None


def compare_candidates(
    runner: Runner, candidates: Mapping[str, Candidate], repeats: int = 3
) -> dict[str, dict[str, dict[str, Any]]]:
    """Test each on the sets of a runner, on the CPU, and measure what images take.

    Args:
        runner: of `build_test_runner`. Its model is that of the last candidate after.
        candidates: by name.
        repeats: how often each image goes through; the quickest counts.

    Returns:
        For each set and candidate the `metrics`, the number of `images`, and of all
        these together `seconds` by the clock and `cpu_seconds` of all threads.

    Raises:
        ValueError: when images are not to go through at all.
    """
    if repeats < 1:
        raise ValueError(f'Expected `repeats` to be at least 1, but got {repeats}.')
    results: dict[str, dict] = {}
    runner.model.cpu()  # where all of them can run
    for name, candidate in candidates.items():
        runner.model.generator = candidate.network
        arrange_weights(candidate.network, torch.device('cpu'))
        watch = _Stopwatch(runner, repeats)
        runner.test()
        watch.stop()
        for data_set, found in runner.test_loop.results.items():
            seconds, cpu_seconds = watch.taken[data_set]
            results.setdefault(data_set, {})[name] = {
                'metrics': copy.deepcopy(found['metrics']),
                'images': len(found['images']),
                'seconds': seconds,
                'cpu_seconds': cpu_seconds,
            }
    return results


class _Stopwatch:
    """Takes the place of a model's inference, and times it."""

    def __init__(self, runner: Runner, repeats: int) -> None:
        self.runner, self.repeats = runner, repeats
        self.model = runner.model
        self.taken: dict[str, tuple[float, float]] = {}
        self._infer = self.model.forward_inference
        self.model.forward_inference = self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        best = [float('inf')] * 2
        for _ in range(self.repeats):
            start = time.perf_counter(), time.process_time()
            output = self._infer(*args, **kwargs)
            stop = time.perf_counter(), time.process_time()
            best = [min(b, y - x) for b, x, y in zip(best, start, stop, strict=True)]
        data_set = self.runner.test_loop.current
        before = self.taken.get(data_set, (0.0, 0.0))
        self.taken[data_set] = before[0] + best[0], before[1] + best[1]
        return output

    def stop(self) -> None:
        del self.model.forward_inference


def write_comparison(
    results: Mapping[str, Mapping[str, Mapping[str, Any]]],
    candidates: Mapping[str, Candidate],
    network: nn.Module,
    folder: str | Path,
    details: Mapping[str, str],
) -> str:
    """Write `results.md` and `results.json`; return what is in the former.

    Args:
        results: of `compare_candidates`.
        candidates: as there.
        network: what all of them compute.
        folder: where to.
        details: what else to note.
    """
    total = measure(network)[0]
    flops, threads = 2 * total.multiply_adds, torch.get_num_threads()
    facts = {
        **details,
        'parameters': f'{total.params:,}',
        'FLOPs': f'{flops / 1e9:,.1f} G for an HR image of 1280 x 720 pixels',
        'threads': threads,
    }
    columns: list[str] = []
    for by_name in results.values():
        for entry in by_name.values():
            columns += [key for key in entry['metrics'] if key not in columns]
    rows = [['set', 'images', 'network', 'file', 's', 'CPU s', 'faster', *columns]]
    for data_set, by_name in results.items():
        first = next(iter(by_name.values()))['cpu_seconds']
        for name, entry in by_name.items():
            size = candidates[name].bytes
            cells = [
                '' if size is None else f'{size / 1e6:.2f} MB',
                f'{entry["seconds"]:.2f}',
                f'{entry["cpu_seconds"]:.2f}',
                f'{first / entry["cpu_seconds"]:.2f}',
            ]
            scores = [entry['metrics'].get(key) for key in columns]
            rows.append([data_set, str(entry['images']), name, *cells, *scores])
    document = {
        **details,
        'parameters': total.params,
        'flops': flops,
        'threads': threads,
        'bytes': {name: candidate.bytes for name, candidate in candidates.items()},
        'sets': results,
    }
    text = json.dumps(as_json(document), indent=2, allow_nan=False)
    write_text(Path(folder, 'results.json'), text + '\n')
    notes = ''.join(f'- {key}: {value}\n' for key, value in facts.items())
    text = f'{notes}\n{format_rows(rows)}\n'
    write_text(Path(folder, 'results.md'), text)
    return text
