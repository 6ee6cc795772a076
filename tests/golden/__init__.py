"""Outputs of the authors' networks on weights and inputs that a fixed rule makes.

`cases.json` lists each network's state dict under the published names (key -> shape);
`state_dict` fills it. `golden.npz` holds what the published code computed from it in
float64. Cases marked [0,255] took 255 times the image and gave outputs in that range.
"""

import json
import zlib
from pathlib import Path

import numpy as np
import torch

_FOLDER = Path(__file__).parent
CASES = json.loads((_FOLDER / 'cases.json').read_text())


def state_dict(name):
    """Float32 tensors under the published keys."""
    case = CASES[name]
    return {
        key: torch.from_numpy(_value(key, shape, case))
        for key, shape in case['state'].items()
    }


def _value(key, shape, case):
    if key in case['kept']:
        return np.asarray(case['kept'][key], np.float32).reshape(shape)
    seed = [zlib.crc32(key.encode()), case['salt']]
    value = np.random.default_rng(seed).standard_normal(shape)
    if len(shape) >= 2:
        value *= np.sqrt(1.0 / np.prod(shape[1:]))
    elif tuple(shape) == (1,):
        value = np.full(shape, 0.25)
    else:
        value *= 0.05
    return value.astype(np.float32)


def image(name):
    """Input (n, 3, h, w), RGB in [0, 1], float32."""
    case = CASES[name]
    shape = (case.get('n', 1), 3, case['h'], case['w'])
    rng = np.random.default_rng(case['seed'])
    return torch.from_numpy(rng.random(shape).astype(np.float32))


def expected(name):
    """Outputs as float64 tensors: `y`, or one entry a map."""
    with np.load(_FOLDER / 'golden.npz') as data:
        return {
            key.split('/', 1)[1]: torch.from_numpy(np.asarray(data[key]))
            for key in data.files
            if key.startswith(f'{name}/')
        }


def relative_error(output, target):
    """Largest deviation over the largest magnitude, rounding of `target` left out.

    Most outputs are stored in float32: half a unit in the last place of each stored
    number is no deviation, so a float64 result can be held to better than that.
    """
    half_ulp = 2.0**-24 if target.dtype == torch.float32 else 0.0
    target = target.double()
    deviation = (output.double() - target).abs() - half_ulp * target.abs()
    return float(deviation.max() / target.abs().max())
