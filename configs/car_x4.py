"""CAR for x4, trained on DIV2K: batches of 16 crops of 192 x 192 HR pixels."""

_base_ = '_base_/car.py'

scale = 4
global_batch_size = 16
model = dict(generator=dict(scale=scale))
train_dataloader = dict(batch_size=global_batch_size, dataset=dict(scale=scale))
val_dataloader = dict(dataset=dict(scale=scale))
test_dataloader = dict(dataset=dict(scale=scale))
