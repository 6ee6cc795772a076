"""Registries with scope `sr_plugins`, children of mmengine's root registries.

A config names an entry with its scope, `type='sr_plugins.EDSR'`, from any default
scope: mmengine then imports this module by the scope's name and the `locations`
below on the first look-up.
"""

from mmengine import registry as root


class _NetworkRegistry(root.Registry):
    """Networks are also found by their bare names from mmagic's registry.

    They go to the registry that is the parent of both, where the name is free.
    """

    def _register_module(self, module, module_name=None, force=False) -> None:
        super()._register_module(module, module_name, force)
        name = module_name or module.__name__
        if name not in self.parent.module_dict:
            self.parent.register_module(name=name, module=module)


def _child(
    name: str, parent: root.Registry, *locations: str, kind: type = root.Registry
) -> root.Registry:
    modules = [f'sr_plugins.{location}' for location in locations]
    return kind(name, parent=parent, scope='sr_plugins', locations=modules)


MODELS = _child(
    'model', root.MODELS, 'archs', 'losses', 'models', kind=_NetworkRegistry
)
DATASETS = _child(
    'dataset',
    root.DATASETS,
    'datasets.div2k_lmdb_dataset',
    'datasets.paired_folder_dataset',
)
DATA_SAMPLERS = _child('data sampler', root.DATA_SAMPLERS, 'datasets.samplers')
TRANSFORMS = _child(
    'transform', root.TRANSFORMS, 'datasets.packing', 'datasets.transforms'
)
FUNCTIONS = _child('function', root.FUNCTIONS, 'datasets.packing')
METRICS = _child('metric', root.METRICS, 'metrics')
HOOKS = _child('hook', root.HOOKS, 'engine')
LOOPS = _child('loop', root.LOOPS, 'engine')
LOG_PROCESSORS = _child('log processor', root.LOG_PROCESSORS, 'engine')
OPTIM_WRAPPERS = _child('optim wrapper', root.OPTIM_WRAPPERS, 'engine')

__all__ = [
    'DATASETS',
    'DATA_SAMPLERS',
    'FUNCTIONS',
    'HOOKS',
    'LOG_PROCESSORS',
    'LOOPS',
    'METRICS',
    'MODELS',
    'OPTIM_WRAPPERS',
    'TRANSFORMS',
]
