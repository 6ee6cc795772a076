"""A search among small networks that takes some minutes on a CPU.

The photographs come from `python tools/prepare_data.py demo`.
"""

_base_ = 'esrn_search_x2.py'

data_root = 'data/demo'
global_batch_size = 8
train_pipeline = _base_.train_pipeline
train_pipeline[0].update(cache=True)
train_pipeline[1].update(lr_patch_size=24)
train_dataloader = dict(
    batch_size=global_batch_size,
    num_workers=0,
    dataset=dict(data_root=data_root, pipeline=train_pipeline),
)
val_dataloader = dict(num_workers=0, dataset=dict(data_root=data_root))
test_dataloader = dict(dataset=dict(data_root=data_root))

optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = dict(milestones=[200, 300])
train_cfg = dict(epochs=8, epoch_length=50)
custom_hooks = _base_.custom_hooks
custom_hooks[0].update(
    range=dict(node_num=6, min_active=3, min_params=60_000, max_params=90_000),
    policy=dict(num_generation=4, num_individual=6, num_elitism=3, mutation_rate=0.2),
)
custom_hooks[0].search_space.update(conv_num=[2, 4], conv_prob=[1, 1])
