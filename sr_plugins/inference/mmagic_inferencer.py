"""mmagic's inferencer with our networks among its names."""

import warnings
from pathlib import Path
from typing import Any

import mmcv
import numpy as np
import torch
from mmagic.apis import MMagicInferencer as _MMagicInferencer
from mmagic.apis.inferencers import ImageSuperResolutionInferencer, Inferencers
from mmagic.structures import DataSample
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import init_default_scope

from .. import checkpoints
from ..engine import set_image_options, set_scale
from ..models import image_options
from ..paths import config_path
from .photographs import Photograph, read_photograph, write_photograph
from .rescaler import make_scaler

# As mmagic's models have it.
_TASK = 'Image Super-Resolution'
# Model name -> names of its configs, and scales; EDSR's own name is taken by mmagic's.
_MODELS = {
    'car': ('car_x{scale}', (2, 4)),
    'csnln': ('csnln_x{scale}', (2, 3, 4)),
    'edsr_baseline': ('edsr_baseline_x{scale}', (2, 3, 4)),
    'edsr_full': ('edsr_x{scale}', (2, 3, 4)),
    'esrn': ('esrn_x{scale}', (2, 3, 4)),
    'mdsr': ('mdsr', (2, 3, 4)),
    'mdsr_baseline': ('mdsr_baseline', (2, 3, 4)),
}


class MMagicInferencer(_MMagicInferencer):
    """`mmagic.apis.MMagicInferencer`, for mmagic's models and ours.

        editor = MMagicInferencer('csnln', model_setting=2, model_ckpt='csnln_x2.pth')
        editor.infer(img='photo.png', result_out_dir='out/photo.png')

    Ours are `car`, `csnln`, `edsr_baseline`, `edsr_full`, `esrn`, `mdsr` and
    `mdsr_baseline`. For them `infer` takes the path of any image that
    `read_photograph` does, and writes what `tools/infer.py` does where
    `result_out_dir`, a file in spite of its name, ends in `.png`; in any other format,
    8 bits per channel without alpha. Of `car`, which downscales first, it is the
    reconstruction. mmagic's models are left as they are.

    Args:
        model_name: one of `get_inference_supported_models()`.
        model_setting: of our models the scale (2); of mmagic's as there.
        config_name: of a config of that model, such as `csnln_x2`, in place of
            `model_setting`; `mdsr`, for all its scales, goes with one.
        model_config: a config or its file, in place of both. One whose generator is
            a network of sr_plugins needs no `model_name`.
        model_ckpt: weights; for our networks of any dialect that
            `sr_plugins.checkpoints.load` knows. Without it they are random.
        device: where to run; None takes the GPU when there is one.
        extra_parameters: of our models `chop`, `tile`, `overlap`, `seams`,
            `self_ensemble` and `amp`, as options of `tools/infer.py`; else as in
            mmagic.
        seed: as in mmagic.
        **kwargs: ignored as in mmagic, whose demo passes those of `infer` as well.

    Raises:
        CheckpointMismatchError: when the weights are of another network.
        FileNotFoundError: when there is no such checkpoint.
        ValueError: on an unknown name, setting, config or extra parameter.
    """

    inference_supported_models = [  # noqa: RUF012  (mmagic's interface)
        *_MMagicInferencer.inference_supported_models,
        *_MODELS,
    ]

    def __init__(
        self,
        model_name: str | None = None,
        model_setting: int | None = None,
        config_name: str | None = None,
        model_config: str | Path | dict | Config | None = None,
        model_ckpt: str | Path | None = None,
        device: str | torch.device | None = None,
        extra_parameters: dict | None = None,
        seed: int = 2022,
        **kwargs: Any,
    ) -> None:
        if model_name is None and model_config is None:
            raise ValueError(
                'Expected `model_name` or `model_config`, but got neither. Names are '
                'in MMagicInferencer.get_inference_supported_models().'
            )
        self.init_inference_supported_models_cfg()
        if model_name is not None:
            self.get_model_config(model_name)  # raises on an unknown name
        if model_config is None and model_name in _MODELS:
            model_config = _find_config(model_name, model_setting, config_name)
        config = _our_config(model_config)
        if config is not None:
            _set_options(config, extra_parameters or {})
            init_default_scope('mmagic')
            self.inferencer = _Inferencers(
                _PhotographInferencer(config, model_ckpt, device, seed=seed)
            )
            return
        if model_name in _MODELS:
            raise ValueError(
                f'Expected `model_config` of {model_name} to be the file of a config '
                f'with a generator of sr_plugins, but got {model_config!r}.'
            )
        super().__init__(
            model_name,
            model_setting,
            config_name,
            model_config,
            model_ckpt,
            device,
            extra_parameters,
            seed,
            **kwargs,
        )

    # mmagic's versions of these look into mmagic's class, whatever class is asked.

    @classmethod
    def init_inference_supported_models_cfg(cls) -> None:
        """Fill `inference_supported_models_cfg`."""
        _MMagicInferencer.init_inference_supported_models_cfg()
        ours = {name: {'task': _TASK, 'settings': _settings(name)} for name in _MODELS}
        cls.inference_supported_models_cfg = {
            **_MMagicInferencer.inference_supported_models_cfg,
            **ours,
        }

    @classmethod
    def get_inference_supported_models(cls) -> list[str]:
        """Names of mmagic's models and ours."""
        return cls.inference_supported_models

    @classmethod
    def get_inference_supported_tasks(cls) -> list[str]:
        """Names of the tasks of all models."""
        cls.init_inference_supported_models_cfg()
        models = cls.inference_supported_models_cfg.values()
        return sorted({model['task'] for model in models})

    @classmethod
    def get_task_supported_models(cls, task: str) -> list[str]:
        """Names of the models of a task.

        Case does not matter: mmagic itself writes 'Image super-resolution' as well.
        """
        cls.init_inference_supported_models_cfg()
        models = cls.inference_supported_models_cfg
        return [name for name in models if models[name]['task'].lower() == task.lower()]


