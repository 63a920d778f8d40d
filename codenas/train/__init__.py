"""Training: one recipe, one loop."""

from codenas.train.config import TrainConfig
from codenas.train.course import Recorder
from codenas.train.trainer import Step, Trainer

__all__ = ["Recorder", "Step", "TrainConfig", "Trainer"]
