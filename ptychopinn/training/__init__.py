"""Training and fine-tuning, by a plain loop or by Lightning, with the same results."""

from ptychopinn.training.front import Trainer

__all__ = ["Trainer"]
