"""Tests for mriimpute.report._companions."""

from mriimpute.report._companions import companions_block

ONE = {"name": "t1 <b>.nii", "moved_mm": 1.26, "turned_deg": 0.4, "seen_share": 0.985}


def test_what_helped_how_it_lay_and_what_was_ignored_is_said() -> None:
    quality = {
        "companions": [{**ONE, "gain_db": 2.469}, {**ONE, "name": "other", "gain_db": 0.01}],
        "companions_gain_db": 2.61,
        "companions_believed": 0.53,
        "companions_ignored": [{"name": "seg.nii", "reason": "seg.nii holds labels"}],
    }

    text = companions_block(quality)

    assert "1.3 mm" in text
    assert "0.4 degrees" in text
    assert "98 %" in text
    assert "gains 2.47 dB on hidden lines" in text
    assert "All of them: gains 2.61 dB" in text
    assert "53 % of it was believed" in text
    assert "changes next to nothing" in text
    assert "seg.nii was ignored: seg.nii holds labels" in text
    assert "t1 &lt;b&gt;.nii" in text  # a name is no markup


def test_without_companions_there_is_no_block() -> None:
    assert companions_block({"verdict": "pass"}) == ""
