"""DIV2K for training (0001-0800) and validation (0801-0810), all sets for testing.

Configs set `scale` in each data set; folders and patches follow from it.
"""

# Where training images come from: 'folder', or 'lmdb', which tools/create_lmdb.py makes
# of the folders. The samples are the same; 'lmdb' reads a crop without its image.
data = 'folder'
data_root = 'data'
lr_patch_size = 48
global_batch_size = 16

load = dict(type='sr_plugins.LoadImagePair')
pack = dict(type='sr_plugins.PackImagePair', meta_keys=['scale'])
pair = ['img', 'gt']
train_pipeline = [
    load,
    dict(type='sr_plugins.PairedRandomCrop', lr_patch_size=lr_patch_size),
    dict(type='Flip', keys=pair, flip_ratio=0.5, direction='horizontal'),
    dict(type='Flip', keys=pair, flip_ratio=0.5, direction='vertical'),
    dict(type='RandomTransposeHW', keys=pair, transpose_ratio=0.5),
    pack,
]
test_pipeline = [load, pack]
inference_pipeline = test_pipeline

train_dataloader = dict(
    batch_size=global_batch_size,
    num_workers=8,
    persistent_workers=True,
    drop_last=True,
    collate_fn=dict(type='sr_plugins.stack_batch'),
    sampler=dict(type='sr_plugins.ResumableSampler'),
    dataset=dict(
        type='sr_plugins.PairedFolderDataset',
        data_root=data_root,
        hr='DIV2K/DIV2K_train_HR',
        lr='DIV2K/DIV2K_train_LR_bicubic/X{scale}',
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    num_workers=2,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='sr_plugins.PairedFolderDataset',
        data_root=data_root,
        hr='DIV2K/DIV2K_valid_HR',
        lr='DIV2K/DIV2K_valid_LR_bicubic/X{scale}',
        indices=10,
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
# The test loop puts the folders of each benchmark set in place of these.
test_dataloader = val_dataloader

val_evaluator = [
    dict(type='sr_plugins.PSNR', protocol='edsr_y'),
    dict(type='sr_plugins.SSIM', protocol='edsr_y'),
    dict(type='sr_plugins.PSNR', protocol='rgb'),
    dict(type='sr_plugins.SSIM', protocol='rgb'),
]
test_evaluator = val_evaluator
val_cfg = dict()
test_cfg = dict(type='sr_plugins.BenchmarkLoop')
