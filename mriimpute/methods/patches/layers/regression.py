"""Regression of observed entries on a subspace: what the sparse dense layers have in common.

Axes: b = batch, g = block (each with a subspace of its own), c = channel, p = position in the
block, d = latent dimensions. All channels of a position are observed together.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

__all__ = ["Regression", "inverse_root", "regress"]

RETRIES = 3  # each with ten times the ridge
CHUNK = 2**24
"""Numbers of which products of latent dimensions consist at once, at most: 64 MiB."""

LAST_RESORT = 1e-4  # of the trace: above any rounding error of a Gram matrix in float32


@dataclass(frozen=True, slots=True, eq=False)
class Regression:
    """The ridge problem (G + ridge I) r = c, one per row and block.

    Attributes:
        gram: G = W_O^T W_O.
        projection: c = W_O^T (y_O - mu_O).
        ridge: What was added to the diagonal of G.
    """

    gram: Float[Tensor, "b g d d"]
    projection: Float[Tensor, "b g d"]
    ridge: Float[Tensor, "#b #g"]

    def solve(self) -> Float[Tensor, "b g d"]:
        """Returns r."""
        root = _cholesky(self.gram, self.ridge)
        return torch.cholesky_solve(self.projection[..., None], root)[..., 0]

    def variance(self) -> Float[Tensor, "b g d"]:
        """Returns ridge / diag(G + ridge I), the factorised Gaussian closest to the posterior.

        With ridge = sigma^2 the posterior under r ~ N(0, I) has precision (G + ridge I) / ridge.
        Where nothing is observed this is 1, the prior.
        """
        ridge = self.ridge[..., None]
        return ridge / (self.gram.diagonal(dim1=-2, dim2=-1) + ridge)


def regress(
    w: Float[Tensor, "g c p d"],
    mu: Float[Tensor, "g c p"],
    y: Float[Tensor, "b g c p"],
    observed: Bool[Tensor, "b g 1 p"],
    *,
    ridge: Float[Tensor, ""] | float,
    relative: bool = False,
) -> Regression:
    """Returns the regression of `y` on the rows of `w` that are observed.

    Runs in float32 at least, whatever autocast says: rounding G costs cond(G) times as much.

    Args:
        w: A subspace per block.
        mu: Its offset.
        y: Unobserved entries may be NaN.
        observed: Which positions are observed.
        ridge: What to add to the diagonal.
        relative: Whether `ridge` is in units of tr(G) / d rather than absolute.
    """
    with torch.autocast(y.device.type, enabled=False):
        w, mu, y = (x if x.dtype == torch.float64 else x.float() for x in (w, mu, y))
        seen = observed[:, :, 0].to(w.dtype)

        gram = _gram(w, seen)
        residual = torch.where(observed, y - mu, 0.0).flatten(2).transpose(0, 1)
        projection = torch.bmm(residual, w.flatten(1, 2)).transpose(0, 1)

        return Regression(gram, projection, _absolute(ridge, relative, gram))


def inverse_root(
    gram: Float[Tensor, "*n d d"], ridge: Float[Tensor, "*#n"]
) -> Float[Tensor, "*n d d"]:
    """Returns the lower triangular T with T T^T = (G + ridge I)^-1.

    With all axes reversed, the transposed inverse of a Cholesky factor is lower triangular.
    """
    root = _cholesky(gram.flip(-1, -2), ridge).flip(-1, -2)
    eye = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    return torch.linalg.solve_triangular(root, eye.expand_as(root), upper=True).mT


def _gram(w: Float[Tensor, "g c p d"], seen: Float[Tensor, "b g p"]) -> Float[Tensor, "b g d d"]:
    """Returns G, with memory that does not grow with positions times squared dimensions.

    One indicator serves all channels, so there is no copy of W per row of the batch:
    G = sum_p o_p (sum_c w_cp w_cp^T), a chunk of the positions at a time. Gradients need `seen`
    alone, so the products of a chunk are gone before the next one's are there.
    """
    blocks, _, _, latents = w.shape
    size = max(1, CHUNK // (blocks * latents**2))
    parts = zip(w.split(size, dim=2), seen.transpose(0, 1).split(size, dim=2), strict=True)
    grams = [
        torch.bmm(o, torch.einsum("gcpi,gcpj->gpij", part, part).flatten(2)) for part, o in parts
    ]
    return sum(grams[1:], start=grams[0]).transpose(0, 1).unflatten(-1, (latents, latents))


def _absolute(
    ridge: Float[Tensor, ""] | float, relative: bool, gram: Float[Tensor, "b g d d"]
) -> Float[Tensor, "#b #g"]:
    value = torch.as_tensor(ridge, dtype=gram.dtype, device=gram.device)
    if not relative:
        return value[None, None]
    scale = gram.diagonal(dim1=-2, dim2=-1).mean(-1)
    return torch.where(scale > 0, value * scale, 1.0)  # nothing observed: any ridge gives r = 0


def _cholesky(
    gram: Float[Tensor, "*n d d"], ridge: Float[Tensor, "*#n"]
) -> Float[Tensor, "*n d d"]:
    eye = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    root, info = torch.linalg.cholesky_ex(gram + ridge[..., None, None] * eye)
    if not info.any():
        return root
    # Factorised anew, not patched: a gradient through a failed factor would be NaN.
    return torch.linalg.cholesky(gram + _raised(gram.detach(), ridge, info)[..., None, None] * eye)


@torch.no_grad()
def _raised(
    gram: Float[Tensor, "*n d d"], ridge: Float[Tensor, "*#n"], info: Tensor
) -> Float[Tensor, "*n"]:
    """Returns the ridge, raised for those matrices alone that were not positive definite."""
    eye = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    ridge = ridge.expand(gram.shape[:-2])
    for _ in range(RETRIES):
        ridge = torch.where(info > 0, 10 * ridge, ridge)
        info = torch.linalg.cholesky_ex(gram + ridge[..., None, None] * eye).info
    trace = gram.diagonal(dim1=-2, dim2=-1).sum(-1)
    enough = torch.where(trace > 0, LAST_RESORT * trace, 1.0)
    return torch.where(info > 0, torch.maximum(ridge, enough), ridge)
