"""Tests for mriimpute.io.dicom.split, and for what series_in makes of its parts."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from mriimpute.errors import VolumeError
from mriimpute.io import find_scans, read_scan
from mriimpute.io.dicom.planes import Plane
from mriimpute.io.dicom.split import sequence_of, split_by_position

MakeSeries = Callable[..., Path]
Volume = Callable[[int], Mapping[str, str]]
"""What the images of a volume say at each slice."""


def says(**kinds: Any) -> Volume:
    """A value that can be called is one for each slice."""
    named = {name.replace("_", " "): value for name, value in kinds.items()}
    return lambda n: {k: str(v(n)) if callable(v) else str(v) for k, v in named.items()}


def planes_of(volumes: Sequence[Volume], leave_out: Mapping[int, Sequence[int]]) -> list[Plane]:
    """Returns 12 slices, 5 mm apart, of each volume, in no order."""
    planes = [
        Plane(
            file=f"{v}-{n}",
            frame=0,
            uid=f"{v}-{n}",
            sop_class="",
            position=(-100.0, -100.0, 5.0 * n),
            directions=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
            spacing_mm=(1.0, 1.0),
            shape=(8, 8),
            thickness_mm=5.0,
            slope=1.0,
            intercept=0.0,
            lacks_slope=False,
            kinds=tuple(volume(n).items()),
            is_ours=False,
        )
        for v, volume in enumerate(volumes)
        for n in range(12)
        if n not in leave_out.get(v, ())
    ]
    return [planes[n] for n in np.random.default_rng(0).permutation(len(planes))]


def volume_of(plane: Plane) -> str:
    return plane.file.split("-")[0]


COUNT = itertools.count()


@pytest.mark.parametrize(
    ("volumes", "names"),
    [
        ([says(acquisition=lambda n: n)], [""]),
        ([says(echo_time=10), says(echo_time=90)], ["echo1", "echo2"]),
        ([says(echo_time=e, acquisition=lambda n: n) for e in (9, 10)], ["echo1", "echo2"]),
        ([says(echo_time=e, acquisition=lambda n: next(COUNT)) for e in (9, 10)],
         ["echo1", "echo2"]),
        ([says(echo_time=e, acquisition=lambda n, e=e: e + n % 2) for e in (10, 90)],
         ["echo1", "echo2"]),
        ([says(inversion_time=lambda n, t=t: t + n / 9, flip_angle=t) for t in (900, 2700)],
         ["flip1", "flip2"]),
        ([says(image_type=f"ORIGINAL\\PRIMARY\\{t}\\ND") for t in "MP"], ["magnitude", "phase"]),
        ([says(component=c) for c in ("MAGNITUDE", "PHASE")], ["magnitude", "phase"]),
        ([says(image_type=f"DERIVED\\{t}") for t in ("SMITH", "JONES")], ["type1", "type2"]),
        ([says(echo_time=e, image_type=t, acquisition=lambda n: next(COUNT))
          for e in (5, 9) for t in "MP"],
         ["echo1-magnitude", "echo1-phase", "echo2-magnitude", "echo2-phase"]),
        ([says(time=t, acquisition=t) for t in (1, 2, 3)], ["time1", "time2", "time3"]),
        ([says(echo_time=5 * e) for e in range(1, 11)], [f"echo{n:02d}" for n in range(1, 11)]),
        ([says(), says()], [""]),
    ],
)  # fmt: skip
def test_volumes_of_a_series_are_told_apart_by_the_fewest_attributes_that_make_stacks(
    volumes: list[Volume], names: list[str]
) -> None:
    parts = split_by_position(planes_of(volumes, {}))

    assert [part.name for part in parts] == names
    assert {part.absent for part in parts} == {0}
    if len(parts) == len(volumes):
        assert {frozenset(map(volume_of, part.planes)) for part in parts} == {
            frozenset({str(n)}) for n in range(len(volumes))
        }


@pytest.mark.parametrize(
    ("missing", "absent", "is_cut"),
    [((5,), 1, False), ((7, 8, 9, 10, 11), 5, True), ((0, 1), 2, True), (range(1, 12), 11, True)],
)
def test_a_part_knows_what_it_lacks(missing: Sequence[int], absent: int, is_cut: bool) -> None:
    parts = split_by_position(planes_of([says(time=1), says(time=2)], {1: missing}))

    assert [(part.name, part.absent, part.is_cut) for part in parts] == [
        ("time1", 0, False),
        ("time2", absent, is_cut),
    ]


@pytest.mark.parametrize(
    ("volumes", "what"),
    [
        ([says(time=t) for t in range(3)], None),
        ([says(echo_time=t) for t in range(16)], None),
        ([says(time=t) for t in range(12)], "a time series of 12 volumes"),
        ([says(time=t, echo_time=e) for t in range(6) for e in (1, 2)],
         "a time series of 6 volumes"),
        ([says(acquisition=t, epi="yes") for t in range(2)], "a time series of 2 volumes"),
        ([says(b_value=b) for b in (0, 1000)], "a diffusion series of 2 volumes"),
        ([says(private_b_value=f"*ep_b{b}", acquisition=b, epi="yes") for b in (0, 500, 1000)],
         "a diffusion series of 3 volumes"),
        ([says(gradient=g, acquisition=g, b_value=g > 0) for g in range(7)],
         "a diffusion series of 7 volumes"),
    ],
)  # fmt: skip
def test_a_time_series_and_a_diffusion_series_are_known(
    volumes: list[Volume], what: str | None
) -> None:
    assert sequence_of(split_by_position(planes_of(volumes, {}))) == what


def test_an_incomplete_volume_of_a_time_series_is_counted() -> None:
    planes = planes_of([says(time=t) for t in range(8)], {7: range(6, 12)})

    assert sequence_of(split_by_position(planes)) == (
        "a time series of 8 volumes, 1 of them incomplete"
    )


def times(make_series: MakeSeries, count: int, *, missing: tuple[int, ...] = ()) -> Path:
    def edit(time: int) -> Callable[[Dataset, int], None]:
        return lambda image, n: image.update(
            {"TemporalPositionIdentifier": time, "SOPInstanceUID": f"1.2.{time + 1}.{n}"}
        )

    for time in range(count):
        left_out = missing if time == count - 1 else ()
        folder = make_series(edit=edit(time), prefix=f"t{time}", leave_out=left_out)
    return folder


def test_the_complete_volumes_stand_for_a_series_whose_last_one_was_cut(
    make_series: MakeSeries, caplog: pytest.LogCaptureFixture
) -> None:
    folder = times(make_series, 3, missing=(3, 4, 5))

    scans = find_scans(folder)

    assert [path.name for path in scans] == ["series-003-time1", "series-003-time2"]
    assert "series-003-time3 is incomplete (3 of 6 slices) and is left out" in caplog.text
    assert read_scan(scans[1]).series.kinds == (("time", "1"),)
    assert read_scan(folder / "series-003-time3").stored_shape == (9, 8, 3)


def test_a_time_series_is_one_scan_that_says_what_it_is_and_its_volumes_can_be_named(
    make_series: MakeSeries,
) -> None:
    folder = times(make_series, 7)

    assert find_scans(folder) == [folder]
    with pytest.raises(VolumeError, match="exam is a time series of 7 volumes") as caught:
        read_scan(folder)
    assert "exam/series-003-time1" in caught.value.hint
    assert read_scan(folder / "series-003-time7").stored_shape == (9, 8, 6)


def test_a_time_series_beside_another_series_is_left_out_in_one_line(
    make_series: MakeSeries, caplog: pytest.LogCaptureFixture
) -> None:
    folder = times(make_series, 7)
    make_series(series="1.2.9", prefix="a", edit=lambda i, _: setattr(i, "SeriesNumber", 4))
    make_series(series="1.2.8", prefix="b", edit=lambda i, _: setattr(i, "SeriesNumber", 5))

    scans = find_scans(folder)

    assert [path.name for path in scans] == ["series-004", "series-005"]
    assert caplog.text.count("left out") == 1
    assert "series-003 is a time series of 7 volumes and is left out" in caplog.text
    with pytest.raises(VolumeError, match="series-003 is a time series"):
        read_scan(folder / "series-003")


def test_images_that_nothing_tells_apart_say_what_they_may_be(make_series: MakeSeries) -> None:
    def edit(image: Dataset, number: int) -> None:
        image.ImagePositionPatient = [0, 0, 0]

    with pytest.raises(VolumeError, match="up to 6 images lie at one place, as in a time series"):
        read_scan(make_series(edit=edit))
