"""The sparse fully connected layer on Fashion-MNIST: what filling pixels does to a projection.

(a, b) The first 10 principal components W, mu of fully observed training images define the true
response W^T (y - mu) of a fully observed test image. Pixels are then removed at random, and the
response is computed from what is left: by the conventional layer W^T (filled - mu) after filling
with zeros, with the mean of each pixel over what was observed of training images, or by linear
interpolation; or by the sparse layer, Eq. 10, with the same W and mu. The paper omits the bias;
here it is W^T mu everywhere, and cancels in the error. In (b) all images have their pixels in one
random order, missing ones included, so that (a) and (b) differ by nothing else.

(c, d) Linear auto-encoders of size 10 with each of these encoders, from random weights, and a
fully connected decoder of its own, trained by Adam on the squared error of observed pixels.
Training, validation and test images are different ones; each has one pattern of missing pixels,
the same for all encoders. The paper says neither the sparsity of (c, d) nor the schedule, which
are below and the same for all encoders. The learning rate was chosen on observed validation
pixels: at 1e-3 no encoder has converged after 30 epochs; at 4e-3 all are better, at 1e-2 the
sparse one better still and the others no longer; 5e-3 favours none. The number of images matters:
with 4000 of them the sparse encoder and interpolation are level in (d), with 12,000 it is ahead.

The sparse layer has lambda = 1e-4 tr(W_O^T W_O) / 10 in place of the 0 of Eq. 10, which has no
solution where fewer than 10 pixels are observed.
"""

from dataclasses import asdict, dataclass

import numpy as np
import torch

from mriimpute.papers.dalca._fig4 import DECISIVE, ORDERS, Order, conclusion
from mriimpute.papers.dalca.encodings import (
    ENCODINGS,
    AutoEncoder,
    Encoding,
    components,
    filled,
    observed_error,
    pixel_means,
    respond,
)
from mriimpute.papers.data import Data
from mriimpute.papers.experiment import Budget, Conclusion, Outcome, Outcomes, Task
from mriimpute.papers.fit import batch_of
from mriimpute.papers.sparse import permuted, random_missing
from mriimpute.seeds import fixed, numpy_stream

__all__ = ["DATA", "SOURCE", "TITLE", "conclude", "perform", "tasks"]

TITLE = "Sparse fully connected layer against filling: projections and linear auto-encoders"
SOURCE = "Dalca et al. 2019, section 4.2 and Fig. 4 (figure only, no numbers in the text)"
DATA = ("fashion",)


@dataclass(frozen=True, kw_only=True, slots=True)
class Projection:
    """The size of (a, b).

    Attributes:
        fitted: Fully observed images for the components, sparse ones for the pixel means.
        projected: Test images.
        repeats: With other patterns and orders.
    """

    fitted: int
    projected: int
    repeats: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Learning:
    """The size of (c, d).

    Attributes:
        train: Images to learn from.
        val: Images to watch.
        epochs: Times that every image is seen.
        batch: Images per step.
        rate: Learning rate of Adam.
    """

    train: int
    val: int
    epochs: int
    batch: int = 64
    rate: float = 5e-3


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """The size of the experiment.

    Attributes:
        levels: Of missing pixels in (a, b), in per cent.
        projection: The size of (a, b).
        learning: The size of (c, d).
        repeats: Of (c, d), with other patterns and weights.
    """

    levels: tuple[int, ...]
    projection: Projection
    learning: Learning
    repeats: int


PLANS: dict[Budget, Plan] = {
    "smoke": Plan(
        levels=DECISIVE,
        projection=Projection(fitted=400, projected=60, repeats=1),
        learning=Learning(train=256, val=64, epochs=3),
        repeats=1,
    ),
    "cpu": Plan(
        levels=(25, 50, 75, 90, 95),
        projection=Projection(fitted=10_000, projected=400, repeats=2),
        learning=Learning(train=12_000, val=1000, epochs=20),
        repeats=2,
    ),
    "paper": Plan(
        levels=(10, 25, 50, 75, 90, 95, 98),
        projection=Projection(fitted=35_000, projected=10_000, repeats=5),
        learning=Learning(train=35_000, val=21_000, epochs=100),
        repeats=5,
    ),
}


