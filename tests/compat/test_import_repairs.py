"""The repairs of imports, each where it is needed and where it is not."""

import importlib.machinery

import numpy as np
import pytest

COMPAT = 'import sr_plugins.compat\n'


def test_importing_the_repairs_is_cheap(passes):
    passes("""
        import sys
        import sr_plugins.compat
        heavy = {'torch', 'numpy', 'torchvision', 'mmengine', 'mmcv', 'mmagic',
                 'basicsr', 'diffusers', 'transformers'}
        assert not heavy & set(sys.modules), heavy & set(sys.modules)
        assert len({repair.name for repair in sr_plugins.compat.REPAIRS}) == 8
    """)


def test_real_packages_import_and_nothing_inert_stays(passes):
    passes("""
        import builtins, importlib.metadata, importlib.util, pkgutil, sys
        stock_import = builtins.__import__
        import sr_plugins.compat
        import mmagic

        from sr_plugins.compat._inert import InertType
        assert builtins.__import__ is stock_import
        inert = [n for n, m in sys.modules.items() if isinstance(m, InertType)]
        assert not inert, inert
        for part in ('datasets.transforms', 'evaluation', 'models', 'apis'):
            assert f'mmagic.{part}' in sys.modules, part
        import numpy
        assert int(numpy.__version__[0]) < 2 or not hasattr(numpy, 'bool8')

        import basicsr
        import torchvision.transforms.functional_tensor as alias
        assert callable(alias.rgb_to_grayscale)

        for name in ('transformers', 'diffusers', 'albumentations'):
            try:
                version = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                try:
                    __import__(name)
                except ModuleNotFoundError:
                    continue
                raise AssertionError(f'{name} is there, but not installed')
            try:
                assert __import__(name).__version__ == version
            except AttributeError as error:
                # The real diffusers, that does not know an old torch.
                assert 'torch' in str(error)

        # mmengine asks this while it wraps a model.
        lite = importlib.util.find_spec('mmcv._ext') is None
        assert (pkgutil.find_loader('mmcv._ext') is None) == lite
        needed = {repair.name for repair in sr_plugins.compat.active()}
        assert ('mmcv operators' in needed) == lite
        if lite:
            import torch
            from mmcv.ops import ModulatedDeformConv2d
            conv = ModulatedDeformConv2d(1, 1, 3)
            try:
                conv(torch.ones(1, 1, 5, 5), torch.ones(1, 18, 3, 3),
                     torch.ones(1, 9, 3, 3))
            except ImportError as error:
                assert 'modulated_deform_conv_forward' in str(error)
                assert 'mmcv==2.1.0' in str(error)
            else:
                raise AssertionError('the operator did not raise')
    """)


META_REGISTRATIONS = {
    'torchvision/__init__.py': 'from . import _meta_registrations',
    'torchvision/_meta_registrations.py': """
        import torch
        import torchvision.extension
        for name in ('nms', 'qnms'):
            torch.library.register_fake(f'torchvision::{name}')(lambda *a: a[0])
    """,
}


def test_torchvision_without_its_operators(passes, python, tree):
    folder = tree(
        {
            **META_REGISTRATIONS,
            'torchvision/extension.py': '_has_ops = lambda: False',
        }
    )
    code = """
        import torchvision, torch
        print(torch.ops.torchvision.nms.default._schema)
    """
    assert 'does not exist' in python(code, folder=folder).stderr
    code = COMPAT.strip() + '; ' + code.strip().replace('\n        ', '\n')
    assert 'iou_threshold' in passes(code, folder=folder)
    code += '\nassert sr_plugins.compat.REPAIRS[0].needed()'
    passes(code, folder=folder)


def test_torchvision_with_its_operators(passes, tree):
    folder = tree(
        {
            **META_REGISTRATIONS,
            'torchvision/extension.py': """
                import torch
                library = torch.library.Library('torchvision', 'DEF')
                library.define('nms(Tensor mine) -> Tensor')
                library.define('qnms(Tensor mine) -> Tensor')
                _has_ops = lambda: True
            """,
        }
    )
    out = passes(
        """
        import sr_plugins.compat, torchvision, torch
        assert not sr_plugins.compat.REPAIRS[0].needed()
        print(torch.ops.torchvision.nms.default._schema)
        """,
        folder=folder,
    )
    assert 'mine' in out


