"""The full EDSR (32 x 256) for x2, trained on DIV2K."""

_base_ = ['_base_/edsr.py', '_base_/div2k.py', '_base_/runtime.py']

scale = 2
model = dict(generator=dict(scale=scale))
train_dataloader = dict(dataset=dict(scale=scale))
val_dataloader = dict(dataset=dict(scale=scale))
test_dataloader = dict(dataset=dict(scale=scale))
