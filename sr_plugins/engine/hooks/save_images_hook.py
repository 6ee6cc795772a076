"""Save what the network made of the benchmark images."""

from pathlib import Path

import cv2
from mmengine.hooks import Hook

from ...fileio import atomic_path
from ...registry import HOOKS


@HOOKS.register_module()
class SaveImagesHook(Hook):
    """Writes every test output to `<out_dir>/<set>/<name>.png`.

    Args:
        out_dir: made when missing.
    """

    def __init__(self, out_dir: str) -> None:
        self.out_dir = Path(out_dir)

    def after_test_iter(
        self, runner, batch_idx: int, data_batch=None, outputs=None
    ) -> None:
        for sample in outputs:
            # mmagic gives test outputs as BGR in [0, 255], which is OpenCV's order.
            image = sample.output.pred_img.clamp(0, 255).round().byte()
            _, png = cv2.imencode('.png', image.permute(1, 2, 0).numpy())
            name = f'{Path(sample.metainfo["gt_path"]).stem}.png'
            with atomic_path(self.out_dir / runner.test_loop.current / name) as path:
                path.write_bytes(png.tobytes())