@pytest.mark.parametrize('has_old_module', [True, False])
def test_functional_tensor(passes, tree, has_old_module):
    files = {
        'torchvision/__init__.py': '',
        'torchvision/transforms/__init__.py': '',
        'torchvision/transforms/_functional_tensor.py': 'WHO = "new"',
        'basicsr/__init__.py': 'from torchvision.transforms.functional_tensor '
        'import WHO',
    }
    if has_old_module:
        files['torchvision/transforms/functional_tensor.py'] = 'WHO = "old"'
    out = passes(
        """
        import sys
        import sr_plugins.compat
        repair = sr_plugins.compat.REPAIRS[1]
        assert 'functional_tensor' in repair.name
        import basicsr
        from torchvision.transforms import _functional_tensor as new
        old = sys.modules['torchvision.transforms.functional_tensor']
        print(basicsr.WHO, repair.needed(), old is new, new.__spec__.name)
        """,
        folder=tree(files),
    )
    who = 'old False False' if has_old_module else 'new True True'
    assert out.strip() == f'{who} torchvision.transforms._functional_tensor'


MMCV = {
    'mmcv/__init__.py': '',
    'mmcv/utils/__init__.py': '',
    'mmcv/utils/ext_loader.py': """
        import importlib
        def load_ext(name, funcs):
            return importlib.import_module('mmcv.' + name)
    """,
}


def test_mmcv_with_operators_is_left_alone(passes, python, tree):
    load = """
        import sr_plugins.compat
        from mmcv.utils.ext_loader import load_ext
        print(load_ext('_ext', ['nms']).nms())
    """
    folder = tree({**MMCV, 'mmcv/_ext.py': 'nms = lambda: "compiled"'})
    assert passes(load, folder=folder).strip() == 'compiled'
    # An extension that is there but does not load is another problem.
    tree({'mmcv/_ext.py': 'raise ImportError("undefined symbol")'})
    assert 'ImportError: undefined symbol' in python(load, folder=folder).stderr
    tree({'mmcv/_ext.py': 'import mmcv.other'})
    assert "No module named 'mmcv.other'" in python(load, folder=folder).stderr
    (folder / 'mmcv/_ext.py').unlink()
    result = python(load, folder=folder)
    assert 'call `nms`' in result.stderr
    assert 'mmcv==2.1.0' in result.stderr

    needed = """
        import sr_plugins.compat
        print(sr_plugins.compat.REPAIRS[2].needed())
    """
    assert passes(needed, folder=folder).strip() == 'True'
    tree({f'mmcv/_ext{importlib.machinery.EXTENSION_SUFFIXES[0]}': ''})
    assert passes(needed, folder=folder).strip() == 'False'


EDITOR = """
    import albumentations
    from diffusers.models import ModelMixin, register_to_config
    from diffusers.utils.import_utils import is_xformers_available
    from mmagic.utils.setup_env import try_import

    transformers = try_import('transformers')
    has_xformers = bool(is_xformers_available())

    class Net(ModelMixin):
        @register_to_config
        def __init__(self, width=1):
            super().__init__()

        def width(self):
            return 3
"""
MMAGIC = {
    'mmagic/__init__.py': '',
    'mmagic/utils/__init__.py': '',
    'mmagic/utils/setup_env.py': """
        import importlib
        def try_import(name):
            try:
                return importlib.import_module(name)
            except ImportError:
                return None
    """,
    'mmagic/models/__init__.py': EDITOR,
    **{
        f'mmagic/{part}/__init__.py': ''
        for part in (
            'datasets',
            'datasets/transforms',
            'engine',
            'evaluation',
            'visualization',
            'apis',
        )
    },
    'diffusers/__init__.py': 'WHO = "real"',
    'transformers/__init__.py': 'WHO = "real"',
    'albumentations/__init__.py': 'WHO = "real"',
}
OLD = {
    'diffusers': '0.24.0',
    'transformers': '4.39.3',
    'huggingface_hub': '0.25.2',
    'mediapipe': '0.10.21',
    'controlnet_aux': '0.0.9',
    'numpy': '1.26.4',
}


