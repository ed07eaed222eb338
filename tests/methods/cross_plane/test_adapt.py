"""Tests for mriimpute.methods.cross_plane.adapt."""

import numpy as np
import torch
from scipy import ndimage

from mriimpute.cohort.slices import SliceScan
from mriimpute.methods.cross_plane.adapt import adapted
from mriimpute.methods.cross_plane.hidden_lines import whole_slices
from mriimpute.methods.cross_plane.network import Config, LineNetwork, build
from mriimpute.methods.cross_plane.validation import score, validation_slices


def scan(rng: np.random.Generator) -> SliceScan:
    noise = rng.normal(size=(12, 40, 40))
    slices = 0.5 + 0.5 * ndimage.gaussian_filter(noise, (0, 1.5, 1.5), mode="wrap")
    return SliceScan("a", slices.astype(np.float16), (3,), (1, 1), (1.0, 1.0), -9.0)


def network() -> LineNetwork:
    return build(Config(channels=8, blocks=1, hidden=8), seed=0).eval()


def gain_db(net: LineNetwork, one: SliceScan) -> float:
    images = whole_slices([one], 3, 6, generator=np.random.default_rng(1))
    scored = score(net.eval(), validation_slices(images))
    assert scored is not None
    return scored.gain_db


def test_a_network_learns_the_texture_of_a_scan(rng: np.random.Generator) -> None:
    one, net = scan(rng), network()

    ours = adapted(net, one, [3], seed=0, case="a")

    assert gain_db(ours, one) > gain_db(net, one) + 0.2


def test_the_same_seed_and_case_learn_the_same(rng: np.random.Generator) -> None:
    one, net = scan(rng), network()

    first, again, other = (
        adapted(net, one, [3], seed=0, case=case, steps=10).state_dict()
        for case in ("a", "a", "b")
    )

    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)
