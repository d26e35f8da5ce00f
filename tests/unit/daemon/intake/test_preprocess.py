"""Frames of scans that wait for their centre, and what is said about it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from daemon.config import load_config
from daemon.intake.preprocess import Prepared, Preprocess, PreprocessOptions, RawFrame
from ptychopinn.detector.patterns import is_no_data
from streams.codecs import CODECS, EncodedFrame
from streams.errors import CodecError
from streams.frame import ScanEnd, ScanStart, StreamGeometry

SHAPE, BEAM, SIZE = (120, 150), (52, 71), 32
RING = np.hypot(*np.ogrid[-16:16, -16:16])
PATTERN = np.where((RING < 10) & (RING > 4), 100.0, 0.0)
OPTIONS = PreprocessOptions("identity", None, SIZE, probe_pattern=PATTERN)
CODEC = CODECS["native"]()


def frame(index: int, *, light: float = 1.0, scan_id: str = "s", counts: np.ndarray | None = None) -> EncodedFrame:
    if counts is None:
        counts = np.zeros(SHAPE, dtype=np.uint16)
        counts[BEAM[0] - 16 : BEAM[0] + 16, BEAM[1] - 16 : BEAM[1] + 16] = np.round(PATTERN * light)
    (item,) = CODECS["native"]().parse(CODEC.encode_frame(scan_id, index, counts), index)
    return item


def indexes(ready: list) -> list[int]:
    return [item.frame.index for item in ready if isinstance(item, RawFrame)]


def only_prepared(ready: list) -> Prepared:
    (found,) = [item for item in ready if isinstance(item, Prepared)]
    return found


def test_frames_wait_in_their_order_until_two_looks_agree_and_none_is_lost():
    preprocess = Preprocess(OPTIONS)
    start = ScanStart("s", 100)
    assert preprocess.take([start]) == [start]
    assert preprocess.take([frame(i, light=0) for i in range(20)]) == []
    assert preprocess.held_frames == 20
    assert preprocess.waiting_scans == ["s"]
    ready = preprocess.take([frame(i) for i in range(20, 40)])
    prepared = only_prepared(ready)
    assert ready[0] is prepared
    assert (prepared.center_px, prepared.center_from, prepared.notes) == (BEAM, "probe", ())
    assert indexes(ready) == list(range(40))
    assert preprocess.held_frames == 0
    np.testing.assert_array_equal(ready[30].decode().counts, PATTERN)
    assert indexes(preprocess.take([frame(40)])) == [40]


def test_the_end_of_a_scan_decides_and_comes_after_its_frames():
    preprocess = Preprocess(OPTIONS)
    ready = preprocess.take([frame(0), frame(1), ScanEnd("s")])
    assert only_prepared(ready).center_px == BEAM
    assert indexes(ready) == [0, 1]
    assert ready[-1] == ScanEnd("s")


def test_darkness_ends_in_the_middle_with_a_sentence():
    preprocess = Preprocess(OPTIONS)
    ready = preprocess.take([*(frame(i, light=0) for i in range(30)), ScanEnd("s")])
    prepared = only_prepared(ready)
    assert (prepared.center_px, prepared.center_from) == ((60, 75), "middle")
    assert "no beam was found" in prepared.notes[0]
    assert len(indexes(ready)) == 30


def test_a_pattern_unlike_the_probes_ends_at_the_bright_spot_with_a_sentence():
    preprocess = Preprocess(OPTIONS)
    spot = np.zeros(SHAPE, dtype=np.uint16)
    spot[30:36, 40:46] = 900
    ready = preprocess.take([frame(i, counts=spot) for i in range(70)])
    prepared = only_prepared(ready)
    assert prepared.center_from == "spot"
    assert np.abs(np.subtract(prepared.center_px, (33, 43))).max() <= 2
    assert "check the probe" in prepared.notes[0]
    assert len(indexes(ready)) == 70


def test_what_waits_is_bounded_and_dark_frames_that_must_go_do_not_fix_the_centre():
    preprocess = Preprocess(replace(OPTIONS, hold_bytes=20 * frame(0).nbytes))
    dark = preprocess.take([frame(i, light=0) for i in range(50)])
    assert not any(isinstance(item, Prepared) for item in dark)
    ready = preprocess.take([frame(i) for i in range(50, 70)])
    assert only_prepared(ready).center_px == BEAM
    assert indexes(dark) + indexes(ready) == list(range(70))
    assert dark[0].decode().counts.shape == (SIZE, SIZE)


def test_a_silent_scan_waits_no_longer_than_it_may():
    patient, hasty = Preprocess(OPTIONS), Preprocess(replace(OPTIONS, hold_s=0.0))
    assert patient.take([frame(0)]) == patient.overdue() == []
    assert hasty.take([frame(0)]) == []
    assert indexes(hasty.overdue()) == [0]
    assert hasty.overdue() == []
    assert indexes(patient.overdue(all_of_them=True)) == [0]


def test_a_new_scan_of_the_same_name_looks_anew_and_the_old_frames_keep_their_box():
    preprocess = Preprocess(OPTIONS)
    old = preprocess.take([frame(i) for i in range(10)])
    ready = preprocess.take([frame(10), ScanStart("s"), *(frame(i, counts=moved()) for i in range(10))])
    assert only_prepared(old).center_px == BEAM
    assert only_prepared(ready).center_px == (BEAM[0] + 7, BEAM[1] - 9)
    np.testing.assert_array_equal(ready[0].decode().counts, PATTERN)
    np.testing.assert_array_equal(ready[-1].decode().counts, PATTERN)


def moved() -> np.ndarray:
    counts = np.zeros(SHAPE, dtype=np.uint16)
    counts[BEAM[0] - 9 : BEAM[0] + 23, BEAM[1] - 25 : BEAM[1] + 7] = PATTERN
    return counts


def test_a_scan_that_goes_on_keeps_the_centre_it_had():
    preprocess = Preprocess(OPTIONS)
    preprocess.resume(ScanStart("s"), (50, 70), "probe")
    ready = preprocess.take([frame(5)])
    assert only_prepared(ready) == Prepared("s", (50, 70), "probe", masked_pixels=0)
    assert indexes(ready) == [5]


def test_a_beam_near_the_edge_is_cut_with_a_warning_and_what_is_outside_is_no_data():
    counts = np.zeros(SHAPE, dtype=np.uint16)
    counts[:25, 50:82] = PATTERN[7:]
    ready = Preprocess(OPTIONS).take([frame(i, counts=counts) for i in range(10)])
    prepared = only_prepared(ready)
    assert prepared.center_px == (9, 66)
    assert "leaves the frame of 120 x 150 px" in prepared.notes[0]
    assert is_no_data(ready[-1].decode().counts).sum() == 7 * SIZE


@pytest.mark.parametrize("orientation", ["identity", "rot90_cw", "antitranspose"])
def test_mask_saturation_and_flat_field_of_the_header_are_applied_in_the_detectors_own_frame(orientation: str):
    mask = np.zeros(SHAPE, dtype=bool)
    mask[60, 75] = True
    flat = np.full(SHAPE, 2.0, dtype=np.float32)
    geometry = StreamGeometry(mask=mask, saturation=7.0, flatfield=flat)
    counts = np.full(SHAPE, 3, dtype=np.uint16)
    counts[61, 75] = 8
    center = (60, 75) if orientation == "identity" else (75, 60)
    preprocess = Preprocess(PreprocessOptions(orientation, center, SIZE))
    _, prepared, raw = preprocess.take([ScanStart("s", geometry=geometry), frame(0, counts=counts)])
    pattern = raw.decode().counts
    assert prepared.notes == ()
    assert is_no_data(pattern).sum() == 2
    assert set(pattern[~is_no_data(pattern)]) == {6.0}


def test_conflicts_with_the_header_and_misfits_are_named_and_the_configuration_wins():
    geometry = StreamGeometry(saturation=100.0, flatfield=np.ones(SHAPE, np.float32), mask=np.zeros((5, 5), dtype=bool))
    options = PreprocessOptions(
        "identity", BEAM, SIZE, mask=np.zeros((9, 9), dtype=bool), flatfield=np.full(SHAPE, 3.0), saturation=200.0
    )
    counts = np.full(SHAPE, 150, dtype=np.uint16)
    _, prepared, raw = Preprocess(options).take([ScanStart("s", geometry=geometry), frame(0, counts=counts)])
    words = " | ".join(prepared.notes)
    assert "the mask_file of 9 x 9 px does not fit frames of 120 x 150 px" in words
    assert "the mask of the stream of 5 x 5 px" in words
    assert "counts above 100 are saturated, [detector] saturation 200" in words
    assert "flatfield_file is used" in words
    assert (raw.decode().counts == 450).all()


def test_a_mask_of_the_patterns_shape_is_one():
    mask = np.zeros((SIZE, SIZE), dtype=bool)
    mask[3, 4] = True
    options = PreprocessOptions("identity", BEAM, SIZE, binning=2, mask=mask)
    prepared, raw = Preprocess(options).take([frame(0)])
    assert prepared.notes == ()
    assert np.argwhere(is_no_data(raw.decode().counts)).tolist() == [[3, 4]]


def test_a_frame_that_cannot_be_decoded_or_cut_is_refused_by_name():
    broken = replace(frame(3), payload=b"\0" * 40)
    _, raw = Preprocess(replace(OPTIONS, center_px=BEAM)).take([broken])
    fault = raw.decode()
    assert isinstance(fault, CodecError)
    assert (fault.scan_id, fault.index) == ("s", 3)
    _, raw = Preprocess(replace(OPTIONS, center_px=(500, 500))).take([frame(4)])
    fault = raw.decode()
    assert isinstance(fault, CodecError)
    assert (fault.reason, fault.index) == ("shape", 4)
    ready = Preprocess(OPTIONS).take([broken, *(frame(i) for i in range(4, 20))])
    assert len(indexes(ready)) == 17


def test_what_is_known_of_scans_is_bounded():
    preprocess = Preprocess(replace(OPTIONS, center_px=BEAM))
    for number in range(100):
        preprocess.take([frame(0, scan_id=f"s{number}")])
    assert len(preprocess._scans) <= 17


def test_the_configuration_in_the_how_to_is_one(tmp_path: Path):
    page = Path(__file__).parents[4] / "deploy/docs/how-to/preprocessing.md"
    (block,) = re.findall(r"```toml\n(.*?)```", page.read_text(), flags=re.DOTALL)
    (tmp_path / "how-to.toml").write_text(block)
    (tmp_path / "probe.h5").touch()
    config = load_config(tmp_path / "how-to.toml")
    assert config.detector.center_px == "auto"
    assert config.optics.photon_energy_eV is None


KNOWN = replace(OPTIONS, center_px=BEAM)


def hot(index: int, value: int = 2**20, dtype: type = np.uint32) -> EncodedFrame:
    """Return a frame with one hot pixel at row 40, column 60, which is 4, 5 in the pattern."""
    counts = np.random.default_rng(index).poisson(moved_to(BEAM)).astype(dtype)
    counts[40, 60] = value
    return frame(index, counts=counts)


def moved_to(beam: tuple[int, int]) -> np.ndarray:
    counts = np.zeros(SHAPE)
    counts[beam[0] - 16 : beam[0] + 16, beam[1] - 16 : beam[1] + 16] = PATTERN
    return counts


@pytest.mark.parametrize("value", [2**32 - 2, 2**31, 10**7, 2**20, 65534])
def test_a_hot_pixel_is_masked_in_every_frame_from_the_first_on_and_named_once(value: int):
    preprocess = Preprocess(KNOWN)
    ready = [item for i in range(80) for item in preprocess.take([hot(i, value)])]
    prepared = only_prepared(ready)
    assert indexes(ready) == list(range(80))
    assert len(prepared.notes) == 1
    assert str(value) in prepared.notes[0]
    for raw in ready[1:]:
        assert np.argwhere(is_no_data(raw.decode().counts)).tolist() == [[4, 5]]


def test_frames_wait_for_a_look_only_where_a_pixel_is_suspect_and_not_for_ever():
    assert indexes(Preprocess(KNOWN).take([frame(0)])) == [0]
    preprocess = Preprocess(replace(KNOWN, hold_s=0.0))
    assert preprocess.take([hot(0, 9000)]) == []
    assert preprocess.held_frames == 0  # of those that wait for their centre
    assert indexes(preprocess.overdue()) == [0]
    assert indexes(preprocess.take([hot(1, 9000)])) == [1]
    assert indexes(Preprocess(KNOWN).take([hot(0, 9000), ScanEnd("s")])) == [0]


def test_a_pixel_that_becomes_hot_in_mid_scan_is_masked_after_the_next_look():
    preprocess = Preprocess(KNOWN)
    before = [item for i in range(30) for item in preprocess.take([frame(i, counts=moved_to(BEAM).astype(np.uint32))])]
    assert only_prepared(before).notes == ()
    after = [item for i in range(30, 80) for item in preprocess.take([hot(i)])]
    (note,) = only_prepared(after).notes
    assert note.startswith("from frame 66 on: 1 pixel (row 40, column 60: 1048576)")
    assert np.argwhere(is_no_data(after[-1].decode().counts)).tolist() == [[4, 5]]


def test_a_mask_that_leaves_next_to_nothing_is_named():
    mask = np.ones(SHAPE, bool)
    mask[52, 71] = False
    (prepared, _raw) = Preprocess(replace(KNOWN, mask=mask)).take([frame(0)])
    assert prepared.notes == ("the mask leaves 1 of 1,024 pixels; is it inverted?",)


def test_a_frame_of_another_shape_is_refused_by_name_and_the_others_are_whole():
    preprocess = Preprocess(replace(OPTIONS, center_px=BEAM))
    wrong = frame(1, counts=np.ones((SHAPE[0] - 40, SHAPE[1]), dtype=np.uint16))
    ready = preprocess.take([ScanStart("s", 3), frame(0), wrong, frame(2)])
    decoded = [item.decode() for item in ready if isinstance(item, RawFrame)]
    assert isinstance(decoded[1], CodecError)
    assert (decoded[1].reason, decoded[1].scan_id, decoded[1].index) == ("shape", "s", 1)
    np.testing.assert_array_equal(decoded[0].counts, decoded[2].counts)


def test_a_scan_that_is_over_is_forgotten_but_not_its_frames_that_wait():
    preprocess = Preprocess(OPTIONS)
    assert preprocess.take([frame(0)]) == []
    preprocess.forget("s")
    preprocess.forget("another")
    assert indexes(preprocess.overdue(all_of_them=True)) == [0]
    preprocess.forget("s")
    assert preprocess.take([frame(1)]) == []  # the centre is searched for as in a new scan