def metadata(**versions):
    return {
        f'{name}-{version}.dist-info/METADATA': f'Metadata-Version: 2.1\n'
        f'Name: {name}\nVersion: {version}\n'
        for name, version in versions.items()
    }


@pytest.mark.parametrize('order', ['first', 'last'])
def test_mmagic_beside_new_releases(passes, tree, order):
    folder = tree({**MMAGIC, **metadata(**{**OLD, 'diffusers': '0.42.0'})})
    imports = ['import diffusers, transformers', 'import sr_plugins.compat, mmagic']
    imports = imports if order == 'first' else imports[::-1]
    passes(
        '\n'.join(imports)
        + """
import sys
from mmagic import models

assert sr_plugins.compat.REPAIRS[-1].needed()
assert diffusers.WHO == transformers.WHO == models.albumentations.WHO == 'real'
assert sys.modules['diffusers'] is diffusers
assert not hasattr(diffusers, 'models')
assert models.transformers is not transformers
assert models.try_import('transformers') is transformers
assert not models.has_xformers
assert models.Net.width(None) == 3
assert models.Net.__init__.__defaults__ == (1,)
for use in (models.Net, models.register_to_config):
    try:
        use()
    except ImportError as error:
        assert 'diffusers.models.' in str(error)
        assert 'diffusers==0.24.0' in str(error)
    else:
        raise AssertionError('a placeholder was used')
""",
        folder=folder,
    )


def test_mmagic_beside_releases_of_its_age(passes, tree):
    folder = tree(
        {
            **MMAGIC,
            **metadata(**OLD),
            'diffusers/models.py': """
                class ModelMixin: pass
                def register_to_config(function): return function
            """,
            'diffusers/utils/__init__.py': '',
            'diffusers/utils/import_utils.py': 'is_xformers_available = lambda: True',
        }
    )
    passes(
        """
        import sr_plugins.compat, mmagic, diffusers, transformers
        from mmagic import models
        assert not sr_plugins.compat.REPAIRS[-1].needed()
        assert models.ModelMixin is diffusers.models.ModelMixin
        assert models.transformers is transformers
        assert models.has_xformers and models.Net().width() == 3
        """,
        folder=folder,
    )


def test_mmagic_imported_before_the_repairs(passes, tree):
    folder = tree(MMAGIC)
    passes(
        """
        import mmagic, sys
        assert 'mmagic.models' not in sys.modules
        import sr_plugins.compat
        assert sys.modules['mmagic.models'].Net.width(None) == 3
        """,
        folder=folder,
    )


@pytest.mark.skipif(hasattr(np, 'bool8'), reason='numpy < 2 has bool8')
def test_numpy_bool8_is_lent_only_where_it_is_missing(passes, tree):
    folder = tree(
        {
            'mmagic/__init__.py': '',
            'mmagic/utils/__init__.py': '',
            'mmagic/utils/trans_utils.py': 'import numpy\nBOOL = numpy.bool8',
            **{
                f'mmagic/{part}/__init__.py': ''
                for part in (
                    'datasets',
                    'datasets/transforms',
                    'engine',
                    'evaluation',
                    'visualization',
                    'models',
                    'apis',
                )
            },
        }
    )
    passes(
        """
        import numpy as np, sr_plugins.compat
        repair = sr_plugins.compat.REPAIRS[3]
        np.__dict__.pop('bool8', None)
        assert 'bool8' in repair.name and repair.needed()
        from mmagic.utils import trans_utils
        assert trans_utils.BOOL is np.bool_ and not hasattr(np, 'bool8')
        """,
        folder=folder,
    )
    passes(
        """
        import numpy as np, sr_plugins.compat
        np.bool8 = own = object()
        assert not sr_plugins.compat.REPAIRS[3].needed()
        from mmagic.utils import trans_utils
        assert trans_utils.BOOL is own and np.bool8 is own
        """,
        folder=folder,
    )
