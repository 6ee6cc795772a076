"""mmagic's inferencer with our networks among its names."""

from pathlib import Path
from typing import Any

from mmagic.apis import MMagicInferencer as _MMagicInferencer
from mmengine.config import Config

from .. import checkpoints
from ..paths import config_path

_TASK = 'Image super-resolution'
# Model name -> stem of its configs; EDSR's own name is taken by mmagic's.
_MODELS = {
    'csnln': 'csnln',
    'edsr_baseline': 'edsr_baseline',
    'edsr_full': 'edsr',
}
_SCALES = (2, 3, 4)


def _settings(stem: str) -> list[dict]:
    """mmagic indexes settings by number: ours is the scale, 0 and 1 mean x2."""
    files = {scale: f'{stem}_x{scale}.py' for scale in _SCALES}
    entries = {
        scale: {'Name': Path(file).stem, 'Config': file}
        for scale, file in files.items()
    }
    return [entries[2], entries[2], *(entries[scale] for scale in _SCALES)]


class MMagicInferencer(_MMagicInferencer):
    """`mmagic.apis.MMagicInferencer`, for mmagic's models and ours.

    Ours are `csnln`, `edsr_baseline` and `edsr_full`; `model_setting` is the scale.
    Their checkpoints may be of any dialect that `sr_plugins.checkpoints.load` knows.
    With `model_config`, a config of ours works without a `model_name`.

        editor = MMagicInferencer('csnln', model_setting=2, model_ckpt='csnln_x2.pth')
        editor.infer(img='photo.png', result_out_dir='out/photo.png')

    Arguments are those of mmagic's class.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._checkpoint = None
        super().__init__(*args, **kwargs)
        if self._checkpoint is not None:
            checkpoints.load(self.inferencer.inferencer.model, self._checkpoint)

    def _get_inferencer_kwargs(
        self,
        model_name: str | None,
        model_setting: int | None,
        config_name: str | None,
        model_config: str | None,
        model_ckpt: str | None,
        extra_parameters: dict | None,
    ) -> dict:
        """What mmagic's `Inferencers` needs; called by its constructor."""
        if model_config is None and model_name in _MODELS:
            model_config = _find_config(model_name, model_setting, config_name)
            model_name = None
        if model_name is None and model_config is None:
            raise ValueError(
                'Expected `model_name` or `model_config`, but got neither. Names are '
                'in MMagicInferencer.get_inference_supported_models().'
            )
        if model_name in _MODELS:
            model_name = None  # the config says it all
        kwargs = super()._get_inferencer_kwargs(
            model_name, model_setting, None, model_config, model_ckpt, extra_parameters
        )
        if _is_ours(kwargs['config']):
            kwargs['task'] = _TASK
            self._checkpoint = kwargs.pop('ckpt', None)
        return kwargs


def _find_config(name: str, setting: int | None, config_name: str | None) -> str:
    settings = _settings(_MODELS[name])
    if config_name is not None:
        stems = [entry['Name'] for entry in settings[2:]]
        if config_name not in stems:
            raise ValueError(
                f'Expected `config_name` of {name} to be one of {", ".join(stems)}, '
                f'but got {config_name!r}.'
            )
        return str(config_path(f'{config_name}.py'))
    if setting not in (None, 0, *_SCALES):
        raise ValueError(
            f'Expected `model_setting` of {name} to be its scale, one of '
            f'{", ".join(map(str, _SCALES))}, but got {setting!r}.'
        )
    return str(config_path(settings[setting or 0]['Config']))


def _is_ours(config: 'str | Config') -> bool:
    if not isinstance(config, Config):
        config = Config.fromfile(config)
    generator = config.model.get('generator', {})
    return str(generator.get('type')).startswith('sr_plugins.')


def _add_our_names() -> None:
    # mmagic fills its table from files of its own, once: first theirs, then ours.
    _MMagicInferencer.init_inference_supported_models_cfg()
    for name, stem in _MODELS.items():
        if name not in _MMagicInferencer.inference_supported_models:
            _MMagicInferencer.inference_supported_models.append(name)
        _MMagicInferencer.inference_supported_models_cfg[name] = {
            'task': _TASK,
            'settings': _settings(stem),
        }


_add_our_names()
