"""An unpickler for the files of `torch.save` that cannot run code."""

import importlib
import io
import pickle
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from types import SimpleNamespace
from typing import Any, BinaryIO

import numpy as np
import torch

__all__ = ['PICKLE_MODULE', 'RefusedError']


class RefusedError(Exception):
    """An object that is not accepted; the message is its name."""


def _encode(text: str, encoding: str = 'latin1') -> bytes:
    # Pickles of protocol 2 write bytes as _codecs.encode(text, 'latin1').
    if encoding != 'latin1':
        raise RefusedError(f'_codecs.encode with {encoding!r}')
    return text.encode('latin1')


def _statistics_method(owner: type, name: str) -> str:
    # With numpy 2, HistoryBuffer pickles its methods as getattr(HistoryBuffer,
    # 'min'). They are set anew by `_set_history_buffer`, so the name is enough.
    if owner is not _history_buffer() or name not in ('min', 'max', 'current', 'mean'):
        raise RefusedError(f'getattr({getattr(owner, "__name__", owner)!s}, {name!r})')
    return name


def _history_buffer() -> type:
    # Imported on demand: this module needs torch and numpy only.
    return importlib.import_module('mmengine.logging.history_buffer').HistoryBuffer


def _set_history_buffer(buffer: Any, state: dict) -> None:
    # Not HistoryBuffer.__setstate__: it would put the file's `statistics_methods`
    # into a dict that all buffers of the process share.
    buffer.max_length = int(state['max_length'])
    buffer._log_history = np.asarray(state['_log_history'])
    buffer._count_history = np.asarray(state['_count_history'])
    buffer._set_default_statistics()


# What a pickle may call, under the names of numpy 1 and 2, Python 2 and 3.
_CALLED = {
    '_codecs': {'encode': _encode},
    'builtins': {
        **{c.__name__: c for c in (bytearray, complex, frozenset, range, set, slice)},
        'getattr': _statistics_method,
    },
    'collections': {c.__name__: c for c in (Counter, OrderedDict, defaultdict, deque)},
    'numpy': {'dtype': np.dtype},
    'torch': {'device': torch.device, 'Size': torch.Size},
    'torch.serialization': ('_get_layout',),
    'torch._tensor': ('_rebuild_from_type_v2',),
    'torch._utils': (
        '_rebuild_meta_tensor_no_storage',
        '_rebuild_parameter',
        '_rebuild_parameter_with_state',
        '_rebuild_qtensor',
        '_rebuild_sparse_tensor',
        '_rebuild_tensor',
        '_rebuild_tensor_v2',
        '_rebuild_tensor_v3',
    ),
    'numpy._core.multiarray': ('_reconstruct', 'scalar'),
    'numpy._core.numeric': ('_frombuffer',),
}
# What may be an argument or a value, but is never called by a pickle itself.
_NAMED = {
    'builtins': {c.__name__: c for c in (bool, bytes, dict, float, int, list, str)}
    | {'tuple': tuple},
    'numpy': {'ndarray': np.ndarray},
    'torch': {'Tensor': torch.Tensor},
    'torch.nn.parameter': {'Parameter': torch.nn.Parameter},
    'torch.storage': {'UntypedStorage': torch.UntypedStorage},
}
_MODULE_ALIASES = {
    '__builtin__': 'builtins',
    'torch.tensor': 'torch._tensor',
    'numpy.core.multiarray': 'numpy._core.multiarray',
    'numpy.core.numeric': 'numpy._core.numeric',
}
_TORCH_VALUES = (torch.dtype, torch.layout, torch.memory_format, torch.qscheme)


def _lookup(module: str, name: str) -> tuple[Any, bool]:
    """Return the accepted object `module.name`, and whether it may be called."""
    home = _MODULE_ALIASES.get(module, module)
    called = _CALLED.get(home, ())
    if name in called:
        if isinstance(called, dict):
            return called[name], True
        if home.startswith('numpy._core') and np.lib.NumpyVersion(
            np.__version__
        ) < np.lib.NumpyVersion('2.0.0'):
            home = home.replace('_core', 'core')
        return getattr(importlib.import_module(home), name), True
    if name in _NAMED.get(home, {}):
        return _NAMED[home][name], False
    if home == 'torch' and isinstance(getattr(torch, name, None), _TORCH_VALUES):
        return getattr(torch, name), False
    if home in ('numpy', 'numpy.dtypes'):
        value = getattr(np if home == 'numpy' else np.dtypes, name, None)
        if isinstance(value, type) and issubclass(value, np.generic | np.dtype):
            return value, False
    if (home, name) == ('mmengine.logging.history_buffer', 'HistoryBuffer'):
        return _history_buffer(), False
    # os.system and its kind call themselves posix.system.
    raise RefusedError(f'{"os" if home == "posix" else home}.{name}')


