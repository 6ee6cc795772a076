"""What every run has: logs, checkpoints, EMA, pictures."""

default_scope = 'mmagic'

default_hooks = dict(
    timer=dict(type='mmengine.IterTimerHook'),
    logger=dict(type='LoggerHook', interval=100, log_metric_by_epoch=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(
        type='sr_plugins.CheckpointHook', interval=5000, save_best='edsr_y/PSNR'
    ),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    # Every fifth validation image.
    visualization=dict(type='BasicVisualizationHook', interval=5, on_test=False),
)
custom_hooks = [
    # BasicSR's decay of 0.999, with a warm-up that forgets the initial weights.
    dict(type='EMAHook', ema_type='MomentumAnnealingEMA', momentum=0.001, gamma=100),
    dict(type='sr_plugins.LearningCurveHook'),
]

env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)
randomness = dict(seed=0)

log_level = 'INFO'
log_processor = dict(type='sr_plugins.LogProcessor', window_size=100, by_epoch=False)
vis_backends = [dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')]
visualizer = dict(
    type='ConcatImageVisualizer',
    vis_backends=vis_backends,
    fn_key='gt_path',
    img_keys=['input', 'pred_img', 'gt_img'],
    bgr2rgb=True,
)

load_from = None
resume = False
