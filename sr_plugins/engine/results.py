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
                cells = [values.get(key) for key in columns]
                rows.append([name, str(len(entry['images'])), method, *cells])
    return format_rows(rows)


def format_rows(rows: list[list[str | float | None]]) -> str:
    """A Markdown table of a heading and rows; numbers are scores, named above them."""
    heading = rows[0]
    texts = [
        [
            value if isinstance(value, str) else _cell(key, value)
            for key, value in zip(heading, row, strict=True)
        ]
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    lines = [_line(row, widths) for row in texts]
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
        json.dumps(as_json(document), indent=2, allow_nan=False) + '\n',
    )
    notes = ''.join(f'- {key}: {value}\n' for key, value in details.items())
    write_text(Path(folder, 'results.md'), f'# {label}\n\n{notes}\n{table}\n')
    return table


def as_json(value: Any) -> Any:
    """With None for infinity and NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {key: as_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_json(item) for item in value]
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
