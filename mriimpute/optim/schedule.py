"""Learning rate and weight of the prior as pure functions of the position in the run.

Nothing here knows when a run was stopped, so a resumed run takes the same steps.
"""

import math

from mriimpute.train.settings import Course, TrainConfig

__all__ = ["rate", "weight"]


def rate(config: Course, step: int) -> float:
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


def weight(config: TrainConfig, step: int) -> float:
    """Returns the weight of the prior at a step: 0, then a linear rise to 1.

    It multiplies the KL term of a variational bound; a tomographic objective makes its gamma of
    it.

    Example:
        >>> config = TrainConfig(patches=1000, batch=10, warm_up_start=0.1, warm_up_end=0.3)
        >>> [weight(config, step) for step in (5, 10, 20, 50)]
        [0.0, 0.0, 0.5, 1.0]
    """
    start = round(config.warm_up_start * config.steps)
    end = round(config.warm_up_end * config.steps)
    if step >= end:
        return 1.0
    return max(0, step - start) / (end - start)
