"""Orthogonal matching pursuit: supports that grow by one atom at a time, for many images at once.

A row sqrt(lambda) e_k appended to each atom makes least squares with a ridge ordinary least
squares, so a Gram-Schmidt basis of the support that grows by one vector is enough.

Axes: b = images, p = voxels in a row, k = atoms, t = atoms of a support, e = voxels and the
appended rows.

References:
    Rubinstein et al., Efficient Implementation of the K-SVD Algorithm using Batch Orthogonal
    Matching Pursuit, 2008.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

__all__ = ["Codes", "Pursuit"]

DEPENDENT = 1e-3  # of its length: an atom with less outside the span of the support adds noise


@dataclass(frozen=True, slots=True, eq=False)
class Codes:
    """The atoms that each image uses, in the order of their choice.

    Attributes:
        support: Which atoms. Where fewer than T were needed, the rest repeats atom 0.
        values: Their coefficients, 0 for the rest.
    """

    support: Int[Tensor, "b t"]
    values: Float[Tensor, "b t"]

    def dense(self, atoms: int) -> Float[Tensor, "b k"]:
        """Returns the coefficients of all atoms."""
        blank = self.values.new_zeros(len(self.values), atoms)
        return blank.scatter_add(1, self.support, self.values)


@dataclass(slots=True)
class Pursuit:
    """Least squares on supports that grow: Q R = [D_SO; sqrt(lambda) I], c = Q^T [y_O - mu_O; 0].

    Attributes:
        residual: [y_O - mu_O; 0] - Q c.
        q: Orthonormal rows, or zero where an image needed no atom.
        r: Upper triangular; identity there.
        c: Coordinates of the image.
        support: Which atoms.
        root: sqrt(lambda).
    """

    residual: Float[Tensor, "b e"]
    q: Float[Tensor, "b t e"]
    r: Float[Tensor, "b t t"]
    c: Float[Tensor, "b t"]
    support: Int[Tensor, "b t"]
    root: float

    @classmethod
    def begin(cls, y: Float[Tensor, "b p"], steps: int, shrinkage: float) -> "Pursuit":
        """Returns empty supports that may hold `steps` atoms each.

        Args:
            y: Centred, 0 where unobserved.
            steps: Largest support T.
            shrinkage: Lambda.
        """
        size = len(y)
        residual = torch.cat([y, y.new_zeros(size, steps)], -1)
        return cls(
            residual,
            y.new_zeros(size, steps, residual.shape[1]),
            torch.eye(steps, dtype=y.dtype, device=y.device).repeat(size, 1, 1),
            y.new_zeros(size, steps),
            torch.zeros(size, steps, dtype=torch.int64, device=y.device),
            shrinkage**0.5,
        )

    def add(
        self,
        step: int,
        atom: Int[Tensor, " b"],
        columns: Float[Tensor, "b p"],
        wanted: Bool[Tensor, " b"],
    ) -> None:
        """Lets an atom join the support of the images that want it.

        Args:
            step: How many atoms the supports hold so far.
            atom: The next one of each image.
            columns: D_O of that atom, 0 where unobserved.
            wanted: Which images take it.
        """
        basis = self.q[:, :step]
        new = torch.cat([columns, columns.new_zeros(len(columns), self.q.shape[1])], -1)
        new[:, columns.shape[1] + step] = self.root
        length = new.norm(dim=-1)
        along = new.new_zeros(len(new), step)
        for _ in range(2):  # once leaves rounding errors of the size of what is left
            part = torch.einsum("bte,be->bt", basis, new)
            new = new - torch.einsum("bte,bt->be", basis, part)
            along = along + part
        left = new.norm(dim=-1)

        wanted = wanted & (left > DEPENDENT * length)
        unit = torch.where(wanted[:, None], new / torch.where(wanted, left, 1.0)[:, None], 0.0)
        self.q[:, step] = unit
        self.r[:, :step, step] = torch.where(wanted[:, None], along, 0.0)
        self.r[:, step, step] = torch.where(wanted, left, 1.0)
        self.c[:, step] = (unit * self.residual).sum(-1)
        self.support[:, step] = torch.where(wanted, atom, 0)
        self.residual = self.residual - self.c[:, step, None] * unit

    def codes(self) -> Codes:
        """Returns the coefficients R^-1 c."""
        values = torch.linalg.solve_triangular(self.r, self.c[..., None], upper=True)
        return Codes(self.support, values[..., 0])
