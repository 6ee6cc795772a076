"""The packages of the extra `onnx`, which the rest of the package does without."""

import importlib
from types import ModuleType


def require(name: str) -> ModuleType:
    """Import one of them.

    Raises:
        ImportError: with what to install.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f'Expected the package {name.partition(".")[0]} for ONNX files, but got '
            f"{str(error)!r}. Install the extra: pip install -e '.[onnx]'."
        ) from error
