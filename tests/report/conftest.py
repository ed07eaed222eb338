"""Summaries of made-up evaluations, and pages taken apart."""

import dataclasses
import math
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from mriimpute.evaluation import Estimate, MethodSummary, Panel, Result, Summary, View
from mriimpute.evaluation.bins import BIN_METRICS, Bin
from mriimpute.evaluation.columns import METRICS
from mriimpute.evaluation.curves import Curves
from mriimpute.methods.base import Trace
from mriimpute.metrics.statistics import Comparison
from mriimpute.seeds import numpy_stream

MakeSummary = Callable[..., Summary]
ReadPage = Callable[[Path], "Page"]

VOID = {"meta", "img", "input", "br", "link"}


class Page(HTMLParser):
    """A page's elements, its text and whatever it refers to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(self.source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"{tag} is not what was opened last"

    def handle_data(self, data: str) -> None:
        if "script" not in self.open and "style" not in self.open:
            self.text += data

    def named(self, tag: str) -> list[dict[str, str]]:
        """The attributes of every element of a name."""
        return [attributes for name, attributes in self.elements if name == tag]

    def references(self) -> list[str]:
        """Whatever an element refers to."""
        names = ("src", "href", "xlink:href", "srcset", "action", "poster", "data", "background")
        return [a[name] for _, a in self.elements for name in names if name in a]


@pytest.fixture(scope="session")
def read_page() -> ReadPage:
    return Page


def view(
    rng: np.random.Generator, name: str, *, stated: bool, across: int, shape: tuple[int, int]
) -> View:
    """An ellipse of brain; blank around it."""
    u, v = np.meshgrid(*(np.linspace(-1.2, 1.2, n) for n in shape), indexing="ij")
    brain = u**2 + v**2 < 1
    truth = np.where(brain, rng.uniform(0, 100, shape), np.nan).astype(np.float32)
    std = np.where(brain, np.float32(4 if stated else np.nan), np.float32(np.nan))
    sparse = truth.copy()
    sparse[:, np.arange(shape[1]) % 3 > 0 if across == 1 else slice(None)] = np.nan

    def noisy() -> np.ndarray:
        return truth + rng.normal(0, 4, shape).astype(np.float32)

    return View(
        name=name,
        truth=truth,
        sparse=sparse,
        mean=noisy(),
        std=std.astype(np.float32),
        draws=np.stack([noisy(), noisy()]) if stated else np.empty((0, *shape), np.float32),
        across=across,
        slices=np.arange(0, shape[1], 3) if across == 1 else np.empty(0, np.int64),
        spacing_mm=(2.0, 1.0),
        ends=("L", "R", "I", "S"),
    )


def panel(rng: np.random.Generator, scan: str, *, stated: bool, shape: tuple[int, int]) -> Panel:
    planes = (("coronal", 1), ("sagittal", 1), ("axial", -1))
    views = (view(rng, name, stated=stated, across=a, shape=shape) for name, a in planes)
    return Panel(scan=scan, data_range=100.0, views=tuple(views))


def summary_of_method(method: str, *, stated: bool, subjects: int) -> MethodSummary:
    ends = (0.4, 0.6) if subjects >= 5 else (np.nan, np.nan)
    estimate = Estimate(mean=0.5, low=ends[0], high=ends[1])
    unknown = Estimate(mean=np.nan)
    of_draws = ("cover", "volume_draws", "volume_error_stds")
    earned = {
        m: estimate if stated or not any(name in m for name in of_draws) else unknown
        for m in METRICS
    }
    removed = tuple(np.arange(0, 1, 0.05).tolist())
    curves = Curves(
        ranks=(1 / 21,) * 21,
        removed=removed,
        remaining=tuple(1 - 0.5 * r for r in removed),
        oracle=tuple(1 - r for r in removed),
    )
    found = Comparison(
        reference="linear",
        mean=estimate,
        median=estimate,
        p=0.0004,
        p_alone=0.0001,
        wins=subjects,
        subjects=subjects,
    )
    return MethodSummary(
        method=method,
        scores=earned,
        gain_db=estimate,
        crps_ratio=estimate,
        distances={n: dict.fromkeys(BIN_METRICS, estimate) for n in (1, 2, 3)},
        labels=(),
        curves=curves if stated else None,
        comparisons={"interpolator": found} if method != "linear" and subjects >= 5 else {},
    )


@pytest.fixture(scope="session")
def make_summary() -> MakeSummary:
    """Makes the summary of so many subjects: `make_summary(subjects=2, methods=(...))`.

    The first method is an interpolator, the others state their uncertainty; "deep-image-prior"
    was fitted step by step.
    """

    def make(
        *,
        subjects: int = 6,
        methods: tuple[str, ...] = ("linear", "ridge"),
        shape: tuple[int, int] = (14, 11),
        scan: str = "sub-0_T1w",
    ) -> Summary:
        rng = numpy_stream(0, "made-up evaluation")
        scores = dict.fromkeys(METRICS, 0.5)
        bins = [(n, dict.fromkeys(BIN_METRICS, 0.5)) for n in (1, 2, 3)]
        distances = tuple(
            Bin(kind="distance", steps=n, mm=2.0 * n, voxels=9, **of)  # type: ignore[arg-type]
            for n, of in bins
        )
        plain = Result(
            **scores,
            subject="sub-0",
            scan=scan,
            method=methods[0],
            draws=0,
            voxels=9,
            data_range=100.0,
            bins=distances,
            regions=(),
            volumes=(),
        )  # type: ignore[arg-type]
        trace = Trace(fitted=(4.0, 2.0, 1.0), held_out=(4.0, 3.0, 3.5), every=100, stopped_at=200)
        rows = tuple(
            dataclasses.replace(
                plain,
                subject=f"sub-{n}",
                scan=scan.replace("sub-0", f"sub-{n}"),
                method=method,
                psnr_db=20.0 + float(rng.normal()),
                tissue_volume_draws_percent=math.nan if method == methods[0] else 0.25,
                trace=trace if method == "deep-image-prior" else None,
            )
            for n in range(subjects)
            for method in methods
        )

        def panels(of: str) -> dict[str, Panel]:
            return {m: panel(rng, of, stated=m != methods[0], shape=shape) for m in methods}

        return Summary(
            report=Path("report"),
            methods=tuple(
                summary_of_method(m, stated=m != methods[0], subjects=subjects) for m in methods
            ),
            results=rows,
            panels=panels(scan),
            subjects=subjects,
            ranked=subjects >= 5,
            best_interpolator=methods[0],
            references={"interpolator": methods[0]},
            settings={"seed": 0, "samples": 20},
            fingerprints=dict.fromkeys(methods, "0" * 64),
            worst=panels(scan.replace("sub-0", "sub-1")),
        )

    return make
