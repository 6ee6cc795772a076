"""CAR as a model of BasicSR: an image is its own target."""

from collections import OrderedDict

from basicsr.losses import build_loss
from basicsr.models.sr_model import SRModel
from basicsr.utils.registry import MODEL_REGISTRY


@MODEL_REGISTRY.register()
class CARModel(SRModel):
    """SRModel that gives `network_g`, a CAR, HR images to reconstruct.

    The `lq` of its data goes unused. `train` has `pixel_opt` and, where wanted,
    `offset_opt` and `tv_opt`, such as `{type: OffsetLoss}` and `{type: PartialTVLoss}`;
    they are logged as `l_pix`, `l_offset` and `l_tv`.
    """

    def init_training_settings(self) -> None:
        """Build losses, optimiser and schedule.

        Raises:
            ValueError: when there is no pixel loss, or one that CAR does not have.
        """
        options = self.opt['train']
        if not options.get('pixel_opt') or options.get('perceptual_opt'):
            raise ValueError(
                'Expected `train` of CARModel to have `pixel_opt` and no '
                f'`perceptual_opt`, but got {sorted(k for k in options if "opt" in k)}.'
            )
        super().init_training_settings()
        self.cri_offset, self.cri_tv = (
            build_loss(options[key]).to(self.device) if options.get(key) else None
            for key in ('offset_opt', 'tv_opt')
        )

    def feed_data(self, data: dict) -> None:
        super().feed_data({'lq': data['gt'], 'gt': data['gt']})

    def optimize_parameters(self, current_iter: int) -> None:
        self.optimizer_g.zero_grad()
        self.output, resampled = self.net_g(self.lq, return_resampled=True)
        offsets = resampled.offsets_h, resampled.offsets_v
        losses = OrderedDict(l_pix=self.cri_pix(self.output, self.gt))
        if self.cri_offset is not None:
            losses['l_offset'] = self.cri_offset(*offsets)
        if self.cri_tv is not None:
            losses['l_tv'] = self.cri_tv(resampled.kernels, *offsets)
        sum(losses.values()).backward()
        self.optimizer_g.step()
        self.log_dict = self.reduce_loss_dict(losses)
        if self.ema_decay > 0:
            self.model_ema(decay=self.ema_decay)
