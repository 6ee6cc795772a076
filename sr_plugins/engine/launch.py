"""From a config file and command-line options to a Runner that is ready to go."""

import atexit
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import (
    broadcast_object_list,
    get_world_size,
    init_dist,
    is_distributed,
    is_main_process,
)
from mmengine.runner import Runner
from torch.cuda import is_available as has_cuda
from torch.distributed import destroy_process_group

from ..checkpoints import last_readable, load, require_resumable
from ..fileio import remove_leftovers
from ..models import arrange_weights
from .config_checks import check_types, nodes
from .image_options import set_image_options, set_scale
from .search import STATE

AMP_WRAPPERS = {
    'bf16': {'type': 'sr_plugins.BFloat16OptimWrapper'},
    'fp16': {'type': 'AmpOptimWrapper', 'dtype': 'float16'},
}


def load_config(
    path: str | Path,
    *,
    work_dir: str | None = None,
    data_root: str | None = None,
    seed: int | None = None,
    deterministic: bool = False,
    amp: str | None = None,
    compile_network: bool = False,
    init_from: str | None = None,
    scale: int | None = None,
    chop: Sequence[int] | None = None,
    tile: int | None = None,
    overlap: str | int | None = None,
    seams: str | None = None,
    self_ensemble: bool = False,
    inference_amp: str | None = None,
    launcher: str = 'none',
    cfg_options: dict[str, Any] | None = None,
) -> Config:
    """Read a config and put the options of a command line into it.

    Args:
        path: of the config, a `.py` file.
        work_dir: for logs and checkpoints; `work_dirs/<name of the config>` otherwise.
        data_root: replaces the root of every data set.
        seed: of data order, crops and initial weights.
        deterministic: only deterministic algorithms.
        amp: 'bf16' or 'fp16' (GPU only), or None for float32.
        compile_network: torch.compile the network for training.
        init_from: weights that training starts from, as far as they fit.
        scale: at which a network of several validates, is tested and used. None leaves
            the choice to the config.
        chop: go through images in quarters: their overlap and their largest size in LR
            pixels, or nothing for the published 10 and 3600. None leaves the choice to
            the config.
        tile: go through images in tiles of that side, see `models.Tiling`. None leaves
            the choice to the config.
        overlap: of tiles, pixels or 'auto'.
        seams: of tiles, 'exact' or 'blended'.
        self_ensemble: average the outputs of the eight poses of an image.
        inference_amp: 'bf16', or None for float32, where `amp` is for training.
        launcher: 'none', 'pytorch', 'slurm' or 'mpi', as in mmengine.
        cfg_options: entries to replace, by dotted names.

    Returns:
        The config, all types in it known.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is no `.py` file, on an unknown type, fp16 without a GPU, a
            scale that the network does not have or wrong ways to go through images.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f'Expected a config file, but there is no {path} (from {Path.cwd()}). '
            f'The configs of sr_plugins are in its folder `configs`.'
        )
    if path.suffix != '.py':
        raise ValueError(
            f'Expected a config of mmengine (.py), but got {path}. Options files of '
            f'BasicSR are for tools/train.py and tools/test.py.'
        )
    cfg = Config.fromfile(path)
    cfg_options = dict(cfg_options or {})
    for key in ('scale', 'scales', 'lr_patch_size'):
        if key in cfg_options:
            raise ValueError(
                f'Expected `--cfg-options` to name what {key} was put into, but got '
                f'{key} itself, which the config has used already. Write a config '
                f'with another {key}.'
            )
    data_root = data_root or cfg_options.pop('data_root', None)
    if 'global_batch_size' in cfg_options and 'train_dataloader' in cfg:
        batch_size = cfg_options['global_batch_size']
        cfg_options.setdefault('train_dataloader.batch_size', batch_size)
    if any(key.startswith('load_from.') for key in cfg_options):
        # Parts of a network with weights of their own, in place of the usual None.
        cfg.load_from = {}
    cfg.merge_from_dict(cfg_options)
    if init_from is not None:
        if _is_search(cfg):
            raise ValueError(
                'Expected `--init-from` for a training, but got a search, whose '
                'networks all start from scratch. Leave it out.'
            )
        cfg.load_from = str(init_from)
    _choose_data(cfg)
    cfg.launcher = launcher
    cfg.work_dir = str(work_dir or cfg.get('work_dir') or f'work_dirs/{path.stem}')
    if data_root is not None:
        for node in nodes(cfg):
            if 'data_root' in node:
                node['data_root'] = str(data_root)
    randomness = cfg.setdefault('randomness', {})
    if seed is not None:
        randomness['seed'] = seed
    if deterministic:
        randomness['deterministic'] = True
        # Without it torch refuses matrix products on a GPU.
        os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')
    if amp is not None:
        if amp == 'fp16' and not has_cuda():
            raise ValueError(
                'Expected `--amp fp16` to have a GPU, but torch sees none. Use '
                '`--amp bf16`.'
            )
        cfg.optim_wrapper.update(AMP_WRAPPERS[amp])
    if compile_network:
        cfg.setdefault('custom_hooks', []).append({'type': 'sr_plugins.CompileHook'})
    if scale is not None:
        set_scale(cfg, scale)
    set_image_options(cfg, chop, tile, overlap, seams, self_ensemble, inference_amp)
    check_types(cfg)
    return cfg


def _choose_data(cfg: Config) -> None:
    """Let training take its images from stores, where `data` says so."""
    data = cfg.get('data', 'folder')
    if data not in ('folder', 'lmdb'):
        raise ValueError(f"Expected `data` to be 'folder' or 'lmdb', but got {data!r}.")
    if data == 'lmdb' and 'train_dataloader' in cfg:
        dataset = cfg.train_dataloader.dataset
        if dataset.type == 'sr_plugins.PairedFolderDataset':
            if 'lr_name' in dataset:
                raise ValueError(
                    f"Expected LR images that are named as DIV2K's for `data='lmdb'`, "
                    f'but got `lr_name` {dataset.lr_name!r}. Train from folders.'
                )
            dataset.type = 'sr_plugins.DIV2KLMDBDataset'


def build_runner(cfg: Config, resume: str | bool = False) -> Runner:
    """Build the Runner of a config.

    Args:
        cfg: from `load_config`.
        resume: True goes on from the furthest readable checkpoint of the work folder,
            a path from that file. A search goes on from its `search.json`.

    `load_from` in the config may be weights of any dialect; what fits is taken. Parts
    of a network may have files of their own: `dict(upscaler='edsr_x2.pth')`.

    Raises:
        FileNotFoundError: when there is nothing to resume from.
        OSError: when the work folder cannot be written.
        ValueError: when the file is not one to resume from, or the global batch
            cannot be shared evenly among the ranks.
    """
    require_writable(cfg.work_dir)
    if cfg.launcher != 'none' and not is_distributed():
        init_dist(cfg.launcher, **cfg.env_cfg.get('dist_cfg', {}))
        atexit.register(leave_group)
    weights = None
    if resume and _is_search(cfg):
        _resume_search(cfg, resume)
    elif resume:
        cfg.load_from, cfg.resume = _choose_checkpoint(cfg.work_dir, resume), True
    elif 'train_dataloader' in cfg:
        weights, cfg.load_from = cfg.get('load_from'), None
    _share_batch(cfg)
    _limit_workers(cfg)
    runner = Runner.from_cfg(cfg)
    if weights is not None:
        report = load(runner.model, weights, strict=False)
        runner.logger.info(f'Weights from {weights}: {report.summary()}')
    return runner


def leave_group() -> None:
    """Else threads of the process group can bring down a process that is done."""
    if is_distributed():
        destroy_process_group()


def _is_search(cfg: Config) -> bool:
    return cfg.get('train_cfg', {}).get('type') == 'sr_plugins.EvolutionSearchLoop'


def _resume_search(cfg: Config, resume: str | bool) -> None:
    """Let the hook of the search go on from its file."""
    path = Path(cfg.work_dir, STATE) if resume is True else Path(resume)
    if is_main_process():
        if not path.is_file():
            raise FileNotFoundError(
                f'Expected `--resume` to find {path}, but there is none. Start without '
                f'`--resume`, or name a file: `--resume PATH`.'
            )
        remove_leftovers(cfg.work_dir)
    for hook in cfg.get('custom_hooks', []):
        if hook['type'] == 'sr_plugins.ESREAHook':
            hook['resume_from'] = str(path)


def _choose_checkpoint(work_dir: str, resume: str | bool) -> str:
    """Where to go on from, as the main process finds it."""
    choice = [resume]
    if is_main_process():
        if resume is True:
            choice = [str(last_readable(work_dir))]
        else:
            require_resumable(resume)
        remove_leftovers(work_dir)
    broadcast_object_list(choice)
    return choice[0]


def build_test_runner(
    cfg: Config,
    datasets: list[str] | None = None,
    bicubic: bool = False,
    images_dir: str | Path | None = None,
) -> Runner:
    """Build the Runner that tests on the benchmark sets, without what training needs.

    Args:
        cfg: from `load_config`.
        datasets: names of sets; None takes all that are present.
        bicubic: score bicubic enlargement too.
        images_dir: where to write outputs, or None.
    """
    for part in ('train', 'val'):
        for key in (f'{part}_dataloader', f'{part}_cfg', f'{part}_evaluator'):
            cfg.pop(key, None)
    for key in ('optim_wrapper', 'param_scheduler', 'global_batch_size'):
        cfg.pop(key, None)
    # The Runner would load these over the weights under test.
    cfg.load_from, cfg.resume = None, False
    cfg.test_cfg.update(datasets=datasets, bicubic=bicubic)
    # Weights are those of the file: neither an EMA of them nor curves.
    cfg.default_hooks.pop('checkpoint', None)
    cfg.custom_hooks = []
    if images_dir is not None:
        cfg.custom_hooks.append(
            {'type': 'sr_plugins.SaveImagesHook', 'out_dir': str(images_dir)}
        )
    runner = build_runner(cfg)
    arrange_weights(runner.model, torch.device(get_device()))
    return runner


def require_writable(work_dir: str) -> None:
    try:
        Path(work_dir).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=work_dir):
            pass
    except OSError as error:
        raise type(error)(
            error.errno,
            f'Expected the output folder to be writable, but got '
            f'{error.strerror!r}. Choose another one with `--work-dir` or `--out`',
            work_dir,
        ) from error


def _share_batch(cfg: Config) -> None:
    """Divide `global_batch_size` among the ranks.

    The recipe stays the same on any number of GPUs, and so do, with
    ResumableSampler, the samples of each step.
    """
    total = cfg.get('global_batch_size')
    if total is None or 'train_dataloader' not in cfg or _is_search(cfg):
        return  # a search trains whole batches on each process
    batch_size = cfg.train_dataloader.batch_size
    if batch_size != total:
        raise ValueError(
            f'Expected `train_dataloader.batch_size` to be what `global_batch_size` '
            f'is, but got {batch_size} and {total}. Set `global_batch_size` alone: it '
            f'is shared among the processes.'
        )
    ranks = get_world_size()
    if total % ranks:
        raise ValueError(
            f'Expected `global_batch_size` to be a multiple of the number of '
            f'processes, but got {total} for {ranks}. Set it with `--cfg-options '
            f'global_batch_size={-(-total // ranks) * ranks}`.'
        )
    cfg.train_dataloader.batch_size = total // ranks


def most_loader_processes() -> int:
    """How many loader processes the machine's cores can serve, for each rank."""
    local_ranks = int(os.environ.get('LOCAL_WORLD_SIZE', 1))
    return max(1, len(os.sched_getaffinity(0)) // local_ranks)


def _limit_workers(cfg: Config) -> None:
    """No more loader processes than the machine's cores can serve.

    Data do not depend on their number.
    """
    limit = most_loader_processes()
    for node in nodes(cfg):
        if 'num_workers' in node:
            node['num_workers'] = min(node['num_workers'], limit)
            if node['num_workers'] == 0:
                node['persistent_workers'] = False  # torch refuses the two together