class _Inferencers(Inferencers):
    """mmagic's holder of the inferencer for a task, of one that is made already."""

    def __init__(self, inferencer: ImageSuperResolutionInferencer) -> None:
        self.task = _TASK
        self.inferencer = inferencer


class _PhotographInferencer(ImageSuperResolutionInferencer):
    """Reads, enlarges and writes images as `tools/infer.py` does.

    A network that downscales does so first.
    """

    func_kwargs = {  # noqa: RUF012  (mmagic's interface)
        'preprocess': ['img'],
        'forward': [],
        'visualize': ['result_out_dir'],
        'postprocess': [],
    }

    def _init_model(
        self, cfg: Config, ckpt: str | Path | None, device: str | torch.device
    ) -> BaseModel:
        model = super()._init_model(cfg, None, 'cpu')
        if ckpt is None:
            warnings.warn(
                f'There is no `model_ckpt`: the weights of '
                f'{type(model.generator).__name__} are random, its output is noise.',
                UserWarning,
                stacklevel=5,
            )
        else:
            checkpoints.load(model, ckpt)
        options = image_options(model.test_cfg)
        self.scaler = make_scaler(model.generator, device, **options)
        return model.to(self.scaler.device)

    def _init_visualizer(self, cfg: Config) -> None:
        # Nothing is drawn; that of a training config warns that it has no folder.
        return None

    def preprocess(self, img: str | Path) -> Photograph:
        if not isinstance(img, str | Path):
            raise TypeError(
                f'Expected `img` to be the path of an image, but got a '
                f'{type(img).__name__}.'
            )
        return read_photograph(img)

    def forward(self, inputs: Photograph) -> Photograph:
        return self.scaler(inputs)

    def visualize(
        self, preds: Photograph, result_out_dir: str | Path | None = None
    ) -> np.ndarray:
        """The enlarged image, (H, W, 3) uint8 BGR, written to `result_out_dir`."""
        image = (preds.rgb[..., ::-1] * 255).round().astype(np.uint8)
        if result_out_dir:
            if Path(result_out_dir).suffix.lower() == '.png':
                write_photograph(result_out_dir, preds)
            else:
                mmcv.imwrite(image, str(result_out_dir))
        return image

    def postprocess(
        self, preds: Photograph, imgs: np.ndarray
    ) -> tuple[dict[str, DataSample], np.ndarray]:
        """What mmagic gives: a sample with (3, H, W) BGR of [0, 255], and `imgs`."""
        bgr = np.ascontiguousarray(preds.rgb.transpose(2, 0, 1)[::-1]) * 255
        output = DataSample(pred_img=torch.from_numpy(bgr))
        return {'infer_results': DataSample(output=output)}, imgs


def _settings(name: str) -> list[dict[str, str]]:
    """What mmagic has in a model's metafile."""
    template, scales = _MODELS[name]
    names = dict.fromkeys(template.format(scale=scale) for scale in scales)
    return [{'Name': name, 'Config': f'configs/{name}.py'} for name in names]


def _set_options(config: Config, extra_parameters: dict) -> None:
    known = ('chop', 'tile', 'overlap', 'seams', 'self_ensemble', 'amp')
    unknown = [name for name in extra_parameters if name not in known]
    if unknown:
        raise ValueError(
            f'Expected `extra_parameters` to be among {", ".join(known)}, but got '
            f'{", ".join(unknown)}.'
        )
    set_image_options(config, **extra_parameters)


def _find_config(name: str, setting: int | None, config_name: str | None) -> Config:
    names = [entry['Name'] for entry in _settings(name)]
    if config_name is not None and config_name not in names:
        raise ValueError(
            f'Expected `config_name` of {name} to be one of {", ".join(names)}, '
            f'but got {config_name!r}.'
        )
    template, scales = _MODELS[name]
    # mmagic's default setting is 0, its first.
    by_setting = {None: scales[0], 0: scales[0], **{scale: scale for scale in scales}}
    if config_name is not None and len(names) > 1:
        return Config.fromfile(config_path(f'{config_name}.py'))
    if setting not in by_setting:
        raise ValueError(
            f'Expected `model_setting` of {name} to be its scale, one of '
            f'{", ".join(map(str, scales))}, but got {setting!r}.'
        )
    scale = by_setting[setting]
    config = Config.fromfile(config_path(f'{template.format(scale=scale)}.py'))
    set_scale(config, scale)
    return config


def _our_config(config: 'str | Path | dict | Config | None') -> Config | None:
    """The config, if its generator is a network of ours.

    mmagic knows other things than files by a string; those are left to it.
    """
    if isinstance(config, str | Path):
        config = Config.fromfile(config) if Path(config).is_file() else None
    elif isinstance(config, dict):
        config = Config(config)
    if config is None:
        return None
    generator = (config.get('model') or {}).get('generator') or {}
    is_ours = str(generator.get('type')).startswith('sr_plugins.')
    return config if is_ours else None
