"""Losses that mmagic lacks: a function first, then the class that configs name."""

from .offset import OffsetLoss, offset_loss
from .partial_tv import PartialTVLoss, partial_tv_loss

__all__ = ['OffsetLoss', 'PartialTVLoss', 'offset_loss', 'partial_tv_loss']
