"""A step of training in BasicSR's models and in mmagic's, from one seed and batch."""

import copy

import pytest
import torch
from basicsr.models import build_model
from basicsr.utils.registry import MODEL_REGISTRY
from mmagic.structures import DataSample
from mmengine.optim import OptimWrapper

import sr_plugins.basicsr_plugin  # noqa: F401  (registers)
from sr_plugins.registry import MODELS

STEPS = 3
L1 = {'type': 'L1Loss', 'loss_weight': 1.0, 'reduction': 'mean'}
NETWORKS = {
    'EDSR_sr_plugins': {'scale': 2, 'mid_channels': 8, 'num_blocks': 2},
    'CSNLN': {'scale': 2, 'mid_channels': 8, 'num_recurrences': 2},
    'ESRN': {'scale': 2, 'mid_channels': 16, 'architecture': 'G_2_8_16 S_2_8_16'},
    'USN': {'scale': 2, 'mid_channels': 8, 'num_blocks': 2},
}
CAR = {
    'scale': 2,
    'downscaler': {'mid_channels': 8, 'num_blocks': 1},
    'upscaler': {'mid_channels': 8, 'num_blocks': 1},
}
CAR_LOSSES = {'offset': {'type': 'OffsetLoss'}, 'tv': {'type': 'PartialTVLoss'}}


def batches(scale=2, size=12):
    """uint8 images of LR and HR."""
    draw = torch.Generator().manual_seed(5)
    for _ in range(STEPS):
        yield [
            torch.randint(0, 256, (2, 3, side, side), generator=draw, dtype=torch.uint8)
            for side in (size, size * scale)
        ]


def basicsr_model(name, network, model_type='SRModel', **train):
    torch.manual_seed(0)
    options = {
        'model_type': model_type,
        'num_gpu': 0,
        'dist': False,
        'is_train': True,
        'network_g': {'type': name, **network},
        'path': {},
        'train': {
            'ema_decay': 0.999,
            'optim_g': {'type': 'Adam', 'lr': 1e-4, 'betas': [0.9, 0.999]},
            'scheduler': {'type': 'MultiStepLR', 'milestones': [100], 'gamma': 0.5},
            'pixel_opt': L1,
            **train,
        },
    }
    before = copy.deepcopy(options)
    model = build_model(options)
    assert options == before, "BasicSR's models change their own copy"
    return model


def mmagic_model(name, network, model_type='sr_plugins.SRModel', **losses):
    torch.manual_seed(0)
    return MODELS.build(
        {
            'type': model_type,
            'generator': {
                'type': f'sr_plugins.{name.removesuffix("_sr_plugins")}',
                **network,
            },
            'pixel_loss': {**L1, 'type': 'mmagic.L1Loss'},
            'data_preprocessor': {
                'type': 'mmagic.DataPreprocessor',
                'mean': [0.0] * 3,
                'std': [255.0] * 3,
            },
            **losses,
        }
    )


def basicsr_losses(model, size=12):
    for iteration, (lq, gt) in enumerate(batches(size=size), 1):
        model.update_learning_rate(iteration)
        # As img2tensor gives them.
        model.feed_data({'lq': lq.float() / 255, 'gt': gt.float() / 255})
        model.optimize_parameters(iteration)
        yield model.get_current_log()


def mmagic_losses(model, size=12, is_car=False):
    wrapper = OptimWrapper(torch.optim.Adam(model.parameters(), 1e-4, (0.9, 0.999)))
    for lq, gt in batches(size=size):
        data = {
            'inputs': list(gt if is_car else lq),
            'data_samples': [DataSample(gt_img=image) for image in gt],
        }
        yield {k: float(v) for k, v in model.train_step(data, wrapper).items()}


@pytest.mark.parametrize('name', NETWORKS)
def test_losses_and_weights_are_the_same(name):
    ours = mmagic_model(name, NETWORKS[name])
    theirs = basicsr_model(name, NETWORKS[name])
    found = [losses['l_pix'] for losses in basicsr_losses(theirs)]
    expected = [losses['loss'] for losses in mmagic_losses(ours)]
    assert found == pytest.approx(expected, rel=1e-6)
    assert len(set(found)) == STEPS, 'a step that changed nothing'
    for a, b in zip(
        ours.generator.parameters(), theirs.net_g.parameters(), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


def test_car_has_all_its_losses():
    ours = mmagic_model(
        'CAR',
        CAR,
        'sr_plugins.CARModel',
        offset_loss=CAR_LOSSES['offset'],
        tv_loss=CAR_LOSSES['tv'],
    )
    options = {f'{name}_opt': loss for name, loss in CAR_LOSSES.items()}
    theirs = basicsr_model('CAR', CAR, 'CARModel', **options)
    assert MODEL_REGISTRY.get('CARModel') is type(theirs)
    found = list(basicsr_losses(theirs, size=16))
    expected = list(mmagic_losses(ours, size=16, is_car=True))
    names = {'l_pix': 'loss_pixel', 'l_offset': 'loss_offset', 'l_tv': 'loss_tv'}
    for mine, other in zip(found, expected, strict=True):
        for name, other_name in names.items():
            assert mine[name] == pytest.approx(other[other_name], rel=1e-5, abs=1e-9)
    averaged = next(theirs.net_g_ema.parameters())
    assert not torch.equal(averaged, next(theirs.net_g.parameters()))


def test_car_refuses_what_it_would_ignore():
    with pytest.raises(ValueError, match='no `perceptual_opt`'):
        basicsr_model('CAR', CAR, 'CARModel', perceptual_opt={'type': 'PerceptualLoss'})
