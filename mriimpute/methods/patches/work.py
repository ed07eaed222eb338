"""Overlapping patches of one grid, completed by a model and blended.

Patches overlap. With tent weights w_p and, per patch, the mean f_p and the variance v_p of f(z)
over draws of z from q(z | y_O), and the mean s_p^2 of the variance of the voxel given z, a voxel
gets

    m   = sum w_p f_p / sum w_p                                              (Eq. 8)
    v   = sum w_p v_p / sum w_p                 within patches
    u   = sum w_p (f_p - m)^2 / sum w_p         between patches: where they disagree
    s^2 = sum w_p s_p^2 / sum w_p               noise: sigma^2 where all voxels share it
    b_n = sum w_p f(z_pn) / sum w_p,    r = sum w_p / sqrt(sum w_p^2)

Averaging independent draws of overlapping patches shrinks their variance; r (b_n - m) undoes this
where overlapping patches agree about v.

Latent draws come in pairs, z = loc +- L noise: where f is affine the mean is exact. A model that
has a formula for f_p, v_p and s_p^2 needs no draws for them.

A model with importance weights has its draws weighed patch by patch, over what the patch observes:
moments are self-normalised sums, and a draw is one of so many, taken in proportion to its weight.

References:
    Dalca et al., Unsupervised Data Imputation via Variational Inference of Deep Subspaces, 2019,
    Eq. 5 and 8.
    Mattei & Frellsen, MIWAE: Deep Generative Modelling and Imputation of Incomplete Data Sets,
    2019, Eq. 12 and 13.
"""

import logging
from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Float64
from torch import Tensor

from mriimpute.methods.patches.model import Model, Recovery
from mriimpute.methods.patches.objectives.importance import (
    effective_sample_size,
    log_weights,
    resample,
)
from mriimpute.methods.patches.objectives.recovery_bound import missing_bound
from mriimpute.methods.patches.tiling import Blend, Box, Lattice, Place
from mriimpute.progress import SILENT, Progress
from mriimpute.seeds import stream

__all__ = ["BATCH", "PatchWork"]

log = logging.getLogger(__name__)

BATCH = 16
"""Patches that the network sees at once. Always so many: a result may depend on it."""

PAIRS = 2
"""Pairs of latent draws behind the mean and the variance; as many draws behind the density.

Overlapping patches average over more. With 4 pairs the mean of `conv-sparse` moves by 1.3 % of its
std, hidden lines and left-out slices of a validation head gain the same to 0.001 dB, and it takes
2.2 times as long."""

GROUP_SECONDS = 0.05
"""Of one CPU core for so many patches, about."""

CACHED = 1024
"""Groups of patches whose recovery is kept from one draw to the next."""

KNOT = 4
"""Planes between two that have latent noise of their own: neighbouring planes are alike."""

Image = Float32[np.ndarray, "i j k"]
Region = Bool[np.ndarray, "i j k"]


