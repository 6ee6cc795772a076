"""A picture of how the training went."""

import json
from collections.abc import Iterator
from pathlib import Path

from mmengine.dist import master_only
from mmengine.hooks import Hook

from ...fileio import atomic_path
from ...registry import HOOKS


@HOOKS.register_module()
class LearningCurveHook(Hook):
    """Draws loss and validation metrics to `<work_dir>/learning_curve.png`.

    Reads the scalars of all runs in the work folder, so that a resumed training has
    one curve; steps that were repeated after a kill count once.

    Args:
        metrics: which validation metrics to draw, one panel each.
    """

    priority = 'VERY_LOW'

    def __init__(self, metrics: tuple[str, ...] = ('edsr_y/PSNR', 'edsr_y/SSIM')):
        self.metrics = tuple(metrics)

    @master_only
    def after_train(self, runner) -> None:
        scalars = read_scalars(runner.work_dir)
        panels = [n for n in ('loss', *self.metrics) if scalars.get(n)]
        if not panels:
            return
        path = Path(runner.work_dir, 'learning_curve.png')
        _draw(path, {name: scalars[name] for name in panels})
        runner.logger.info(f'The learning curve is in {path}.')


def read_scalars(work_dir: str | Path) -> dict[str, dict[int, float]]:
    """Logged numbers by name and step.

    A run replaces what earlier ones logged from its first step on: a resumed run goes
    on with their curve, a new one starts afresh.
    """
    scalars: dict[str, dict[int, float]] = {}
    # Folders are named by their time of start, so their order is that of the runs.
    for path in sorted(Path(work_dir).glob('*/vis_data/scalars.json')):
        entries = list(_entries(path))
        start = min((entry['step'] for entry in entries), default=float('inf'))
        for curve in scalars.values():
            for step in [step for step in curve if step >= start]:
                del curve[step]
        for entry in entries:
            for name, value in entry.items():
                if isinstance(value, int | float):
                    scalars.setdefault(name, {})[entry['step']] = value
    return scalars


def _entries(path: Path) -> Iterator[dict]:
    for line in path.read_text().splitlines():
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue  # the last line of a run that was killed
        if 'step' in entry:
            yield entry


def _draw(path: Path, panels: dict[str, dict[int, float]]) -> None:
    # The object interface: pyplot would choose a backend for the whole process.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.5 * len(panels), 3.4), layout='constrained')
    for axes, (name, curve) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
    ):
        steps = sorted(curve)
        axes.plot(
            steps, [curve[s] for s in steps], marker='.' if len(steps) < 50 else None
        )
        axes.set(title=name, xlabel='iteration')
        axes.grid(alpha=0.3)
        if name == 'loss':
            axes.set_yscale('log')
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format='png', dpi=110)
