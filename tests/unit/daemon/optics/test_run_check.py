"""What a run says, compared with the optics; and what a position source needs of the configuration."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from daemon.config import Metadata, Positions
from daemon.intake.receivers import make_position_reader
from daemon.optics.run_check import run_notes

KEYED = Metadata(energy_key="energy")
AT = "tcp://127.0.0.1:1"


@pytest.mark.parametrize(
    ("about", "options", "used", "words"),
    [
        ({"energy": 8.8}, KEYED, 8800.0, None),
        ({"energy": 8.85}, KEYED, 8800.0, None),
        ({"energy": 9.0}, KEYED, 8800.0, "the run's energy is 9000.0 eV but 8800.0 eV is used"),
        ({"energy": 8800}, Metadata(energy_key="energy", energy_unit="eV"), 8800.0, None),
        ({"dcm": 8.8}, KEYED, 8800.0, "has no number energy; change [metadata] energy_key to one of dcm"),
        ({"energy": "8.8"}, KEYED, 8800.0, "has no number energy"),
        ({"energy": True}, KEYED, 8800.0, "has no number energy"),
        ({"energy": float("nan")}, KEYED, 8800.0, "has no number energy"),
        ({"energy": 9.0}, Metadata(), 8800.0, None),
        ({"energy": 9.0}, KEYED, None, None),
        (None, KEYED, 8800.0, None),
    ],
)
def test_energy(about: dict[str, Any] | None, options: Metadata, used: float | None, words: str | None) -> None:
    notes = run_notes(about, options, used)
    assert len(notes) == (words is not None)
    assert words is None or words in notes[0]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"source": "panda"}, 'source = "panda" requires endpoint'),
        ({"source": "pandablocks", "endpoint": AT}, "requires channels"),
        ({"source": "bluesky"}, "requires endpoint and channels"),
        ({"source": "spiral"}, "requires count and step_m"),
        ({"source": "panda", "endpoint": AT, "channels": ["a"]}, "channels"),
        ({"source": "panda", "endpoint": AT, "samples_per_frame": 0}, "samples_per_frame"),
        ({"source": "panda", "endpoint": AT, "scale": [1.0, -1.0]}, "scale"),
        ({"source": "panda", "endpoint": AT, "unit": "inch"}, "unit"),
    ],
)
def test_what_a_source_needs(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Positions(**given)


def test_the_usual_socket_and_the_factors() -> None:
    assert Positions(source="panda", endpoint=AT).socket == "sub"
    assert Positions(source="bluesky", endpoint=AT, channels=("y", "x")).socket == "sub"
    assert Positions(source="panda", endpoint=AT, socket="pull").socket == "pull"
    assert Positions(source="native", endpoint=AT).socket == "pull"
    scaled = Positions(source="panda", endpoint=AT, unit="um", scale=(2.0, 3.0), flips=["x"])
    assert scaled.factors_m == pytest.approx((2e-6, -3e-6))
    assert Positions(scale=1e-6).factors_m == (1e-6, 1e-6)


@pytest.mark.parametrize("source", ["frame", "file", "raster", "spiral"])
def test_sources_without_a_stream(source: str) -> None:
    options = {"file": "f.csv", "shape": (2, 2), "step_m": (1.0, 1.0), "count": 4}
    assert make_position_reader(Positions(source=source, **options)) is None
