"""Summaries of made-up evaluations, pages taken apart, and a real browser that opens them."""

import base64
import dataclasses
import fcntl
import io
import itertools
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mriimpute.evaluation import Estimate, MethodSummary, Panel, Result, Summary, View
from mriimpute.evaluation.bins import BIN_METRICS, Bin
from mriimpute.evaluation.columns import METRICS
from mriimpute.evaluation.curves import Curves
from mriimpute.methods.base import Trace
from mriimpute.metrics.statistics import Comparison
from mriimpute.seeds import numpy_stream

MakeSummary = Callable[..., Summary]
ReadPage = Callable[[Path], "Page"]
OpenBrowser = Callable[..., "Browser"]

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


BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
FLAGS = (
    *("--headless", "--no-sandbox", "--remote-debugging-pipe", "--no-first-run"),
    *("--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-background-networking"),
    "--host-resolver-rules=MAP * ~NOTFOUND",
)


class Browser:
    """A headless Chromium, told what to do over its debugging pipe; it knows no network."""

    def __init__(self, folder: Path, *flags: str) -> None:
        (read, self._out), (self._in, write) = os.pipe(), os.pipe()
        theirs = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (read, write)]
        self._pid = os.posix_spawn(
            BROWSER,
            [BROWSER, *FLAGS, *flags, f"--user-data-dir={folder}", "about:blank"],
            os.environ,
            file_actions=[
                *((os.POSIX_SPAWN_DUP2, end, n) for n, end in enumerate(theirs, 3)),
                *((os.POSIX_SPAWN_OPEN, n, os.devnull, os.O_WRONLY, 0) for n in (1, 2)),
            ],
        )
        for end in (read, write, *theirs):
            os.close(end)
        self._numbers, self._buffer, self._session = itertools.count(1), b"", ""
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        self.call("Performance.enable", timeDomain="threadTicks")  # so a busy machine is no slower

    def call(self, method: str, **params: object) -> dict[str, Any]:
        """Returns the answer; whatever happens meanwhile is kept in `events`."""
        message = {"id": next(self._numbers), "method": method, "params": params}
        session = {"sessionId": self._session} if self._session else {}
        os.write(self._out, json.dumps(message | session).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == message["id"]:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            self._buffer += os.read(self._in, 1 << 20) or pytest.fail("the browser died")
        answer, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(answer)

    def open(
        self, page: Path, *, width: int = 1400, height: int = 1000, scheme: str = "light"
    ) -> None:
        """Opens a page in a window of a size, on a system of a colour scheme."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        media = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", features=media)
        self.events.clear()
        self.call("Page.navigate", url=page.as_uri())
        while not self.named("Page.loadEventFired"):
            self.events.append(self._read())

    def named(self, *methods: str) -> list[dict[str, Any]]:
        """What happened since the page was opened."""
        return [event["params"] for event in self.events if event.get("method") in methods]

    def requests(self) -> list[str]:
        """What was asked for besides the page itself and what stands in it."""
        urls = [event["request"]["url"] for event in self.named("Network.requestWillBeSent")]
        return [url for url in urls[1:] if not url.startswith("data:")]

    def complaints(self) -> list[dict[str, Any]]:
        """Whatever the page logged."""
        return self.named("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")

    def run(self, script: str) -> Any:
        """Returns the value of an expression, or what its promise gives."""
        answer = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def seconds(self) -> float:
        """Returns the processor time that the page has taken since it was opened."""
        metrics = self.call("Performance.getMetrics")["metrics"]
        return next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration")

    def click(self, selector: str) -> None:
        """Clicks on the middle of an element, as a hand would."""
        self.mouse("mousePressed", selector)
        self.mouse("mouseReleased", selector)

    def mouse(
        self, kind: str, selector: str, right: float = 0.5, down: float = 0.5, **more: Any
    ) -> None:
        """Sends an event of the mouse at a place within an element, in fractions of its sides."""
        x, y, width, height = self._box(selector)
        event = {"type": kind, "x": x + right * width, "y": y + down * height}
        button = {"button": "left", "clickCount": 1} if kind != "mouseWheel" else {}
        self.call("Input.dispatchMouseEvent", **(event | button | more))

    def pixels(self, selector: str) -> np.ndarray:
        """Returns what an element looks like on the screen: height, width, red, green, blue."""
        x, y, width, height = self._box(selector)
        left, top = self.run("[scrollX, scrollY]")
        clip = {"x": x + left, "y": y + top, "width": width, "height": height, "scale": 1}
        shot = self.call("Page.captureScreenshot", clip=clip)
        with Image.open(io.BytesIO(base64.b64decode(shot["data"]))) as image:
            return np.asarray(image.convert("RGB")).astype(int)

    def _box(self, selector: str) -> list[float]:
        return self.run(
            f"(() => {{ const e = document.querySelector({selector!r}); e.scrollIntoView("
            "{ block: 'center', behavior: 'instant' }); const b = e.getBoundingClientRect();"
            "return [b.x, b.y, b.width, b.height]; })()"
        )

    def close(self) -> None:
        """Ends the browser."""
        self._session = ""
        self.call("Browser.close")
        os.waitpid(self._pid, 0)
        os.close(self._in)
        os.close(self._out)


@pytest.fixture(scope="session")
def open_browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBrowser]:
    """Starts browsers, `open_browser(*flags)`: each once, and only where there is one."""
    if not BROWSER:
        pytest.skip("no Chromium on this machine")
    started: dict[tuple[str, ...], Browser] = {}

    def open_(*flags: str) -> Browser:
        if flags not in started:
            started[flags] = Browser(tmp_path_factory.mktemp("browser"), *flags)
        return started[flags]

    yield open_
    for browser in started.values():
        browser.close()


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
