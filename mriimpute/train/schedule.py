"""Learning rate and KL weight as pure functions of the position in the run.

Nothing here knows when a run was stopped, so a resumed run takes the same steps.
"""

import math

from mriimpute.train.settings import TrainConfig

__all__ = ["beta", "rate"]


def rate(config: TrainConfig, step: int) -> float:
    """Returns the learning rate of a step: a linear rise, then a cosine.

    Example:
        >>> config = TrainConfig(patches=1000, batch=10, rate=1.0, rate_warm_up=0.1)
        >>> round(rate(config, 4), 3), round(rate(config, 9), 3), round(rate(config, 99), 3)
        (0.5, 1.0, 0.01)
    """
    rise = max(1, round(config.rate_warm_up * config.steps))
    if step < rise:
        return config.rate * (step + 1) / rise
    way = (step + 1 - rise) / max(1, config.steps - rise)
    share = config.final_rate + (1 - config.final_rate) * 0.5 * (1 + math.cos(math.pi * way))
    return config.rate * share


def beta(config: TrainConfig, step: int) -> float:
    """Returns the weight of the KL term at a step: a linear rise from 0 to 1.

    Example:
        >>> config = TrainConfig(patches=1000, batch=10, beta_warm_up=0.2)
        >>> beta(config, 0), beta(config, 10), beta(config, 50)
        (0.0, 0.5, 1.0)
    """
    rise = round(config.beta_warm_up * config.steps)
    return min(1.0, step / rise) if rise else 1.0