class PatchWork:
    """A grid completed patch by patch.

    Args:
        model: In evaluation mode.
        y: Normalised intensities, NaN where missing.
        extent: Voxels of a patch on this grid; of a plane, 1 along one axis.
        seed: Names all random streams, with `case`.
        case: Names the scan.
        tile: Edge of the region worked on at once, in voxels.
        device: Of the model.
        progress: Is told how far it is.
    """

    def __init__(
        self,
        model: Model,
        y: Image,
        extent: Place,
        *,
        seed: int,
        case: str,
        tile: int,
        device: str,
        progress: Progress = SILENT,
    ) -> None:
        self.model, self.device, self.y = model, device, y
        self.lattice = Lattice(y.shape, extent, BATCH)
        self.groups = self.lattice.groups()
        self.flat = extent.index(1) if len(model.patch) == 2 else None
        self.seed, self.case, self.tile = seed, case, tile
        self.progress = progress
        self._recoveries: dict[int, Recovery] = {}

    def moments(self) -> tuple[Image, Image, Image, Image, Image]:
        """Returns m, v, u, r and s^2 of every voxel."""
        out = np.empty((5, *self.lattice.shape), np.float32)
        tent, one = self.lattice.tent, np.ones(self.lattice.extent)
        sizes: dict[int, float] = {}
        self.progress.plan("patches", GROUP_SECONDS * len(self.groups))
        for region in self.lattice.regions(self.tile):
            blend = Blend(self.lattice, region, sums=6)
            for index, group in self._touching(region):
                if index not in sizes:
                    self.progress.advance("patches", GROUP_SECONDS)
                f, v, s, sizes[index] = self._statistics(index)
                for n, place in enumerate(group):
                    terms = [one, f[n], f[n] ** 2, v[n], tent, s[n]]
                    blend.add(place, tent * np.stack(terms))

            weight, first, second, within, squares, noise = blend.total
            m = first / weight
            u = np.maximum(second / weight - m**2, 0.0)
            r = weight / np.sqrt(squares)
            out[(slice(None), *region.slices)] = m, within / weight, u, r, noise / weight
        if self.model.weights > 1:
            mean = sum(sizes.values()) / len(sizes)
            log.info("%s: %.1f draws count per patch, in the mean", self.case, mean)
        return out[0], out[1], out[2], out[3], out[4]

    def latent_draw(self, number: int) -> Image:
        """Returns b_n, the blend of one draw per patch."""
        out = np.empty(self.lattice.shape, np.float32)
        tent = self.lattice.tent
        for region in self.lattice.regions(self.tile):
            blend = Blend(self.lattice, region, sums=2)
            for index, group in self._touching(region):
                f = self._drawn(index, number)
                for n, place in enumerate(group):
                    blend.add(place, np.stack([tent, tent * f[n]]))
            out[region.slices] = blend.total[1] / blend.total[0]
        return out

    def log_density(self, x: Image, region: Region) -> float:
        """Returns a bound of the log density of a region, in nats per voxel of each patch."""
        total, voxels = 0.0, 0
        known = np.where(region, x, self.y)
        judged = np.where(region, np.float32(0), np.float32(np.nan))
        for index in range(len(self.groups)):
            missing = self._batch(index, judged).isfinite()
            count = missing.flatten(1).sum(1)
            if not count.any():
                continue
            patch = self._batch(index, known)
            noise = self._noise(index, 2 * PAIRS, self.case, "density").to(self.device)
            with torch.inference_mode():
                bound = missing_bound(
                    self.model, self._recovery(index), patch, patch.isfinite(), missing, noise
                )
            total += float(bound[count > 0].double().sum())
            voxels += int(count.sum())
        return total / voxels

    def _touching(self, region: Box) -> Iterator[tuple[int, list[Place]]]:
        """Yields the groups with a patch in `region`; of them, all patches are run."""
        for index, group in enumerate(self.groups):
            if any(self.lattice.touches(place, region) for place in group):
                yield index, group

    def _statistics(
        self, index: int
    ) -> tuple[
        Float64[np.ndarray, "b x y z"],
        Float64[np.ndarray, "b x y z"],
        Float64[np.ndarray, "b x y z"],
        float,
    ]:
        """Returns the mean and the variance of f(z), and the mean variance of voxels given z.

        For each patch of a group; and how many draws count per patch, in the mean.
        """
        moments = self._recovery(index).moments
        if moments is not None and self.model.weights == 1:
            with torch.inference_mode():
                known = moments()
            shape = (BATCH, *self.lattice.extent)
            parts = (known.mean, known.within, known.noise.expand_as(known.mean))
            mean, within, noise_square = (
                part.double().cpu().numpy().reshape(shape) for part in parts
            )
            return mean, within, noise_square, 1.0

        half = self._noise(index, max(PAIRS, -(-self.model.weights // 2)), "mean")
        noise = torch.stack([half, -half], dim=1).flatten(0, 1)
        z = self._latent(index, noise)
        f, scale = self._decoded(index, z)
        square = np.square(scale, dtype=np.float64)
        if self.model.weights == 1:
            within = f.var(axis=0, dtype=np.float64)
            return f.mean(axis=0, dtype=np.float64), within, square.mean(axis=0), float(len(z))

        weights = self._log_weights(index, z)
        normalised = torch.softmax(weights.double(), dim=0).cpu().numpy()
        mean, second, noise_square = (
            np.einsum("sb,sbxyz->bxyz", normalised, part)
            for part in (f, np.square(f, dtype=np.float64), square)
        )
        size = effective_sample_size(weights)[: len(self.groups[index])].mean()
        return mean, np.maximum(second - mean**2, 0.0), noise_square, float(size)

    def _drawn(self, index: int, number: int) -> Float32[np.ndarray, "b x y z"]:
        """Returns f(z) for one draw of z for each patch of a group."""
        purpose = (self.case, "draw", number)
        z = self._latent(index, self._noise(index, self.model.weights, *purpose))
        if self.model.weights > 1:
            uniform = torch.zeros(1, BATCH)
            for n, place in enumerate(self.groups[index]):
                generator = stream(self.seed, "impute", *purpose, "choice", *place)
                uniform[:, n] = torch.rand(1, generator=generator)
            which = resample(self._log_weights(index, z), uniform.to(self.device))
            z = z.gather(0, which[..., None].expand(-1, -1, z.shape[-1]))
        return self._decoded(index, z)[0][0]

    def _latent(self, index: int, noise: Float[Tensor, "s b m"]) -> Float[Tensor, "s b m"]:
        return self._recovery(index).latent.transport(noise.to(self.device))

    def _decoded(
        self, index: int, z: Float[Tensor, "s b m"]
    ) -> tuple[Float32[np.ndarray, "s b x y z"], Float32[np.ndarray, "s b x y z"]]:
        """Returns f(z) and the standard deviations of voxels given z."""
        voxels = self._recovery(index).voxels
        locs, scales = [], []
        with torch.inference_mode():
            for part in z.split(2):  # two draws at once bound the memory
                p = voxels(part)
                locs.append(p.loc.float().cpu().numpy())
                scales.append(p.scale.float().expand_as(p.loc).cpu().numpy())
        shape = (len(z), BATCH, *self.lattice.extent)
        return np.concatenate(locs).reshape(shape), np.concatenate(scales).reshape(shape)

    def _log_weights(self, index: int, z: Float[Tensor, "s b m"]) -> Float[Tensor, "s b"]:
        y, q = self._batch(index, self.y), self._recovery(index).latent
        observed = y.isfinite()
        with torch.inference_mode():
            return torch.cat([log_weights(self.model, q, p, y, observed) for p in z.split(2)])

    def _recovery(self, index: int) -> Recovery:
        if index in self._recoveries:
            return self._recoveries[index]
        y = self._batch(index, self.y)
        with torch.inference_mode():
            recovery = self.model.recovery(y, y.isfinite())
        if len(self._recoveries) < CACHED:
            self._recoveries[index] = recovery
        return recovery

    def _batch(self, index: int, image: Image) -> Float[Tensor, "b 1 *grid"]:
        """Returns a group of patches, NaN outside of the grid and in places without a patch."""
        group = self.groups[index]
        y = np.full((BATCH, *self.lattice.extent), np.nan, np.float32)
        y[: len(group)] = self.lattice.cut(image, group)
        return torch.from_numpy(y.reshape(BATCH, 1, *self.model.patch)).to(self.device)

    def _noise(self, index: int, draws: int, *purpose: str | int) -> Float[Tensor, "s b m"]:
        """Returns latent noise that depends on the place of each patch, not on its group."""
        size = self._recovery(index).latent.loc.shape[-1]
        noise = torch.zeros(draws, BATCH, size)
        for n, place in enumerate(self.groups[index]):
            noise[:, n] = self._noise_at(place, (draws, size), *purpose)
        return noise

    def _noise_at(
        self, place: Place, shape: tuple[int, int], *purpose: str | int
    ) -> Float[Tensor, "s m"]:
        """Returns the latent noise of a patch; of a plane, one much like that of its neighbour.

        A plane lies between two knots, which have noise of their own; weights keep its variance.
        """

        def drawn(place: tuple[int, ...]) -> Float[Tensor, "s m"]:
            return torch.randn(shape, generator=stream(self.seed, "impute", *purpose, *place))

        if self.flat is None:
            return drawn(place)
        knot, way = divmod(place[self.flat], KNOT)
        before, after = (
            (*place[: self.flat], KNOT * n, *place[self.flat + 1 :]) for n in (knot, knot + 1)
        )
        if not way:
            return drawn(before)
        angle = 0.5 * np.pi * way / KNOT
        return float(np.cos(angle)) * drawn(before) + float(np.sin(angle)) * drawn(after)
