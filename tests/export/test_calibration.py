"""Training images to calibrate with: parts of those files that a network takes."""

import numpy as np
import pytest
from inference.tiny import CAR, write_config
from PIL import Image

from sr_plugins.engine import load_config
from sr_plugins.export import calibration_images


@pytest.fixture
def load(tmp_path, tiny_data):
    def load(base='edsr_baseline_x2', scale=None, **generator):
        config = write_config(tmp_path, base, **generator)
        return load_config(config, data_root=str(tiny_data), scale=scale)

    return load


def files(folder):
    return [np.asarray(Image.open(path)) for path in sorted(folder.iterdir())]


def origin(image, photos):
    """Which of the photographs an image is a part of."""
    part = np.round(image[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    for i, photo in enumerate(photos):
        windows = np.lib.stride_tricks.sliding_window_view(photo, part.shape)
        if (windows == part).all(axis=(2, 3, 4, 5)).any():
            return i
    return None


def test_parts_of_lr_images(load, tiny_data):
    photos = files(tiny_data / 'DIV2K/DIV2K_train_LR_bicubic/X2')
    images = calibration_images(load(), count=10, size=12)
    assert {image.shape for image in images} == {(1, 3, 12, 12)}
    origins = [origin(image, photos) for image in images]
    # Each once before any comes again.
    assert sorted(origins[:4]) == sorted(origins[4:8]) == [0, 1, 2, 3]
    assert len({x.numpy().tobytes() for x in images}) > 4
    again = calibration_images(load(), count=10, size=12)
    assert all((a == b).all() for a, b in zip(images, again, strict=True))


def test_small_images_are_taken_whole(load, tiny_data):
    photos = files(tiny_data / 'DIV2K/DIV2K_train_LR_bicubic/X2')
    (image,) = calibration_images(load(), count=1, size=1000)
    assert image.shape[2:] in {photo.shape[:2] for photo in photos}
    assert origin(image, photos) is not None


def test_hr_images_for_car(load, tiny_data):
    photos = files(tiny_data / 'DIV2K/DIV2K_train_HR')
    images = calibration_images(load('car_x2', **CAR), count=2, size=24)
    assert None not in [origin(image, photos) for image in images]


def test_one_of_several_scales(load, tiny_data):
    photos = files(tiny_data / 'DIV2K/DIV2K_train_LR_bicubic/X3')
    cfg = load('mdsr_baseline', scale=3)
    images = calibration_images(cfg, count=4, size=9)
    assert sorted(origin(image, photos) for image in images) == [0, 1, 2, 3]


def test_mistakes(load):
    for options in ({'count': 0}, {'size': 0}):
        with pytest.raises(ValueError, match='at least one'):
            calibration_images(load(), **options)
    cfg = load()
    cfg.pop('train_dataloader')
    with pytest.raises(ValueError, match='with training images'):
        calibration_images(cfg)
