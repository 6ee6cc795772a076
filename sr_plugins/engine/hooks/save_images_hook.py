"""Save what the network made of the benchmark images."""

from pathlib import Path

import cv2
from mmengine.hooks import Hook
from torch import Tensor

from ...fileio import atomic_path
from ...registry import HOOKS


@HOOKS.register_module()
class SaveImagesHook(Hook):
    """Writes every test output to `<out_dir>/<set>/<name>.png`.

    Of networks that downscale as well, also `<name>_original.png`, as it was tested,
    and `<name>_downscaled.png`.

    Args:
        out_dir: made when missing.
    """

    def __init__(self, out_dir: str) -> None:
        self.out_dir = Path(out_dir)

    def after_test_iter(
        self, runner, batch_idx: int, data_batch=None, outputs=None
    ) -> None:
        folder = self.out_dir / runner.test_loop.current
        for sample in outputs:
            name = Path(sample.metainfo['gt_path']).stem
            _write(folder / f'{name}.png', sample.output.pred_img)
            if 'lr_img' in sample.output:
                _write(folder / f'{name}_original.png', sample.gt_img)
                _write(folder / f'{name}_downscaled.png', sample.output.lr_img)


def _write(path: Path, image: Tensor) -> None:
    """Write (3, H, W) in [0, 255], BGR as mmagic gives it in tests and OpenCV takes."""
    pixels = image.cpu().clamp(0, 255).round().byte().permute(1, 2, 0).numpy()
    _, png = cv2.imencode('.png', pixels)
    with atomic_path(path) as temporary:
        temporary.write_bytes(png.tobytes())
