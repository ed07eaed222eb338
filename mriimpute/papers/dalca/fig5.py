"""Imputation of images that miss pixels at random: linear methods against six networks.

Each data set is split 50/30/20 into train, validation and test, of which a budget takes as many
images as it can afford. Each pixel is removed with the same probability, once, from all images.
Methods learn from the training images; of validation images, the observed pixels are watched; the
truth of test images is for the scores alone, and nothing is selected.

The first table shows the error over the missing pixels, the second over all pixels as the method
describes them; the paper does not say which its figure shows. With 28 pixels padded to 32, the
five levels of the paper's nets end in one voxel, whose 10 numbers are the encoding. The cpu
budget has a thousand steps, in which nets of five levels hardly get past the mean image: its nets
have three levels. conv-fc-sparse still has an encoding of 10, as
the linear subspace; the encoding of the others is then a field of 4 x 4 x 8.
"""

from dataclasses import asdict, dataclass

from mriimpute.config import parse
from mriimpute.methods.dictionary.learning import DictionaryConfig
from mriimpute.papers.dalca._fig5 import conclusion
from mriimpute.papers.dalca.config import (
    METHODS,
    Effort,
    network_schedule,
    settings_of,
    subspace_schedule,
)
from mriimpute.papers.dalca.data import NAMES, Corpus, sparse_images
from mriimpute.papers.dalca.methods import judged
from mriimpute.papers.data import Data
from mriimpute.papers.experiment import Budget, Conclusion, Outcome, Outcomes, Task

__all__ = ["DATA", "SOURCE", "TITLE", "conclude", "perform", "tasks"]

TITLE = "Imputation of randomly missing pixels: linear methods against six network variants"
SOURCE = "Dalca et al. 2019, section 4.3, Fig. 5 left and Fig. 6 (figures only, no numbers)"
DATA: tuple[str, ...] = ("mnist", "fashion", "scans")

EXAMPLES = 1  # test images shown, the first ones


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """The size of the experiment.

    Attributes:
        missing: Shares of missing pixels.
        counts: Images to train on, to watch and to score.
        flat: Effort for digits and clothing.
        patches: Effort for patches of scans.
    """

    missing: tuple[float, ...]
    counts: tuple[int, int, int]
    flat: Effort
    patches: Effort


PLANS: dict[Budget, Plan] = {
    "smoke": Plan(
        missing=(0.75,),
        counts=(96, 16, 12),
        flat=Effort(
            levels=2,
            channels=4,
            local=4,
            network=network_schedule(64, 16, 3e-3, 0.9),
            subspace=subspace_schedule(512, 32),
            em_iterations=3,
            dictionary=DictionaryConfig(atoms=24, sparsity=4, iterations=2),
            draws=2,
        ),
        patches=Effort(
            levels=2,
            channels=4,
            local=4,
            encoding=10,
            network=network_schedule(32, 8, 3e-3, 0.9),
            subspace=subspace_schedule(128, 32),
            em_iterations=2,
            dictionary=DictionaryConfig(atoms=24, sparsity=4, iterations=1),
            draws=2,
        ),
    ),
    "cpu": Plan(
        missing=(0.75, 0.9),
        counts=(4000, 128, 400),
        flat=Effort(
            levels=3,
            channels=8,
            local=8,
            network=network_schedule(9600, 16, 3e-3, 0.98),
            subspace=subspace_schedule(40_000, 64),
            em_iterations=15,
            dictionary=DictionaryConfig(atoms=64, sparsity=8, iterations=6),
            draws=10,
        ),
        patches=Effort(
            levels=3,
            channels=8,
            local=8,
            encoding=100,
            linear=40,
            network=network_schedule(6_000, 8, 3e-3, 0.98),
            subspace=subspace_schedule(8000, 32),
            em_iterations=5,
            dictionary=DictionaryConfig(atoms=100, sparsity=10, iterations=4),
            draws=5,
        ),
    ),
    "paper": Plan(
        missing=(0.75, 0.9),
        counts=(100_000, 1000, 10_000),
        flat=Effort(
            local=10,
            network=network_schedule(640_000, 64, 1e-3, 0.999),
            subspace=subspace_schedule(640_000, 64),
            em_iterations=50,
            dictionary=DictionaryConfig(atoms=128, sparsity=8, iterations=20),
            draws=50,
        ),
        patches=Effort(
            local=25,
            encoding=100,
            linear=100,
            network=network_schedule(320_000, 32, 1e-3, 0.999),
            subspace=subspace_schedule(320_000, 64),
            em_iterations=20,
            dictionary=DictionaryConfig(atoms=256, sparsity=16, iterations=20),
            draws=50,
        ),
    ),
}


def tasks(budget: Budget, seed: int) -> list[Task]:
    """Returns one task per data set, share of missing pixels and method."""
    plan = PLANS[budget]
    train, val, test = plan.counts
    return [
        Task(
            key=(name, str(round(100 * missing)), method),
            settings={
                "corpus": asdict(
                    Corpus(name=name, missing=missing, train=train, val=val, test=test)
                ),
                "method": method,
                "effort": settings_of(method, plan.patches if name == "patches" else plan.flat),
            },
        )
        for name in NAMES
        for missing in plan.missing
        for method in METHODS
    ]


def perform(task: Task, data: Data, *, seed: int, device: str) -> Outcome:
    """Fits one method to one data set, and scores what it makes of the test images."""
    settings = task.settings
    splits = sparse_images(data, parse(Corpus, settings["corpus"], where="corpus"), seed)
    return judged(
        settings["method"],
        settings["effort"],
        splits,
        examples=EXAMPLES,
        seed=seed,
        device=device,
    )


def conclude(outcomes: Outcomes, budget: Budget) -> Conclusion:
    """Returns the errors of all methods on all data sets, and what the paper says about them."""
    return conclusion(outcomes)
