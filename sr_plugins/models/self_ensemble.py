"""The eight poses of an image, for self-ensemble (x8)."""

import numpy as np

# Whether to transpose, and to flip rows and columns after that.
POSES = tuple(
    (transposed, rows, columns)
    for transposed in (False, True)
    for rows in (False, True)
    for columns in (False, True)
)


def in_pose(image: np.ndarray, pose: tuple[bool, bool, bool]) -> np.ndarray:
    """Turn or mirror (..., H, W), without copying: what is written to it, turns back.

    The mean of a network's outputs of all poses, each turned back, is that of Timofte
    et al., CVPR 2016, https://arxiv.org/abs/1511.02228, section 3.6, and of EDSR+.
    """
    transposed, rows, columns = pose
    if transposed:
        image = image.swapaxes(-1, -2)
    return image[..., :: -1 if rows else 1, :: -1 if columns else 1]
