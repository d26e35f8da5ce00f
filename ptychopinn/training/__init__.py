"""Training and fine-tuning: a plain loop and Lightning, with the same results."""

from ptychopinn.training.front import Trainer

__all__ = ["Trainer"]
