"""Checkpoints in the file formats of other programs. Each format says beforehand which architectures it represents exactly."""
