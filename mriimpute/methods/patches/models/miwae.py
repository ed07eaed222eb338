"""The auto-encoder `mvae` with importance weights: a tighter bound, and better imputation.

It is trained by the objective "importance". Imputation weighs draws of q by

    w_k = p(y_O | z_k) p(z_k) / q(z_k | y_O)

References:
    Mattei & Frellsen, MIWAE: Deep Generative Modelling and Imputation of Incomplete Data Sets,
    2019, Eq. 5 (the bound), 12 and 13 (self-normalised importance sampling).
"""

from dataclasses import dataclass

from mriimpute.methods.patches.models import mvae

__all__ = ["Config", "Miwae"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Config(mvae.Config):
    """Settings of `Miwae`: those of `mvae`, and one.

    Attributes:
        weights: Draws of q weighed against each other for each draw of imputation. In training
            their number is `train.draws`.
    """

    weights: int = 20

    def __post_init__(self) -> None:
        mvae.Config.__post_init__(self)  # super() does not find its class under slots
        if self.weights < 2:
            raise ValueError(f"weights must be at least 2, got {self.weights}")

    def build(self) -> "Miwae":
        """Returns the model."""
        return Miwae(self)


class Miwae(mvae.Mvae):
    """A variational auto-encoder whose draws are weighed."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.weights = config.weights
