"""`dictionary`: imputes a volume with patches made of a few atoms, learnt from the scan itself.

Where texture is locally isotropic, what is seen inside acquired slices holds across them, too. So
the dictionary is learnt from patches of slices, and then describes patches of planes that cross
the slices by what these observe. Patches overlap; what they say about a voxel is averaged, and so
are the two directions that planes run in. Each patch is described around the mean of what it
observes.

A pattern that is no slice stack is learnt from those patches of all three planes that observe the
most, and completed in all three.

References:
    Dalca et al., Unsupervised Data Imputation via Variational Inference of Deep Subspaces, 2019,
    section 4.3.1 ("sparse dictionary learning method using a L0-norm").

Axes: n = planes, h = across the slices, w = along them; b = patches, p = pixels of a patch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Float64
from torch import Tensor

from mriimpute.cohort import normalisation
from mriimpute.cohort.foreground import foreground_level
from mriimpute.cohort.stack import pixel_steps
from mriimpute.geometry import Stack, find_stack
from mriimpute.interpolation import interpolated
from mriimpute.methods.base import Imputation, Imputer
from mriimpute.methods.dictionary.learning import Dictionary, DictionaryConfig, learn_dictionary
from mriimpute.progress import Progress
from mriimpute.seeds import numpy_stream, stream
from mriimpute.volume import Volume

__all__ = ["DictionaryImputer"]

EDGE = 10
"""Pixels of a patch along each axis, at least; across slices also twice the widest gap."""

STRIDE = 2
"""From one patch to the next, in pixels."""

FAMILY_SECONDS, LEARNING = 60.0, 0.3
"""Of one CPU core for all planes of a direction, about, and how much of that is learning."""

EXAMPLES = 20_000
"""Patches to learn from."""

CONFIG = DictionaryConfig(
    atoms=256, sparsity=3, iterations=6, kappa=1.0, shrinkage=0.03, batch=2048
)

Image = Float32[np.ndarray, "i j k"]


@dataclass(frozen=True, slots=True)
class _Planes:
    """Planes through a volume.

    Attributes:
        order: Axes of the volume: which of the planes, across the slices, along them.
        step: Pixels of a slice that are about as long as one step across the slices.
    """

    order: tuple[int, int, int]
    step: int


class DictionaryImputer(Imputer):
    """Learns a dictionary from each volume. It gives no draws and does not know how sure it is.

    Args:
        config: Atoms, sparsity and rounds.
        examples: Patches to learn from.
        device: Where it computes.
    """

    name = "dictionary"
    gives_draws = False

    def __init__(
        self,
        config: DictionaryConfig = CONFIG,
        *,
        examples: int = EXAMPLES,
        device: str = "cpu",
    ) -> None:
        self.config = config
        self.examples = examples
        self.device = device

    @classmethod
    def without_weights(cls, name: str, device: str) -> "DictionaryImputer":
        """Returns the method as it is used from the command line."""
        return cls(device=device)

    def impute(self, volume: Volume, *, seed: int, case: str) -> Imputation:
        """Returns the completed volume; strips of patches bound the memory."""
        norm = normalisation(volume)
        y = norm.apply(np.where(volume.observed, volume.data, np.float32(np.nan)))
        stack = find_stack(volume.observed)
        total, weight = np.zeros((2, *volume.shape))
        families = _families(volume, stack)
        self.progress.plan("planes", FAMILY_SECONDS * len(families))
        for planes in families:
            view = y.transpose(planes.order)
            extent = _extent(stack, view.shape[1:])
            dictionary = self._learnt(y, stack, planes, extent, seed)
            self.progress.advance("planes", LEARNING * FAMILY_SECONDS)
            sums, weights = _completed(view, dictionary, extent, self.progress)
            back = np.argsort(planes.order).tolist()
            total += sums.transpose(back)
            weight += weights.transpose(back)

        mean = norm.undo((total / np.where(weight > 0, weight, 1.0)).astype(np.float32))
        if (weight == 0).any():
            mean = np.where(weight > 0, mean, interpolated(volume, "linear"))
        return Imputation(mean=np.where(volume.observed, volume.data, mean))

    def _learnt(
        self,
        y: Image,
        stack: Stack | None,
        planes: _Planes,
        extent: tuple[int, int],
        seed: int,
    ) -> Dictionary:
        generator = numpy_stream(seed, "dictionary", "examples", *planes.order)
        images = _images(y, stack, planes)
        level = foreground_level(y[np.isfinite(y)])
        examples = _examples(images, extent, self.examples, level, generator)
        centred, observed, _ = _centred(examples, self.device)
        atoms = stream(seed, "dictionary", "atoms", *planes.order, device=self.device)
        return learn_dictionary(centred, observed, config=self.config, generator=atoms)


def _families(volume: Volume, stack: Stack | None) -> list[_Planes]:
    if stack is None:
        return [_Planes((2, 0, 1), 1), _Planes((1, 0, 2), 1), _Planes((0, 1, 2), 1)]
    (a, first), (b, second) = zip(
        [axis for axis in range(3) if axis != stack.axis],
        pixel_steps(volume, stack.axis),
        strict=True,
    )
    return [_Planes((a, stack.axis, b), first), _Planes((b, stack.axis, a), second)]


def _extent(stack: Stack | None, shape: tuple[int, ...]) -> tuple[int, int]:
    """Returns the pixels of a patch: at least two slices are seen by one."""
    across = EDGE if stack is None else max(EDGE, 2 * max(stack.gaps))
    return min(across, shape[0]), min(EDGE, shape[1])


def _images(y: Image, stack: Stack | None, planes: _Planes) -> list[Float32[np.ndarray, "_ _"]]:
    """Returns the images that stand in for the planes: acquired slices, one axis for another."""
    number, across, along = planes.order
    if stack is None:
        return list(y.transpose(planes.order))
    slices = y.transpose(across, number, along)[list(stack.positions)]
    images = [image[phase :: planes.step] for image in slices for phase in range(planes.step)]
    return images if planes.step > 1 else [*images, *(image.T for image in images)]


def _examples(
    images: Sequence[Float32[np.ndarray, "_ _"]],
    extent: tuple[int, int],
    count: int,
    level: float,
    generator: np.random.Generator,
) -> Float32[np.ndarray, "b p"]:
    """Returns random patches of the head, flipped at random; of many those observed best."""
    drawn = []
    for _ in range(4 * count):
        image = images[int(generator.integers(len(images)))]
        if image.shape[0] < extent[0] or image.shape[1] < extent[1]:
            continue
        i, j = (
            int(generator.integers(n - e + 1)) for n, e in zip(image.shape, extent, strict=True)
        )
        down, right = (2 * generator.integers(2, size=2) - 1).tolist()
        patch = image[i : i + extent[0], j : j + extent[1]][::down, ::right].ravel()
        seen = patch[np.isfinite(patch)]
        if seen.size and seen.mean() > level:
            drawn.append(patch)
    if not drawn:
        return np.zeros((1, extent[0] * extent[1]), np.float32)
    patches = np.stack(drawn)
    missing = np.isnan(patches).sum(axis=1)
    return patches[np.argsort(missing, kind="stable")[:count]]


def _centred(
    patches: Float32[np.ndarray, "b p"], device: str
) -> tuple[Float[Tensor, "b p"], Bool[Tensor, "b p"], Float[Tensor, "b 1"]]:
    """Returns patches around the mean of what they observe, what that is, and the mean."""
    y = torch.from_numpy(patches).to(device)
    observed = y.isfinite()
    count = observed.sum(1, keepdim=True).clamp_min(1)
    mean = torch.where(observed, y, 0.0).sum(1, keepdim=True) / count
    return torch.where(observed, y - mean, 0.0), observed, mean


def _completed(
    y: Float32[np.ndarray, "n h w"],
    dictionary: Dictionary,
    extent: tuple[int, int],
    progress: Progress,
) -> tuple[Float64[np.ndarray, "n h w"], Float64[np.ndarray, "n h w"]]:
    """Returns weighted sums of what patches say about each voxel, and the sums of the weights.

    A patch that observes nothing says nothing.
    """
    height, width = extent
    device = str(dictionary.atoms.device)
    tent = np.multiply.outer(
        *(np.minimum(np.arange(e) + 0.5, e - 0.5 - np.arange(e)) for e in extent)
    )
    total, weight = np.zeros((2, *y.shape))
    columns = _starts(y.shape[2], width)
    strips = _starts(y.shape[1], height)
    for top in strips:
        strip = y[:, top : top + height]
        windows = np.stack([strip[:, :, left : left + width] for left in columns], axis=1)
        centred, observed, mean = _centred(windows.reshape(-1, height * width), device)
        estimates = (dictionary.complete(centred, observed) + mean).cpu().numpy()
        informed = observed.any(1).cpu().numpy().reshape(windows.shape[:2])
        estimates = estimates.reshape(windows.shape)
        for n, left in enumerate(columns):
            weights = informed[:, n, None, None] * tent
            place = np.s_[:, top : top + height, left : left + width]
            total[place] += weights * estimates[:, n]
            weight[place] += weights
        progress.advance("planes", (1 - LEARNING) * FAMILY_SECONDS / len(strips))
    return total, weight


def _starts(size: int, extent: int) -> list[int]:
    return sorted({*range(0, size - extent + 1, STRIDE), size - extent})
