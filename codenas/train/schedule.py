"""Warm-up, stable, decay (Hu et al. 2024): the stable part can be resumed to any length, the decay ends a training."""


def rate_factor(step: int, warmup_steps: int, decay_from: int | None = None, last_step: int | None = None) -> float:
    """The factor on every learning rate at `step` (the first step is 0).

    Linear from 1/warmup to 1 over `warmup_steps`, then 1, then linear towards 0 from `decay_from` to `last_step`.
    """
    warm = min(1.0, (step + 1) / max(1, warmup_steps))
    if decay_from is None or last_step is None or step < decay_from:
        return warm
    return warm * (last_step - step) / max(1, last_step - decay_from)
