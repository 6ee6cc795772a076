"""ESR-EA: the published search for ESRN-V, of 20 generations of 8 networks.

Each is trained for 500 epochs of 50 steps, and scored on the 100 validation images.
"""

_base_ = ['esrn.py', 'div2k.py', 'runtime.py']

train_pipeline = _base_.train_pipeline
train_pipeline[1].update(lr_patch_size=64)
# `lr_patch_size` of the crop makes validation quicker: None takes whole images.
val_pipeline = [
    _base_.load,
    dict(type='sr_plugins.PairedCenterCrop', lr_patch_size=None),
    _base_.pack,
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(indices=None, pipeline=val_pipeline))
val_evaluator = [dict(type='sr_plugins.PSNR', protocol='edsr_y')]

param_scheduler = dict(milestones=[5000, 10_000])
train_cfg = dict(
    _delete_=True, type='sr_plugins.EvolutionSearchLoop', epochs=500, epoch_length=50
)
custom_hooks = [
    dict(
        type='sr_plugins.ESREAHook',
        search_space=dict(
            block_type=['S', 'G', 'C'],
            conv_num=[4, 6, 8],
            growth_rate=[8, 16, 24, 32],
            type_prob=[1, 1, 1],
            conv_prob=[1, 1, 1],
            growth_prob=[1, 1, 1, 1],
            G0=_base_.model.generator.mid_channels,
        ),
        range=dict(node_num=20, min_active=16, min_params=315_000, max_params=325_000),
        policy=dict(
            num_generation=20,
            num_individual=8,
            num_elitism=4,
            mutation_rate=0.05,
            guided=True,
        ),
    )
]
# Candidates leave no checkpoints or pictures.
default_hooks = dict(_delete_=True, checkpoint=None)
randomness = dict(seed=10)
