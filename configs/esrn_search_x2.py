"""Search for the blocks of ESRN for x2, on DIV2K."""

_base_ = '_base_/esrn_search.py'

scale = 2
model = dict(generator=dict(scale=scale))
train_dataloader = dict(dataset=dict(scale=scale))
val_dataloader = dict(dataset=dict(scale=scale))
test_dataloader = dict(dataset=dict(scale=scale))
custom_hooks = _base_.custom_hooks
custom_hooks[0].search_space.scale = scale