class _Unpickler(pickle._Unpickler):
    """An unpickler that finds, calls and changes only what is listed above.

    The Python implementation, because the C one lets a pickle call any object it has
    found and set attributes on it. Tensor data is not part of the pickle, so speed
    does not matter.
    """

    dispatch = pickle._Unpickler.dispatch.copy()

    def __init__(self, file: BinaryIO, **options: Any) -> None:
        super().__init__(file, **options)
        self._callables: dict[int, Any] = {}

    def find_class(self, module: str, name: str) -> Any:
        value, may_be_called = _lookup(module, name)
        if may_be_called:
            self._callables[id(value)] = value
        return value

    def load_global(self) -> None:
        module, name = self.readline(), self.readline()
        if not name.endswith(b'\n'):
            # A name cut short would otherwise be refused as a foreign object.
            raise EOFError('the file ends within a name')
        self.append(self.find_class(module[:-1].decode(), name[:-1].decode()))

    def get_extension(self, code: int) -> None:
        raise RefusedError(f'the copyreg extension {code}')

    def _instantiate(self, cls: Any, args: Any) -> None:
        raise RefusedError(f'{cls!r} in a pickle of protocol 0')

    def load_reduce(self) -> None:
        function = self.stack[-2]
        if id(function) not in self._callables:
            raise RefusedError(f'a call of {function!r}')
        super().load_reduce()

    def load_newobj(self) -> None:
        args = self.stack.pop()
        cls = self.stack.pop()
        if cls is not _lookup_loaded_history_buffer() or args != ():
            raise RefusedError(f'a new {cls!r}')
        self.append(cls.__new__(cls))

    def load_newobj_ex(self) -> None:
        raise RefusedError(f'a new {self.stack[-3]!r}')

    def load_build(self) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if type(target) is np.ndarray or isinstance(target, np.dtype):
            target.__setstate__(state)
        elif type(target) in (OrderedDict, defaultdict, Counter):
            # A state dict carries its `_metadata` as an attribute.
            if not isinstance(state, dict) or set(state) - {'_metadata'}:
                raise RefusedError(f'attributes {state!r:.80} of {type(target)!r}')
            vars(target).update(state)
        elif type(target) is _lookup_loaded_history_buffer():
            _set_history_buffer(target, state)
        else:
            raise RefusedError(f'a changed {type(target).__name__} {target!r:.80}')

    def load_binpersid(self) -> None:
        key = self.stack[-1]
        # The other kind, 'module', would compare and write source files.
        if isinstance(key, tuple) and key and key[0] not in ('storage', b'storage'):
            raise RefusedError(f'a persistent {key[0]!r}')
        self.append(self.persistent_load(self.stack.pop()))

    dispatch[pickle.GLOBAL[0]] = load_global
    dispatch[pickle.REDUCE[0]] = load_reduce
    dispatch[pickle.NEWOBJ[0]] = load_newobj
    dispatch[pickle.NEWOBJ_EX[0]] = load_newobj_ex
    dispatch[pickle.BUILD[0]] = load_build
    dispatch[pickle.BINPERSID[0]] = load_binpersid


def _lookup_loaded_history_buffer() -> type | None:
    # A pickle can only hold a HistoryBuffer after `find_class` imported it.
    module = sys.modules.get('mmengine.logging.history_buffer')
    return getattr(module, 'HistoryBuffer', None)


PICKLE_MODULE = SimpleNamespace(
    __name__='sr_plugins._unpickler',
    Unpickler=_Unpickler,
    UnpicklingError=pickle.UnpicklingError,
    load=lambda file, **options: _Unpickler(file, **options).load(),
    loads=lambda data, **options: _Unpickler(io.BytesIO(data), **options).load(),
)
