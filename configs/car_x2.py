"""CAR for x2, trained on DIV2K: batches of 24 crops of 96 x 96 HR pixels."""

_base_ = '_base_/car.py'

scale = 2
global_batch_size = 24
model = dict(generator=dict(scale=scale))
train_dataloader = dict(batch_size=global_batch_size, dataset=dict(scale=scale))
val_dataloader = dict(dataset=dict(scale=scale))
test_dataloader = dict(dataset=dict(scale=scale))
