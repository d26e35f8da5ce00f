"""Endpoints, formats and keys of a configuration that do not go together, each one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.config import Config, load_config
from daemon.errors import ConfigError
from daemon.intake.receivers import make_frames_receiver, shared_streams
from streams.detectors.merlin import MerlinReceiver
from streams.detectors.pva import PvaReceiver
from streams.sockets.transport import Receiver


def load(folder: Path, *settings: str) -> Config:
    (folder / "probe.h5").touch()
    (folder / "own.key").touch()
    path = folder / "test.toml"
    path.write_text(
        '[frames]\nendpoint = "tcp://127.0.0.1:9999"\n[detector]\ncenter_px = [64, 64]\n'
        "[optics]\nobject_pixel_size_m = 1e-8\nprobe_file = 'probe.h5'\n"
    )
    return load_config(path, settings)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (['frames.format="pva"'], 'format = "pva" and endpoint = "pva://NAME" require each other'),
        (['frames.endpoint="pva://X"'], 'format = "pva" and endpoint = "pva://NAME" require each other'),
        (['frames.endpoint="pva://"', 'frames.format="pva"'], "is not a valid endpoint"),
        (['frames.endpoint="@tcp://127.0.0.1:1"', 'frames.format="merlin"'], "requires the endpoint of its data port"),
        (['frames.format="merlin"', 'frames.curve_public_file="own.key"'], "does not support CURVE keys"),
        (['positions.curve_public_file="own.key"'], 'source = "frame" does not support CURVE keys'),
        (
            ['frames.curve_public_file="gone.key"'],
            "[frames] curve_public_file: the file gone.key does not exist",
        ),
    ],
)
def test_what_does_not_go_together(tmp_path: Path, settings: list[str], words: str):
    with pytest.raises(ConfigError) as fault:
        load(tmp_path, *settings)
    assert words in str(fault.value)


@pytest.mark.parametrize(
    ("settings", "kind", "shared"),
    [
        ([], Receiver, ["frames"]),
        (['frames.socket="sub"'], Receiver, []),
        (['frames.endpoint="@tcp://127.0.0.1:0"'], Receiver, []),
        (['frames.format="merlin"'], MerlinReceiver, []),
        (['frames.format="pva"', 'frames.endpoint="pva://X:Image"'], PvaReceiver, []),
        (
            ['frames.socket="sub"', 'positions.source="native"', 'positions.endpoint="tcp://127.0.0.1:9"'],
            Receiver,
            ["positions"],
        ),
        (['positions.source="panda"', 'positions.endpoint="tcp://127.0.0.1:9"'], Receiver, ["frames"]),
    ],
)
def test_each_format_has_its_receiver(tmp_path: Path, settings: list[str], kind: type, shared: list[str]):
    config = load(tmp_path, *settings)
    receiver = make_frames_receiver(config, lambda _parts, _ns: None)
    assert type(receiver) is kind
    assert receiver.name == "frames"
    assert shared_streams(config) == shared
