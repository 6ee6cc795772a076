"""Let mmengine read its own checkpoints, without running what is in them.

Symptom: resuming raises "Weights only load failed ... HistoryBuffer"; with torch
< 2.6 the same call runs any code in the file.
Needed by: mmengine <= 0.10.7, with every torch.
Repair: local files, remote files and downloads are read by
`sr_plugins.fileio.torch_load`, and the plain values that `checkpoint_writing` stores
become history buffers again.
"""

import importlib.util
import io
import os
from functools import wraps
from types import ModuleType
from typing import Any
from urllib.parse import urlparse

from . import _import_hook
from ._repair import Repair

__all__ = ['REPAIR']


def _repair_loading(module: ModuleType) -> None:
    from sr_plugins import fileio

    from ._checkpoint_values import unpack

    loader = module.CheckpointLoader
    stock = loader.load_checkpoint.__func__
    if getattr(stock, '__wrapped__', None) is not None:
        return

    @wraps(stock)
    def load_checkpoint(
        cls: type, filename: str, map_location: Any = None, logger: Any = 'current'
    ) -> Any:
        return unpack(stock(cls, filename, map_location, logger))

    def load_from_local(filename: str, map_location: Any = None) -> Any:
        return fileio.torch_load(filename, map_location)

    def load_from_ceph(
        filename: str, map_location: Any = None, backend: str = 'petrel'
    ) -> Any:
        client = module.get_file_backend(filename, backend_args={'backend': backend})
        return fileio.torch_load(io.BytesIO(client.get(filename)), map_location)

    def load_url(
        url: str,
        model_dir: str | None = None,
        map_location: Any = None,
        progress: bool = True,
    ) -> Any:
        import torch

        folder = model_dir or os.path.join(torch.hub.get_dir(), 'checkpoints')
        path = os.path.join(folder, os.path.basename(urlparse(url).path))
        if not os.path.exists(path):
            with fileio.atomic_path(path) as temporary:
                torch.hub.download_url_to_file(url, str(temporary), progress=progress)
        return fileio.torch_load(path, map_location)

    loader.load_checkpoint = classmethod(load_checkpoint)
    module.load_from_local = load_from_local
    module.load_from_ceph = load_from_ceph
    loader.register_scheme('', load_from_local, force=True)
    loader.register_scheme(
        [r'(\S+\:)?s3://', r'(\S+\:)?petrel://'], load_from_ceph, force=True
    )
    # load_from_http, and all schemes that come down to it, look this name up.
    module.load_url = load_url


def _needed() -> bool:
    return importlib.util.find_spec('mmengine') is not None


def _install() -> None:
    _import_hook.after('mmengine.runner.checkpoint', _repair_loading)


REPAIR = Repair(
    name='checkpoint loading',
    symptom='resume: Weights only load failed ... HistoryBuffer',
    versions='mmengine <= 0.10.7',
    needed=_needed,
    install=_install,
)