def tasks(budget: Budget, seed: int) -> list[Task]:
    """Returns one task per level and order, and one per auto-encoder."""
    plan = PLANS[budget]
    subspaces = [
        Task(
            key=("subspace", order, str(level)),
            settings={"order": order, "level": level, "size": asdict(plan.projection)},
        )
        for order in ORDERS
        for level in plan.levels
    ]
    size = asdict(plan.learning)
    encoders = [
        Task(
            key=("autoencoder", encoding, str(level), str(repeat)),
            settings={"encoding": encoding, "level": level, "repeat": repeat, "size": size},
        )
        for level in DECISIVE
        for encoding in ENCODINGS
        for repeat in range(plan.repeats)
    ]
    return [*encoders, *subspaces]


def perform(task: Task, data: Data, *, seed: int, device: str) -> Outcome:
    """Performs one task."""
    given = dict(task.settings)
    size = given.pop("size")
    if task.key[0] == "subspace":
        return _subspace(data, Projection(**size), seed=seed, **given)
    return _autoencoder(data, Learning(**size), seed=seed, device=device, **given)


def _subspace(data: Data, size: Projection, *, order: Order, level: int, seed: int) -> Outcome:
    """Returns the error of each encoding's response, and the variance of the true one."""
    train = data.images("fashion", "train").images[: size.fitted]
    test = data.images("fashion", "test").images[: size.projected]
    errors: dict[str, list[float]] = {encoding: [] for encoding in ENCODINGS}
    variance = 0.0
    for repeat in range(size.repeats):
        places = numpy_stream(seed, "fig4", "subspace", level, repeat)
        sparse, learnt = (
            random_missing(images, level / 100, 0.0, places) for images in (test, train)
        )
        if order == "permuted":
            shuffle = numpy_stream(seed, "fig4", "order", repeat).permutation(sparse.y[0].size)
            sparse, learnt = permuted(sparse, shuffle), permuted(learnt, shuffle)
        means = pixel_means(learnt)
        w, mu = components(learnt.truth)

        truth = (sparse.truth.reshape(len(sparse), -1) - mu) @ w
        variance = float(truth.var(axis=0).mean())
        for encoding in ENCODINGS:
            response = respond(encoding, sparse, w, mu, means)
            errors[encoding].append(float(np.square(response - truth).mean()))
    return Outcome({"mse": errors, "variance": variance})


def _autoencoder(
    data: Data,
    size: Learning,
    *,
    encoding: Encoding,
    level: int,
    repeat: int,
    seed: int,
    device: str,
) -> Outcome:
    """Returns the validation loss after each epoch, and the final error on all pixels."""
    images = data.images("fashion", "train").images[: size.train + size.val]
    places = numpy_stream(seed, "fig4", "autoencoder", level, repeat)
    sparse = random_missing(images, level / 100, 0.0, places)
    train, val = sparse.take(slice(size.train)), sparse.take(slice(size.train, None))
    means = pixel_means(train)
    given, watched = (
        torch.from_numpy(filled(encoding, part, means)).flatten(1).to(device)
        for part in (train, val)
    )
    target, seen = (torch.from_numpy(part.y).flatten(1).to(device) for part in (train, val))

    with fixed(seed, "fig4", "autoencoder", repeat):
        model = AutoEncoder(target.shape[1], sparse=encoding == "sparse").to(device)
    optimiser = torch.optim.Adam(model.parameters(), lr=size.rate)
    steps = -(-len(train) // size.batch)
    losses = [observed_error(model, watched, seen)]
    for step in range(size.epochs * steps):
        which = torch.from_numpy(batch_of(len(train), size.batch, step, seed)).to(device)
        y = target[which]
        error = torch.where(y.isfinite(), model(given[which]) - y, 0.0)
        optimiser.zero_grad(set_to_none=True)
        (error.square().sum() / y.isfinite().sum()).backward()
        optimiser.step()
        if (step + 1) % steps == 0:
            losses.append(observed_error(model, watched, seen))

    truth = torch.from_numpy(val.truth).flatten(1).to(device)
    return Outcome({"val_loss": losses, "val_mse_all": observed_error(model, watched, truth)})


def conclude(outcomes: Outcomes, budget: Budget) -> Conclusion:
    """Returns the panels of the figure and what the paper says about them."""
    plan = PLANS[budget]
    response = {
        (order, level): outcomes["subspace", order, str(level)].numbers
        for order in ORDERS
        for level in plan.levels
    }
    curves = {
        (encoding, level): [
            outcomes["autoencoder", encoding, str(level), str(repeat)].numbers
            for repeat in range(plan.repeats)
        ]
        for encoding in ENCODINGS
        for level in DECISIVE
    }
    return conclusion(response, curves, plan.levels)
