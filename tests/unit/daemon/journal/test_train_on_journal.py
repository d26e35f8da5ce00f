"""A journal is a stream that the trainer trains on, as its frames come."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from daemon.journal import Journal, RecordBatch, pack
from daemon.journal.reading import group_frames
from daemon.journal.record import frame_record
from ptychopinn.api import PtychoModel, StreamDataset, Trainer
from ptychopinn.errors import ConfigurationError, GeometryError
from ptychopinn.mosaic.groups import GroupFrame
from streams.frame import PositionM
from tests.support.training_scenes import experiment, same_weights, small_configs

SCAN = experiment(frames=25)
PROBE = torch.from_numpy(SCAN.probe)
PIXEL_M = 2e-8


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Record a scan as the daemon keeps it."""
    folder = tmp_path_factory.mktemp("journal")
    journal = Journal(folder, 1 << 30)
    journal.start()
    counts = np.rint(np.maximum(SCAN.amplitude, 0) ** 2).astype(np.uint32)
    places = [PositionM(y * PIXEL_M, x * PIXEL_M) for y, x in SCAN.positions_px.tolist()]
    assert journal.commit([RecordBatch("a", [frame_record(i, places[i], pack(c)) for i, c in enumerate(counts)])])
    journal.stop()
    return folder / "a"


def trainer(folder: Path, **training: Any) -> Trainer:
    model = {"architecture": "fno", "n_filters_scale": 2, "fno_width": 8, "fno_blocks": 1, "fno_modes": 4}
    return Trainer(small_configs(folder, model=model, training={"n_groups": 16, "overlap_frames": 4, **training}))


def stream(of: Trainer, frames: Iterator[GroupFrame], probe: torch.Tensor = PROBE) -> StreamDataset:
    return StreamDataset(frames, probe, of.stream_config, batch_size=4, seed=0, chunk_frames=16)


def test_a_recording_is_trained_on_until_it_ends(recording: Path, tmp_path: Path) -> None:
    one = trainer(tmp_path / "one", epochs=9)
    model = one.fit(stream(one, group_frames(recording, PIXEL_M)))
    assert [line["epoch"] for line in one.history] == [0, 1]  # 25 groups: an epoch of 16, and the rest
    assert one.history[1]["train_loss"] < one.history[0]["train_loss"]
    (about,) = model.bundle.provenance["experiments"]
    assert (about["frames"], about["groups"]) == (25, 25)
    model.save(tmp_path / "m.zip")
    assert same_weights(PtychoModel.load(tmp_path / "m.zip"), model)

    foreign = trainer(tmp_path / "foreign", epochs=9)  # a probe in other units is brought to photons
    other = foreign.fit(stream(foreign, group_frames(recording, PIXEL_M), PROBE / 100))
    assert foreign.history[1]["train_loss"] == pytest.approx(one.history[1]["train_loss"], rel=0.05)
    goes_on = trainer(tmp_path / "more", epochs=1)
    assert not same_weights(goes_on.fit(stream(goes_on, group_frames(recording, PIXEL_M)), start=other), other)


def test_groups_without_overlap_are_trained_on_too(recording: Path, tmp_path: Path) -> None:
    one = trainer(tmp_path, overlap_frames=0, epochs=1)
    one.fit(stream(one, group_frames(recording, PIXEL_M)))
    assert np.isfinite(one.history[0]["train_loss"])


def test_streams_that_cannot_be_trained_on_are_refused(recording: Path, tmp_path: Path) -> None:
    one, pairs = trainer(tmp_path / "one"), trainer(tmp_path / "two", overlap_frames=2)
    with pytest.raises(ConfigurationError, match=r"groups of 2 frames but .* ask for 4; .* Trainer\.stream_config"):
        one.fit(stream(pairs, group_frames(recording, PIXEL_M)))
    with pytest.raises(GeometryError, match="the stream ended before it had a group of 4 frames"):
        one.fit(stream(one, iter(())))
    tuned = trainer(tmp_path / "three", epochs_fine_tune=1)
    with pytest.raises(ConfigurationError, match="a stream is trained once, by one process, without validation"):
        tuned.fit(stream(tuned, group_frames(recording, PIXEL_M)))
