"""ESRN and its published recipe: 15,000 epochs of 50 steps.

The blocks are the 17 of the published example. Those of a search come by `--cfg-options
model.generator.architecture=work_dirs/esrn_search_x2/best.json`.
"""

_base_ = 'edsr_baseline.py'

model = dict(
    generator=dict(
        _delete_=True,
        type='sr_plugins.ESRN',
        mid_channels=32,
        architecture=(
            'G_8_16_24 C_8_16_16 G_4_16_24 G_8_16_16 S_4_24_32 C_8_16_48 S_4_16_24 '
            'G_6_16_24 G_8_16_16 C_8_16_24 S_8_16_16 S_8_16_24 S_8_16_32 S_6_16_16 '
            'G_6_16_64 G_8_16_16 S_8_16_32'
        ),
    )
)
param_scheduler = dict(milestones=[400_000, 600_000, 675_000, 725_000])
train_cfg = dict(max_iters=750_000)
