"""ESRN for x3, trained on DIV2K."""

_base_ = ['_base_/esrn.py', '_base_/div2k.py', '_base_/runtime.py']

scale = 3
lr_patch_size = 64
model = dict(generator=dict(scale=scale))
train_pipeline = _base_.train_pipeline
train_pipeline[1].update(lr_patch_size=lr_patch_size)
train_dataloader = dict(dataset=dict(scale=scale, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(scale=scale))
test_dataloader = dict(dataset=dict(scale=scale))
