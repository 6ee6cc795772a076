"""The registered metrics, in MMEngine's evaluator and behind MMagic's preprocessor."""

import json
import math
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.registry import METRICS
from PIL import Image
from skimage import data as photographs

from sr_plugins.metrics import PSNR, SSIM, LRRate, psnr, ssim


def make_images(seed, size=(40, 48)):
    rng = np.random.default_rng(seed)
    target = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    output = np.clip(target + rng.normal(0, 3 + seed, target.shape), 0, 255)
    return np.rint(output).astype(np.uint8), target


def to_tensor(image):
    return torch.from_numpy(image.copy()).permute(2, 0, 1).float()


def make_sample(seed, **changes):
    output, target = make_images(seed)
    sample = {
        'output': {'pred_img': to_tensor(output)},
        'gt_img': to_tensor(target),
        'gt_path': f'/somewhere/image{seed}.png',
        'scale': 2,
    }
    return sample | changes


def test_evaluator_gives_the_mean_under_prefixed_names():
    evaluator = Evaluator(
        [
            {'type': 'sr_plugins.PSNR', 'protocol': 'edsr_y'},
            {'type': 'sr_plugins.PSNR', 'protocol': 'rgb'},
            {'type': 'sr_plugins.SSIM', 'protocol': 'edsr_y'},
        ]
    )
    for seed in range(3):
        evaluator.process([make_sample(seed)])
    result = evaluator.evaluate(3)

    pairs = [make_images(seed) for seed in range(3)]
    assert list(result) == ['edsr_y/PSNR', 'rgb/PSNR', 'edsr_y/SSIM']
    for key, metric, protocol in (
        ('edsr_y/PSNR', psnr, 'edsr_y'),
        ('rgb/PSNR', psnr, 'rgb'),
        ('edsr_y/SSIM', ssim, 'edsr_y'),
    ):
        values = [metric(*pair, protocol, 2) for pair in pairs]
        assert result[key] == pytest.approx(sum(values) / 3, abs=1e-12)
    records = evaluator.metrics[0].records
    assert [record['name'] for record in records] == ['image0', 'image1', 'image2']
    assert records[1]['value'] == psnr(*pairs[1], 'edsr_y', 2)


def test_second_evaluation_starts_afresh():
    metric = PSNR('rgb')
    for seeds in ((0, 1), (2,)):
        metric.process(None, [make_sample(seed) for seed in seeds])
        result = metric.evaluate(len(seeds))
        assert [r['name'] for r in metric.records] == [f'image{s}' for s in seeds]
    assert result == {'rgb/PSNR': psnr(*make_images(2), 'rgb', 2)}


@pytest.mark.parametrize('order', ['rgb', 'bgr'])
def test_channel_order_behind_mmagic_preprocessor(order):
    """In testing MMagic hands out BGR whatever the pipeline loaded."""
    from mmagic.models.data_preprocessors import DataPreprocessor
    from mmagic.structures import DataSample

    output, target = make_images(4)
    if order == 'bgr':
        loaded = [image[..., ::-1] for image in (output, target)]
    else:
        loaded = [output, target]
    sample = DataSample(gt_img=to_tensor(loaded[1]))
    sample.set_metainfo(
        {
            'gt_channel_order': order,
            'img_channel_order': order,
            'gt_path': 'a.png',
            'scale': 2,
        }
    )
    preprocessor = DataPreprocessor(mean=[0.0] * 3, std=[255.0] * 3)
    data = preprocessor({'inputs': [to_tensor(loaded[0])], 'data_samples': [sample]})
    samples = data['data_samples']
    prediction = preprocessor.destruct(data['inputs'], samples)
    (sample,) = samples.split()
    sample.output = DataSample(pred_img=prediction[0])

    evaluator = Evaluator([{'type': 'sr_plugins.PSNR', 'protocol': 'edsr_y'}])
    evaluator.process([sample])
    expected = psnr(output, target, 'edsr_y', 2)
    assert evaluator.evaluate(1)['edsr_y/PSNR'] == pytest.approx(expected, abs=1e-9)
    swapped = psnr(output[..., ::-1], target[..., ::-1], 'edsr_y', 2)
    assert abs(swapped - expected) > 1e-3, 'the images cannot tell the orders apart'


def test_preprocessed_sample_without_channel_order_is_refused():
    sample = make_sample(0, gt_img_output_channel_order='BGR', gt_channel_order='rgb')
    with pytest.raises(ValueError, match=r'image0\.png to have `img_channel_order`'):
        PSNR().process(None, [sample])


def test_predictions_are_clamped_and_rounded():
    target = torch.full((3, 20, 20), 255.0)
    sample = make_sample(0, gt_img=target, output={'pred_img': target + 40.4})
    metric = PSNR('rgb')
    metric.process(None, [sample])
    assert metric.evaluate(1) == {'rgb/PSNR': math.inf}


