"""A training of two numbers with mmengine's Runner: `tiny_runner.py WORK_DIR ...`."""

import argparse
import json
import os
import sys


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('work_dir')
    parser.add_argument('--stock', action='store_true', help='without the repairs')
    parser.add_argument('--epochs', type=int, default=2)
    parser.add_argument('--resume', action='store_true')
    parser.add_argument('--launcher', default='none')
    parser.add_argument('--fail-saving', action='store_true')
    args = parser.parse_args()
    if not args.stock:
        import sr_plugins.compat  # noqa: F401

    import numpy as np
    import torch

    if args.stock:
        declare_torchvision_operators()
    from mmengine.config import Config
    from mmengine.model import BaseModel
    from mmengine.registry import DATASETS, MODELS
    from mmengine.runner import Runner

    @MODELS.register_module()
    class TinyModel(BaseModel):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(2, 1)

        def forward(self, inputs, mode='tensor'):
            return {'loss': self.layer(torch.stack(list(inputs))).square().mean()}

    @DATASETS.register_module()
    class TinyDataset(torch.utils.data.Dataset):
        def __init__(self):
            self.metainfo = {'mean': np.float64(0.5), 'palette': np.eye(2)}

        def __len__(self):
            return 4

        def __getitem__(self, index):
            return {'inputs': torch.full((2,), float(index))}

    config = Config(
        {
            'model': {'type': 'TinyModel'},
            'work_dir': args.work_dir,
            'train_dataloader': {
                'batch_size': 2,
                'num_workers': 0,
                'sampler': {'type': 'DefaultSampler', 'shuffle': False},
                'dataset': {'type': 'TinyDataset'},
            },
            'train_cfg': {'by_epoch': True, 'max_epochs': args.epochs},
            'optim_wrapper': {'optimizer': {'type': 'Adam', 'lr': 0.1}},
            'param_scheduler': {'type': 'MultiStepLR', 'milestones': [1]},
            'default_hooks': {
                'checkpoint': {
                    'type': 'CheckpointHook',
                    'interval': 1,
                    'max_keep_ckpts': 1,
                }
            },
            'env_cfg': {'dist_cfg': {'backend': 'nccl'}},
            'randomness': {'seed': 0},
            'launcher': args.launcher,
            'resume': args.resume,
        }
    )
    runner = Runner.from_cfg(config)
    resumed = {}
    if args.resume:
        stock = runner.resume

        def resume(*arguments, **options):
            stock(*arguments, **options)
            resumed.update(history(runner))

        runner.resume = resume
    if args.fail_saving:
        from sr_plugins import fileio

        def fail(*arguments):
            raise OSError('no space left')

        fileio.torch_save = fail
    runner.train()
    state = {
        'history': history(runner),
        'resumed': resumed,
        'weight': runner.model.state_dict().popitem()[1].tolist(),
        'wrapper': type(runner.model).__name__,
        'backend': torch.distributed.get_backend()
        if torch.distributed.is_initialized()
        else None,
    }
    rank = os.environ.get('RANK', '0')
    with open(os.path.join(args.work_dir, f'state_{rank}.json'), 'w') as file:
        json.dump(state, file)
    if torch.distributed.is_initialized():
        # Else its threads can bring down a process that is done.
        torch.distributed.destroy_process_group()


def declare_torchvision_operators():
    # mmengine imports torchvision, and without this one repair a build that does not
    # fit torch would hide what the test is about.
    import torch

    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        schema = '(Tensor dets, Tensor scores, float iou_threshold) -> Tensor'
        for name in ('nms', 'qnms'):
            torch.library.define(f'torchvision::{name}', schema)


def history(runner):
    return {
        key: [values.tolist() for values in buffer.data]
        for key, buffer in runner.message_hub.log_scalars.items()
        # Times of day differ between runs, and are not what is resumed.
        if 'time' not in key
    }


if __name__ == '__main__':
    sys.exit(main())
