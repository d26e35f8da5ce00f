"""What a diagnosis asks for in the configuration, what is set there already among it."""

from __future__ import annotations

import pytest

from daemon.background.diagnosis.advice import advice
from daemon.config import Config
from ptychopinn.diagnosis.correction import Correction
from ptychopinn.diagnosis.fit_test import Diagnosis


def asked(correction: Correction, *, is_probe_poor: bool = False, **sections: dict[str, object]) -> list[str]:
    tree: dict[str, dict[str, object]] = {
        "frames": {"endpoint": "tcp://127.0.0.1:9"},
        "detector": {},
        "optics": {"probe_file": "x.h5"},
    }
    config = Config.model_validate(
        {name: {**tree.get(name, {}), **sections.get(name, {})} for name in {*tree, *sections}}
    )
    return advice(Diagnosis("", correction, 0.4, 0.2, is_probe_poor, 50, 1.0), config, (64, 60))


@pytest.mark.parametrize(
    ("configured", "turn", "right"),
    [
        ("identity", "transpose", "transpose"),
        ("transpose", "transpose", "identity"),
        ("rot90_cw", "fliplr", "transpose"),
    ],
)
def test_the_orientation_is_the_configured_one_and_the_further_turn(configured: str, turn: str, right: str) -> None:
    words = asked(Correction(pattern_turn=turn), detector={"orientation": configured})
    assert words == [f'set [detector] orientation = "{right}"']


@pytest.mark.parametrize(
    ("flips", "turn", "words"),
    [
        ([], "fliplr", 'set [positions] flips = ["x"]'),
        (["x"], "fliplr", "set [positions] flips = []"),
        (["y"], "fliplr", 'set [positions] flips = ["y", "x"]'),
        ([], "transpose", "swap the axes of the positions at their source and set [positions] flips = []"),
        (["y"], "transpose", 'swap the axes of the positions at their source and set [positions] flips = ["x"]'),
    ],
)
def test_signs_of_positions_count_what_is_flipped_already(flips: list[str], turn: str, words: str) -> None:
    assert asked(Correction(position_turn=turn), positions={"flips": flips}) == [words]


def test_the_centre_moves_against_the_patterns_shift_in_pixels_of_the_detector() -> None:
    assert asked(Correction(pattern_shift_px=(-3, 2)), detector={"binning": 2}) == [
        "set [detector] center_px = [70, 56]"
    ]


def test_probe_and_pixel_have_their_own_words() -> None:
    assert "by 1.053 in [optics]" in asked(Correction(position_scale=0.95))[0]
    assert asked(Correction(is_conjugate=True)) == ["give the correct [optics] probe_file"]
    assert "or set retrieve_probe = true" in asked(Correction(), is_probe_poor=True)[0]
