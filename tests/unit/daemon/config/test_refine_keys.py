"""Keys of the refined layer: values that exclude each other are refused."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from daemon.config.processing import Refine


@pytest.mark.parametrize("setting", [{"beam_drift": "auto"}, {"exposure_share": 0.8}])
def test_small_position_corrections_need_one_probe_for_all_frames(setting: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="position_bound_px > 0 cannot be used together"):
        Refine.model_validate(setting | {"position_bound_px": 2})
    Refine.model_validate(setting)


@pytest.mark.parametrize("modes", [0, 17, "many"])
def test_a_number_of_modes_is_1_to_16_or_auto(modes: object) -> None:
    with pytest.raises(ValidationError):
        Refine.model_validate({"modes": modes})
    assert Refine.model_validate({"modes": "auto"}).modes == "auto"
