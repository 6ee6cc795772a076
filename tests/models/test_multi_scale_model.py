"""MDSR in a mmagic model: the scale of a step is that of its batch."""

import pytest
import torch
from mmagic.structures import DataSample

from sr_plugins.registry import MODELS


@pytest.fixture
def model():
    torch.manual_seed(0)
    return MODELS.build(
        {
            'type': 'sr_plugins.MultiScaleModel',
            'generator': {
                'type': 'sr_plugins.MDSR',
                'mid_channels': 8,
                'num_blocks': 1,
                'scale': 3,
            },
            'pixel_loss': {'type': 'mmagic.L1Loss'},
            'data_preprocessor': {
                'type': 'mmagic.DataPreprocessor',
                'mean': [0.0] * 3,
                'std': [255.0] * 3,
            },
        }
    )


def batch(*scales):
    generator = torch.Generator().manual_seed(1)
    samples = []
    for scale in scales:
        size = 5 * max(scales)
        image = torch.randint(256, (3, size, size), generator=generator)
        sample = DataSample(gt_img=image.to(torch.uint8))
        if scale:
            sample.set_metainfo({'scale': scale})
        samples.append(sample)
    lr = torch.randint(256, (len(scales), 3, 5, 5), generator=generator)
    return {'inputs': list(lr.to(torch.uint8)), 'data_samples': samples}


@pytest.mark.parametrize('scale', [2, 3, 4])
def test_a_step_trains_the_scale_of_its_batch(model, scale):
    data = model.data_preprocessor(batch(scale, scale), True)
    loss = model(**data, mode='loss')['loss']
    output = model.generator(data['inputs'], scale)
    expected = (output - data['data_samples'].gt_img).abs().mean()
    torch.testing.assert_close(loss, expected)
    loss.backward()
    trained = {
        branch
        for branch in range(3)
        if model.generator.upsample[branch][0].upsample_conv.weight.grad is not None
    }
    assert trained == {scale - 2}
    assert model.generator.scale == 3, 'a step does not choose for inference'


@pytest.mark.parametrize(('scales', 'found'), [((2, 4), r'\[2, 4\]'), ((0, 0), 'none')])
def test_a_batch_has_one_scale(model, scales, found):
    data = model.data_preprocessor(
        {**batch(*scales), 'data_samples': batch(*scales)['data_samples']}, True
    )
    with pytest.raises(ValueError, match=f'one scale for MDSR, but got {found}'):
        model(**data, mode='loss')


@torch.no_grad()
def test_inference_is_at_the_scale_of_the_network(model):
    data = model.data_preprocessor(batch(3))
    (sample,) = model(**data, mode='predict')
    exact = 255 * model.generator(data['inputs'], 3)[0].clamp(0, 1)
    assert sample.output.pred_img.shape == (3, 15, 15)
    torch.testing.assert_close(sample.output.pred_img, exact, rtol=0, atol=1e-3)
    other = model.data_preprocessor(batch(2))
    with pytest.raises(ValueError, match=r'for x3, .* but got some for x2\. Set'):
        model(**other, mode='predict')
