"""How other packages name the weights of our networks, and which images they expect.

A dialect is recognised by its key names, renamed by a table of patterns, and brought
from its image range to ours by folding the factor into the outer convolutions:
a network f of range r equals ours when the first weight is multiplied by r and the
last weight and bias are divided by r (biases inside stay as they are). Where nothing
but convolutions and ReLU lies between, dividing every bias by r does the same and
leaves the weights alone. From BGR to RGB, the outer weights change places.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..layers import DIV2K_MEAN

State = Mapping[str, Tensor]

# Stored by the published code; constants of the network here.
_MEAN_SHIFT = ('sub_mean.', 'add_mean.')
_CONSTANTS = (*_MEAN_SHIFT, 'escape_NaN')
# What MDSR has and EDSR, whose other names are the same, has not.
_MDSR_ONLY = r'pre_process\.'


@dataclass(frozen=True)
class Dialect:
    """Names and range of one package's weights for one family.

    Attributes:
        name: as shown to the user.
        marker: a pattern that only keys of this dialect match.
        renames: (pattern, replacement) pairs; the first that matches a key's start
            renames it, a key that none matches keeps its name.
        value_range: largest image value that the network expects; None reads it off
            the stored mean.
        is_bgr: whether the network takes and gives BGR.
    """

    name: str
    marker: str
    renames: tuple[tuple[str, str], ...] = ()
    value_range: float | None = 1.0
    is_bgr: bool = False

    def matches(self, state: State) -> bool:
        return any(re.match(self.marker, key) for key in state)

    def rename(self, key: str) -> str:
        for pattern, replacement in self.renames:
            new, count = re.subn(f'^{pattern}', replacement, key)
            if count:
                return new
        return key


@dataclass(frozen=True)
class Family:
    """What is known of one network's weights.

    Attributes:
        network: name of the class in `sr_plugins.archs`.
        marker: a pattern that some key matches, in our own names.
        first: the convolution that sees the image.
        last: the convolution that makes the image.
        means: buffer of the mean colour -> where the published code stores it.
        describe: one line on the architecture, from weights in our names.
        dialects: in the order in which they are tried; our own names come last.
        foreign: a pattern that only keys of another, more special family match.
        is_homogeneous: whether the network without its biases gives r times the image
            for r times the image.
    """

    network: str
    marker: str
    first: str
    last: str
    means: Mapping[str, str]
    describe: Callable[[State], str]
    dialects: tuple[Dialect, ...]
    is_homogeneous: bool = False
    foreign: str | None = None

    def recognise(self, state: State) -> Dialect | None:
        """The dialect of `state`, or None when it is not of this family."""
        if self.foreign and any(re.match(self.foreign, key) for key in state):
            return None
        for dialect in self.dialects:
            if dialect.matches(state) and any(
                re.match(self.marker, dialect.rename(key)) for key in state
            ):
                return dialect
        return None

    def to_ours(
        self, state: State, dialect: Dialect, dtype: torch.dtype
    ) -> dict[str, Tensor]:
        """Weights under our names, for images in [0, 1].

        The fold is done in `dtype`, so a float64 network gets the exact product.

        Raises:
            ValueError: when the stored mean is not DIV2K's.
        """
        value_range = dialect.value_range
        if value_range is None:
            value_range = _stored_range(state)
        ours = {
            dialect.rename(key): value
            for key, value in state.items()
            if not key.startswith(_MEAN_SHIFT) and not key.endswith('escape_NaN')
        }
        if value_range != 1 and self.is_homogeneous:
            for key in [key for key in ours if key.endswith('.bias')]:
                ours[key] = ours[key].to(dtype) / value_range
        elif value_range != 1:
            factors = {
                f'{self.first}.weight': value_range,
                f'{self.last}.weight': 1 / value_range,
                f'{self.last}.bias': 1 / value_range,
            }
            for key, factor in factors.items():
                if key in ours:
                    value = ours[key].to(dtype)
                    # Division, not a product with the rounded reciprocal.
                    ours[key] = value * factor if factor > 1 else value / value_range
        if dialect.is_bgr:
            colours = {f'{self.first}.weight': 1}
            colours |= {f'{self.last}.{kind}': 0 for kind in ('weight', 'bias')}
            for key, dim in colours.items():
                if key in ours:
                    ours[key] = ours[key].flip(dim)
        return ours

    def stored_means(self, state: State) -> dict[str, Tensor]:
        """Float64 mean colours in [0, 1] by buffer name, where `state` has them.

        They equal ours in float32; in float64 they keep the rounding of the file.
        """
        return {
            buffer: state[key].double().abs().view(1, -1, 1, 1) / _stored_range(state)
            for buffer, key in self.means.items()
            if key in state
        }


def _stored_range(state: State) -> float:
    """255 or 1, read off the stored bias of the mean subtraction."""
    bias = state.get('sub_mean.bias')
    if bias is None:
        return 255.0
    mean = torch.tensor(DIV2K_MEAN, dtype=torch.float64)
    for value_range in (1.0, 255.0):
        if torch.allclose(-bias.double(), value_range * mean, rtol=1e-4, atol=0):
            return value_range
    raise ValueError(
        f'Expected the stored `sub_mean.bias` to be minus the mean of DIV2K '
        f'{DIV2K_MEAN} times 1 or 255, but got {bias.tolist()}. Networks of another '
        f'mean cannot be converted.'
    )


def _count(state: State, pattern: str) -> int:
    """Number of different first groups of `pattern` among the keys."""
    return len({m[1] for key in state if (m := re.match(pattern, key))})


def _upsampler_scale(state: State, prefix: str, width: int) -> int:
    """Scale of the pixel shuffles under `prefix`."""
    scale = 1
    for key, value in state.items():
        if re.fullmatch(rf'{prefix}\d+\.upsample_conv\.weight', key):
            scale *= round((value.shape[0] / width) ** 0.5)
    return scale


def _describe_edsr(state: State) -> str:
    width = state['conv_first.weight'].shape[0]
    blocks = _count(state, r'body\.(\d+)\.')
    scale = _upsampler_scale(state, r'upsample\.', width)
    return f'EDSR x{scale} with {blocks} blocks of {width} channels'


def _describe_mdsr(state: State) -> str:
    width = state['conv_first.weight'].shape[0]
    blocks = _count(state, r'body\.(\d+)\.')
    scales = ', '.join(
        f'x{_upsampler_scale(state, rf"upsample.{i}.", width)}'
        for i in range(_count(state, r'pre_process\.(\d+)\.'))
    )
    return f'MDSR for {scales} with {blocks} blocks of {width} channels'


def _describe_csnln(state: State) -> str:
    width = state['head.0.0.weight'].shape[0]
    kernel = state['cell.stages.0.error_encode.0.weight'].shape[-1]
    scale = 4 if 'cell.stages.1.error_encode.0.weight' in state else kernel // 3
    recurrences = state['tail.weight'].shape[1] // width
    return f'CSNLN x{scale} with {recurrences} recurrences of {width} channels'


_EDSR = Family(
    network='EDSR',
    marker=r'conv_after_body\.',
    first='conv_first',
    last='conv_last',
    means={'in_mean': 'sub_mean.bias', 'out_mean': 'add_mean.bias'},
    describe=_describe_edsr,
    dialects=(
        Dialect(
            name='published',
            marker=r'body\.\d+\.body\.0\.weight',
            renames=(
                (r'head\.0\.', 'conv_first.'),
                (r'body\.(\d+)\.body\.0\.', r'body.\1.conv1.'),
                (r'body\.(\d+)\.body\.2\.', r'body.\1.conv2.'),
                (r'body\.\d+\.(weight|bias)$', r'conv_after_body.\1'),
                (r'tail\.0\.0\.', 'upsample.0.upsample_conv.'),
                (r'tail\.0\.2\.', 'upsample.1.upsample_conv.'),
                (r'tail\.1\.', 'conv_last.'),
            ),
            value_range=None,
        ),
        Dialect(
            name='BasicSR',
            marker=r'upsample\.\d+\.weight',
            renames=(
                (r'upsample\.0\.', 'upsample.0.upsample_conv.'),
                (r'upsample\.2\.', 'upsample.1.upsample_conv.'),
            ),
            value_range=255.0,
        ),
        Dialect(name='sr_plugins or mmagic', marker=r'conv_first\.'),
    ),
    foreign=_MDSR_ONLY,
)

_MDSR = Family(
    network='MDSR',
    marker=_MDSR_ONLY,
    first='conv_first',
    last='conv_last',
    means={'in_mean': 'sub_mean.bias', 'out_mean': 'add_mean.bias'},
    describe=_describe_mdsr,
    dialects=(
        Dialect(
            name='published',
            marker=r'pre_process\.\d+\.\d+\.body\.0\.weight',
            renames=(
                (r'head\.0\.', 'conv_first.'),
                (r'pre_process\.(\d+)\.(\d+)\.body\.0\.', r'pre_process.\1.\2.conv1.'),
                (r'pre_process\.(\d+)\.(\d+)\.body\.2\.', r'pre_process.\1.\2.conv2.'),
                (r'body\.(\d+)\.body\.0\.', r'body.\1.conv1.'),
                (r'body\.(\d+)\.body\.2\.', r'body.\1.conv2.'),
                (r'body\.\d+\.(weight|bias)$', r'conv_after_body.\1'),
                (r'upsample\.(\d+)\.0\.', r'upsample.\1.0.upsample_conv.'),
                (r'upsample\.(\d+)\.2\.', r'upsample.\1.1.upsample_conv.'),
                (r'tail\.0\.', 'conv_last.'),
            ),
            value_range=None,
        ),
        Dialect(name='sr_plugins', marker=_MDSR_ONLY),
    ),
)

_ATTENTION = r'SEM\.multi_source_projection\.'
_ATTENTION_2 = r'SEM\.multi_source_projection_2\.'


def _csnln_projection(pattern: str, stage: int) -> tuple[tuple[str, str], ...]:
    ours = f'cell.stages.{stage}.projection.'
    return (
        (rf'{pattern}up_attention\.conv_match_1\.', f'{ours}cross_scale.query.'),
        (rf'{pattern}up_attention\.conv_match_2\.', f'{ours}cross_scale.key.'),
        (rf'{pattern}up_attention\.conv_assembly\.', f'{ours}cross_scale.value.'),
        (rf'{pattern}down_attention\.conv_match1\.', f'{ours}in_scale.query.'),
        (rf'{pattern}down_attention\.conv_match2\.', f'{ours}in_scale.key.'),
        (rf'{pattern}down_attention\.conv_assembly\.', f'{ours}in_scale.value.'),
        (rf'{pattern}encoder\.body\.', f'{ours}encoder.'),
        (pattern, ours),
    )


_CSNLN = Family(
    network='CSNLN',
    marker=r'cell\.post_conv\.',
    first='head.0.0',
    last='tail',
    means={'mean': 'sub_mean.bias'},
    describe=_describe_csnln,
    dialects=(
        Dialect(
            name='published',
            marker=r'SEM\.post_conv\.',
            renames=(
                *_csnln_projection(_ATTENTION, 0),
                *_csnln_projection(_ATTENTION_2, 1),
                (r'SEM\.down_sample_1\.', 'cell.stages.0.down_error.'),
                (r'SEM\.down_sample_3\.', 'cell.stages.1.down_error.'),
                (r'SEM\.down_sample_[24]\.', 'cell.down.'),
                (r'SEM\.error_encode\.', 'cell.stages.0.error_encode.'),
                (r'SEM\.error_encode_2\.', 'cell.stages.1.error_encode.'),
                (r'SEM\.post_conv\.', 'cell.post_conv.'),
                (r'tail\.0\.', 'tail.'),
            ),
            value_range=None,
        ),
        Dialect(name='sr_plugins', marker=r'cell\.post_conv\.'),
    ),
)


def _describe_kgn(state: State) -> str:
    width = state['down_2.weight'].shape[0]
    blocks = _count(state, r'body\.(\d+)\.')
    taps = state['kernels_head.conv2.weight'].shape[0]
    return f'KGN x{round(taps**0.5) // 3} with {blocks} blocks of {width} channels'


def _kgn_trunk(name: str) -> tuple[tuple[str, str], ...]:
    return (
        (rf'{name}\.1\.', f'{name}.body.0.'),
        (rf'{name}\.4\.', f'{name}.body.2.'),
        (rf'{name}\.7\.', f'{name}.body.4.'),
        (rf'{name}\.9\.upsample\.0\.', f'{name}.upsample.0.'),
        (rf'{name}\.11\.', f'{name}.conv_last.'),
    )


def _kgn_head(theirs: str, ours: str) -> tuple[tuple[str, str], ...]:
    return (rf'{theirs}\.1\.', f'{ours}.conv1.'), (rf'{theirs}\.4\.', f'{ours}.conv2.')


_KGN = Family(
    network='KGN',
    marker=r'kernels_trunk\.',
    first='conv_first',
    last='kernels_head.conv2',
    means={'in_mean': 'sub_mean.bias'},
    describe=_describe_kgn,
    dialects=(
        Dialect(
            name='published',
            marker=r'ds_1\.1\.',
            renames=(
                (r'ds_1\.1\.', 'conv_first.'),
                (r'ds_([248])\.downsample\.1\.', r'down_\1.'),
                (r'res_4\.(\d+)\.transform\.1\.', r'body.\1.conv1.'),
                (r'res_4\.(\d+)\.transform\.4\.', r'body.\1.conv2.'),
                *_kgn_trunk('kernels_trunk'),
                *_kgn_trunk('offsets_trunk'),
                *_kgn_head('kernels_weight', 'kernels_head'),
                *_kgn_head('offsets_h_generation', 'offsets_h_head'),
                *_kgn_head('offsets_v_generation', 'offsets_v_head'),
            ),
        ),
        Dialect(name='sr_plugins', marker=r'kernels_trunk\.'),
    ),
)


def _describe_car(state: State) -> str:
    parts = (('downscaler.', _describe_kgn), ('upscaler.', _describe_edsr))
    described = []
    for prefix, describe in parts:
        part = {
            k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)
        }
        described.append(describe(part))
    return f'CAR of {" and ".join(described)}'


_CAR = Family(
    network='CAR',
    marker=r'downscaler\.',
    first='downscaler.conv_first',
    last='upscaler.conv_last',
    means={},
    describe=_describe_car,
    dialects=(Dialect(name='sr_plugins', marker=r'downscaler\.'),),
)


def _describe_esrn(state: State) -> str:
    width = state['conv_first.weight'].shape[0]
    scale = 4
    if 'upsample.2.weight' not in state:
        inner = state['conv_last.weight'].shape[1]
        scale = round((state['upsample.0.weight'].shape[0] / inner) ** 0.5)
    codes = []
    for i in range(_count(state, r'blocks\.(\d+)\.')):
        block = f'blocks.{i}.'
        layers = _count(state, rf'blocks\.{i}\.convs\.(\d+)\.')
        growth = state[f'{block}convs.0.weight'].shape[0]
        fuse = state.get(f'{block}fuse.weight')
        kind = 'G'
        if fuse is None:
            fuse = state[f'{block}shrinks.{layers - 1}.weight']
            kind = 'S' if fuse.shape[1] == (layers + 1) * growth else 'C'
        codes.append(f'{kind}_{layers}_{growth}_{fuse.shape[0]}')
    return f'ESRN x{scale} with {width} channels and the blocks {" ".join(codes)}'


_ESRN_BODY = (
    (r'SFENet1\.', 'conv_first.'),
    (r'ERDBLayer\.SFENet2\.', 'conv_second.'),
    (r'ERDBLayer\.ERBD\.(\d+)\.InConv\.', r'blocks.\1.in_conv.'),
    (r'ERDBLayer\.ERBD\.(\d+)\.OutConv\.', r'blocks.\1.out_conv.'),
    (r'ERDBLayer\.ERBD\.(\d+)\.LFF\.', r'blocks.\1.fuse.'),
    (r'ERDBLayer\.ERBD\.(\d+)\.convs\.(\d+)\.conv\.0\.', r'blocks.\1.convs.\2.'),
    (r'ERDBLayer\.ERBD\.(\d+)\.Convs\.(\d+)\.0\.', r'blocks.\1.convs.\2.'),
    (r'ERDBLayer\.ERBD\.(\d+)\.ShrinkConv\.(\d+)\.', r'blocks.\1.shrinks.\2.'),
    (r'ERDBLayer\.GFF\.', 'fuse.'),
)

_ESRN = Family(
    network='ESRN',
    marker=r'conv_second\.',
    first='conv_first',
    last='conv_last',
    means={},
    describe=_describe_esrn,
    dialects=(
        # Of x4 the last convolution is the third of the upsampler, else the second.
        *(
            Dialect(
                name='published',
                marker=rf'UPNet\.{last}\.',
                renames=(
                    *_ESRN_BODY,
                    (rf'UPNet\.{last}\.', 'conv_last.'),
                    (r'UPNet\.', 'upsample.'),
                ),
                value_range=255.0,
                is_bgr=True,
            )
            for last in (4, 2)
        ),
        Dialect(name='sr_plugins', marker=r'conv_second\.'),
    ),
    is_homogeneous=True,
)

_FAMILIES = (_EDSR, _MDSR, _CSNLN, _KGN, _CAR, _ESRN)
FAMILIES = {family.network: family for family in _FAMILIES}

FOLDERS = {'CAR': {'downscaler': 'kgn.pth', 'upscaler': 'usn.pth'}}
"""Networks published as a folder: part of the network -> its file there."""
