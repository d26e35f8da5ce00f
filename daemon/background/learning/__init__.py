"""Fine-tuning in the background: a process of its own learns from the frames that the engine has stitched."""

from daemon.background.learning.generations import Generations

__all__ = ["Generations"]
