"""What a bench measures, and how long."""

from dataclasses import dataclass

from mriimpute.bench.phantom import Shape

__all__ = ["BenchConfig"]


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchConfig:
    """What is measured, and how long.

    Attributes:
        size: Of the imputed grid, about, in voxels.
        models: What imputes, in order; the default model is measured in any case.
        repeats: Of a measurement, at most.
        budget: Seconds after which no further repetition of a measurement begins.
        passes: Of the default model from file to files.
        draws: Written in each of them.
        steps: Of training, of each model.
        dense_steps: The same, of networks that are small.
        prior_steps: Of Deep Image Prior.
        starts: Of each command that has nothing to do.
        layer_edge: Of the grid on which sparse and plain convolutions are compared.
        layer_repeats: Pairs of them.
        layer_rows: Of the batch of the locally connected layer.
        product: Rows and columns of the matrices of the floor.
        copy_megabytes: Of the array whose copy is timed.
        shares: Of the voxels of the grid, in increasing order, for the growth with the volume,
            which ends with the whole grid.
        draw_counts: For the growth with draws, in increasing order.
        draw_share: Of the voxels, for that growth.
        scans: For the growth with the cohort, in increasing order.
        scan_size: Of the imputed grid of each of these.
    """

    size: Shape = (192, 176, 224)
    models: tuple[str, ...] = ()
    repeats: int = 5
    budget: float = 3.0
    passes: int = 2
    draws: int = 2
    steps: int = 5
    dense_steps: int = 100
    prior_steps: int = 10
    starts: int = 3
    layer_edge: int = 48
    layer_repeats: int = 7
    layer_rows: int = 4
    product: int = 2048
    copy_megabytes: int = 512
    shares: tuple[float, ...] = (0.125, 0.35)
    draw_counts: tuple[int, ...] = (1, 5, 20)
    draw_share: float = 0.125
    scans: tuple[int, ...] = (4, 8, 16)
    scan_size: Shape = (96, 88, 112)

    def __post_init__(self) -> None:
        positive = (
            "repeats", "passes", "steps", "dense_steps", "prior_steps", "starts", "layer_edge",
            "layer_repeats", "layer_rows", "product", "copy_megabytes",
        )  # fmt: skip
        for name in positive:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name, least in (("shares", 1), ("draw_counts", 2), ("scans", 2)):
            if len(set(getattr(self, name))) < least:
                raise ValueError(
                    f"{name} must have at least {least} values, got {getattr(self, name)}"
                )

    @classmethod
    def quick(cls, models: tuple[str, ...] = ()) -> "BenchConfig":
        """Returns what takes about a minute, to see that all works: its figures mean little."""
        return cls(
            size=(48, 44, 49),
            models=models,
            repeats=2,
            budget=1.0,
            passes=1,
            draws=1,
            steps=2,
            dense_steps=5,
            prior_steps=3,
            starts=1,
            layer_edge=16,
            layer_repeats=3,
            layer_rows=2,
            product=512,
            copy_megabytes=64,
            draw_counts=(1, 4),
            draw_share=0.5,
            scans=(2, 4),
            scan_size=(36, 34, 25),
        )