def test_bad_samples_are_named():
    sample = make_sample(0)
    del sample['scale']
    with pytest.raises(ValueError, match=r'image0.png to have `scale`'):
        PSNR().process(None, [sample])

    sample = make_sample(0, gt_img=torch.zeros(3, 41, 48))
    with pytest.raises(
        ValueError, match=r'\(3, 40, 48\) and \(3, 41, 48\) for /somewhere/image0'
    ):
        PSNR().process(None, [sample])

    small = torch.zeros(3, 14, 40)
    sample = make_sample(0, gt_img=small, output={'pred_img': small})
    with pytest.raises(ValueError, match=r'got 14 x 40 .*image0.png'):
        SSIM().process(None, [sample])


def make_downscaled(image, order='RGB'):
    """A sample whose LR image is `image`, of an original twice as large."""
    lr = to_tensor(image if order == 'RGB' else image[..., ::-1])
    target = torch.zeros(3, 2 * lr.shape[1], 2 * lr.shape[2])
    orders = {f'{key}_channel_order': 'rgb' for key in ('img', 'gt')}
    orders['gt_img_output_channel_order'] = order
    return make_sample(0, gt_img=target, output={'lr_img': lr}, **orders)


@pytest.mark.parametrize('order', ['RGB', 'BGR'])
def test_rate_is_that_of_the_file(tmp_path, order):
    image = photographs.astronaut()[::8, ::8]
    evaluator = Evaluator(
        [
            {'type': 'sr_plugins.LRRate'},
            {'type': 'sr_plugins.LRRate', 'jpeg_quality': 90},
        ]
    )
    evaluator.process([make_downscaled(image, order)])
    rates = evaluator.evaluate(1)
    assert list(rates) == ['lr_png/bpp', 'lr_jpeg90/bpp']
    Image.fromarray(image).save(tmp_path / 'a.png', compress_level=9)
    Image.fromarray(image).save(tmp_path / 'a.jpg', quality=90, optimize=True)
    sizes = [(tmp_path / name).stat().st_size for name in ('a.png', 'a.jpg')]
    for rate, size in zip(rates.values(), sizes, strict=True):
        assert rate == 8 * size / (4 * 64 * 64)
    assert 0.5 < rates['lr_jpeg90/bpp'] < rates['lr_png/bpp'] < 24 / 4


def test_rate_of_a_network_that_does_not_downscale():
    with pytest.raises(ValueError, match=r'image0\.png to have `lr_img`'):
        LRRate().process(None, [make_sample(0)])


@pytest.mark.parametrize('quality', [0, 96])
def test_rate_at_a_quality_that_there_is_not(quality):
    with pytest.raises(
        ValueError, match=f'1 to 95, or None for PNG, but got {quality}'
    ):
        METRICS.build({'type': 'sr_plugins.LRRate', 'jpeg_quality': quality})


def test_unknown_protocol_fails_when_it_is_built():
    with pytest.raises(ValueError, match="got 'y'"):
        METRICS.build({'type': 'sr_plugins.PSNR', 'protocol': 'y'})


def test_empty_data_set_is_an_error():
    with pytest.raises(ValueError, match='at least one image'):
        PSNR().compute_metrics([])


def test_mean_does_not_depend_on_order():
    # Naive summing loses the small values beside the large one.
    values = [1e16, 1.0, -1e16, 1.0]
    records = [{'name': str(v), 'value': v} for v in values]
    assert PSNR().compute_metrics(records) == {'PSNR': 0.5}
    assert PSNR().compute_metrics(records[::-1]) == {'PSNR': 0.5}


DISTRIBUTED = """
import json, sys
import torch.distributed as dist
sys.path.insert(0, {folder!r})
from test_sr_metrics import make_sample
from sr_plugins.metrics import PSNR

rank = int(sys.argv[1])
dist.init_process_group('gloo', {init!r}, rank=rank, world_size=2)
metric = PSNR('edsr_y')
# The sampler repeats the first image so that both ranks have three.
metric.process(None, [make_sample(i % 5) for i in range(rank, 6, 2)])
result = metric.evaluate(5)
if rank == 0:
    print(json.dumps([result, metric.records]))
dist.barrier()
dist.destroy_process_group()
"""


def test_two_processes_give_exactly_the_result_of_one():
    single = PSNR('edsr_y')
    single.process(None, [make_sample(i) for i in range(5)])
    expected = single.evaluate(5)

    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    code = DISTRIBUTED.format(
        folder=str(Path(__file__).parent),
        init=f'tcp://127.0.0.1:{port}',
    )
    ranks = [
        subprocess.Popen(
            [sys.executable, '-c', code, str(rank)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    outputs = [rank.communicate(timeout=60) for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], outputs
    result, records = json.loads(outputs[0][0].splitlines()[-1])
    assert result == expected
    assert records == single.records
