"""BasicSR's own testing."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import basicsr.test
from basicsr.models.base_model import BaseModel
from mmengine.dist import is_main_process

from ..launch import require_writable
from ..results import write_results
from .checks import check_types
from .completion import complete
from .edges import build_dataset, edges, join_group, replaced, validate
from .options import read_options


def run_test(
    config: str | Path,
    checkpoint: str,
    out: str | Path,
    *,
    data_root: str | None = None,
    datasets: 'list[str] | None' = None,
    save_images: bool = False,
    launcher: str = 'none',
    cfg_options: Mapping[str, Any] | None = None,
) -> str | None:
    """Run `basicsr.test.test_pipeline`.

    Args:
        config: an options file. Sets `test` and `test_...` of its `datasets` are
            tested; where it has none, all those that are present below its data root.
        checkpoint: weights; for networks of sr_plugins, of any dialect.
        out: for results.
        data_root: see `read_options`.
        datasets: names of sets; None takes all.
        save_images: write outputs to `<out>/visualization`.
        launcher: as for `run_training`. BasicSR tests on one process.
        cfg_options: see `read_options`.

    Returns:
        The table of results, on the main process.

    Raises:
        FileNotFoundError: when the checkpoint or a set is missing.
        OSError: when the folder cannot be written.
        ValueError: on wrong options, weights or images.
    """
    config = Path(config)
    given = read_options(config, data_root=data_root, cfg_options=cfg_options)
    given['path'] = {
        **(given.get('path') or {}),
        'pretrain_network_g': str(checkpoint),
        'param_key_g': 'params_ema',
    }
    options = complete(given, config.stem, out, is_train=False, datasets=datasets)
    options['val']['save_img'] = options['val']['save_img'] or save_images
    check_types(options)
    require_writable(str(out))
    join_group(options, launcher)
    results: dict[str, dict] = {}
    with (
        edges(),
        replaced(
            basicsr.test,
            parse_options=lambda root_path, is_train: (options, None),
            make_exp_dirs=lambda opt: None,
            build_dataset=build_dataset,
        ),
        replaced(BaseModel, validation=functools.partialmethod(_validate, results)),
    ):
        basicsr.test.test_pipeline(str(out))
    if is_main_process():
        details = {'config': str(config), 'checkpoint': str(checkpoint)}
        return write_results(results, out, config.stem, **details)
    return None


def _validate(
    model: BaseModel, results: dict[str, dict], loader: Any, *args: Any, **kwargs: Any
) -> None:
    """BasicSR's validation, and its means into `results`."""
    validate(model, loader, *args, **kwargs)
    metrics = dict(getattr(model, 'metric_results', {}))
    paths = getattr(loader.dataset.dataset, 'paths', [])
    images = [{'name': Path(pair['gt_path']).stem} for pair in paths]
    results[loader.dataset.opt['name']] = {'metrics': metrics, 'images': images}
