"""Training in two processes, and the launcher where there is an accelerator."""

import json
from pathlib import Path

import pytest
import torch

TINY = Path(__file__).with_name('tiny_runner.py')


@pytest.mark.skipif(torch.cuda.is_available(), reason='needs a machine without a GPU')
def test_two_processes_train_without_a_gpu(python, tmp_path):
    result = python(
        '',
        module=(
            'torch.distributed.run',
            '--nproc_per_node=2',
            '--master_addr=127.0.0.1',
            f'--master_port={free_port()}',
            str(TINY),
            str(tmp_path),
            '--launcher=pytorch',
            '--epochs=1',
        ),
        environment={'OMP_NUM_THREADS': '1'},
    )
    assert result.returncode == 0, result.stderr
    states = [
        json.loads((tmp_path / f'state_{rank}.json').read_text()) for rank in (0, 1)
    ]
    assert states[0]['backend'] == states[1]['backend'] == 'gloo'
    assert states[0]['wrapper'] == 'MMDistributedDataParallel'
    # The processes saw different data, so equal weights mean averaged gradients.
    assert states[0]['weight'] == states[1]['weight']
    losses = [state['history']['train/loss'][0] for state in states]
    assert losses[0] != losses[1]
    assert (tmp_path / 'epoch_1.pth').exists()


def test_machines_with_an_accelerator_are_left_alone(passes):
    passes(
        """
        import os
        import sr_plugins.compat
        import mmengine.device, torch
        from mmengine.dist import utils
        from mmengine.model.wrappers import distributed

        calls = []
        os.environ.update(RANK='0', LOCAL_RANK='1', WORLD_SIZE='1')
        torch.cuda.set_device = lambda rank: calls.append(rank)
        utils.torch_dist.init_process_group = lambda **options: calls.append(options)
        parent = distributed.DistributedDataParallel
        parent.__init__ = lambda self, module, **options: calls.append(options)

        mmengine.device.get_device = lambda: 'cuda'
        repair = next(
            r for r in sr_plugins.compat.REPAIRS if 'distributed' in r.name
        )
        assert not repair.needed()
        utils.init_dist('pytorch', backend='nccl')
        assert calls == [1, {'backend': 'nccl'}], calls
        try:
            distributed.MMDistributedDataParallel(torch.nn.Linear(1, 1), device_ids=[1])
        except AttributeError:
            pass  # The stub has not made it a module.
        assert calls[-1] == {'device_ids': [1]}, calls

        calls.clear()
        mmengine.device.get_device = lambda: 'cpu'
        assert repair.needed()
        utils.init_dist('pytorch', backend='nccl', timeout=60)
        assert len(calls) == 1 and calls[0]['backend'] == 'gloo', calls
        assert calls[0]['timeout'].total_seconds() == 60
        """
    )


def free_port():
    import socket

    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        return listener.getsockname()[1]
