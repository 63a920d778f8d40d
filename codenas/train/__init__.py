"""Training: one recipe, one loop."""

from codenas.train.config import TrainConfig
from codenas.train.trainer import Step, Trainer

__all__ = ["Step", "TrainConfig", "Trainer"]
