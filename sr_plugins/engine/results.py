"""Tables of benchmark results, for people and for programs."""

import json
import math
from pathlib import Path
from typing import Any

from ..fileio import write_text


def format_table(results: dict[str, dict], label: str) -> str:
    """A Markdown table, one row per set and method.

    Args:
        results: `BenchmarkLoop.results`.
        label: how to name the network.
    """
    columns: list[str] = []
    for entry in results.values():
        columns += [key for key in entry['metrics'] if key not in columns]
    rows = [['set', 'images', 'method', *columns]]
    for name, entry in results.items():
        yardsticks = {name: entry.get(name) for name in ('bicubic', 'input')}
        methods = {**yardsticks, label: entry['metrics']}
        for method, values in methods.items():
            if values is not None:
                cells = [_cell(key, values.get(key)) for key in columns]
                rows.append([name, str(len(entry['images'])), method, *cells])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [_line(row, widths) for row in rows]
    lines.insert(1, '|' + '|'.join('-' * (width + 2) for width in widths) + '|')
    return '\n'.join(lines)


def write_results(
    results: dict[str, dict], folder: str | Path, label: str, **details: str
) -> str:
    """Write `results.json` (with every image) and `results.md`; return the table."""
    table = format_table(results, label)
    document = {'method': label, **details, 'sets': results}
    write_text(
        Path(folder, 'results.json'),
        json.dumps(_plain(document), indent=2, allow_nan=False) + '\n',
    )
    notes = ''.join(f'- {key}: {value}\n' for key, value in details.items())
    write_text(Path(folder, 'results.md'), f'# {label}\n\n{notes}\n{table}\n')
    return table


def _plain(value: Any) -> Any:
    """With None for infinity and NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _cell(key: str, value: float | None) -> str:
    if value is None:
        return ''
    return f'{value:.4f}' if key.endswith('SSIM') else f'{value:.3f}'


def _line(row: list[str], widths: list[int]) -> str:
    # The first and third columns are words, the others numbers.
    cells = [
        cell.ljust(width) if i in (0, 2) else cell.rjust(width)
        for i, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    return f'| {" | ".join(cells)} |'
