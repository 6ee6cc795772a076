"""Plain values for what mmengine keeps in a checkpoint beside the weights."""

from typing import Any

import numpy as np

__all__ = ['pack', 'unpack']

# The key that marks a dict as one of ours, and its value the kind of object.
MARKER = '__sr_plugins__'
PARTS = ('message_hub', 'meta')


def pack(checkpoint: Any) -> Any:
    """Return `checkpoint` with plain values for history buffers and numpy objects.

    A stock torch then reads the file with `weights_only=True`. Only the message hub
    and the meta information hold such objects; tensors elsewhere are left alone, and
    so is the argument.
    """
    return _convert(checkpoint, _pack)


def unpack(checkpoint: Any) -> Any:
    """Undo `pack`; leaves what stock mmengine saved as it is."""
    return _convert(checkpoint, _unpack)


def _convert(checkpoint: Any, convert: Any) -> Any:
    if not isinstance(checkpoint, dict):
        return checkpoint
    converted = checkpoint.copy()
    for part in PARTS:
        if part in checkpoint:
            converted[part] = convert(checkpoint[part])
    return converted


def _pack(value: Any) -> Any:
    from mmengine.logging import HistoryBuffer

    if isinstance(value, HistoryBuffer):
        log, count = value.data
        return {
            MARKER: 'HistoryBuffer',
            'max_length': value.max_length,
            'log': _pack(np.asarray(log)),
            'count': _pack(np.asarray(count)),
        }
    if isinstance(value, np.generic) and not isinstance(value, np.void):
        return value.item()
    if isinstance(value, np.ndarray) and value.dtype.kind in 'biufcU':
        return {
            MARKER: 'ndarray',
            'dtype': value.dtype.str,
            'shape': list(value.shape),
            'values': value.ravel().tolist(),
        }
    return _walk(value, _pack)


def _unpack(value: Any) -> Any:
    from mmengine.logging import HistoryBuffer

    if not isinstance(value, dict) or MARKER not in value:
        return _walk(value, _unpack)
    if value[MARKER] == 'ndarray':
        return np.array(value['values'], value['dtype']).reshape(value['shape'])
    if value[MARKER] == 'HistoryBuffer':
        buffer = HistoryBuffer(max_length=value['max_length'])
        # Not through the constructor, which copies and may warn of the length.
        buffer._log_history = _unpack(value['log'])
        buffer._count_history = _unpack(value['count'])
        return buffer
    raise ValueError(
        f'Expected a packed value to be an ndarray or a HistoryBuffer, but got '
        f'{value[MARKER]!r}. Load the file with the version that saved it'
    )


def _walk(value: Any, convert: Any) -> Any:
    # Exact types: a subclass may take other constructor arguments.
    if type(value) in (list, tuple, set):
        return type(value)(convert(item) for item in value)
    if isinstance(value, dict):
        walked = value.copy()
        for key, item in value.items():
            walked[key] = convert(item)
        return walked
    return value
