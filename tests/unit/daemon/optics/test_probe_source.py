"""Where the daemon's first probe comes from, and what is refused in words."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from daemon.config import Config, Optics, load_config
from daemon.errors import ConfigError
from daemon.optics.probe_source import probe_from_file, probe_from_optics
from daemon.optics.scan_optics import ScanOptics
from daemon.setup import Setup
from ptychopinn.errors import FileFormatError, ProbeMismatchError

KNOWN = ScanOptics(8800.0, 1.92, 75e-6, 28e-9)
PLATE = {"outermost_zone_width_m": 100e-9, "diameter_m": 180e-6, "defocus_m": 1e-3}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "given: none"),
        ({"probe_file": "a.npz", "pinhole": {"diameter_m": 1e-6}}, "given: probe_file and pinhole"),
    ],
)
def test_the_probe_has_one_source(options: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Optics.model_validate(options)


@pytest.mark.parametrize(
    "options",
    [
        {"zone_plate": PLATE},
        {"pinhole": {"diameter_m": 1e-6, "distance_m": 1e-4}},
        {"kb": {"focal_lengths_m": [0.2, 0.1], "openings_m": [200e-6, 60e-6], "defocus_m": 8e-4}},
    ],
)
def test_each_optic_makes_a_probe_that_is_to_be_retrieved(options: dict[str, object]) -> None:
    optics = Optics.model_validate(options)
    assert optics.is_retrieved
    probe = probe_from_optics(optics, KNOWN, 128)
    assert probe.shape == (1, 128, 128)
    assert np.linalg.norm(probe) == pytest.approx(1, abs=1e-4)


def test_what_does_not_fit_or_is_not_known_is_refused_in_words() -> None:
    plate = Optics.model_validate({"zone_plate": PLATE})
    with pytest.raises(ConfigError, match="photon_energy_eV, detector_distance_m"):
        probe_from_optics(plate, ScanOptics(None, None, None, 28e-9), 128)
    with pytest.raises(ConfigError, match=r"\[optics\]: the zone plate illuminates"):
        probe_from_optics(plate, KNOWN, 32)


def test_a_probe_of_another_size_or_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "probe.npz"
    np.savez(path, probe=np.ones((1, 32, 32), dtype=np.complex64))
    assert probe_from_file(path, 32)[1] is None
    with pytest.raises(ProbeMismatchError, match="32 x 32 px but"):
        probe_from_file(path, 64)
    np.savez(path, probe=np.zeros((1, 32, 32), dtype=np.complex64))
    with pytest.raises(FileFormatError, match="zero or holds values that are not finite"):
        probe_from_file(path, 32)


def optics_without_probe(folder: Path) -> Path:
    """Return a configuration that states the optics."""
    config = folder / "c.toml"
    config.write_text(
        '[frames]\nendpoint = "tcp://127.0.0.1:9"\n[detector]\nsize_px = 64\n[optics]\nphoton_energy_eV = 8800.0\n'
        "detector_distance_m = 1.92\ndetector_pixel_size_m = 105e-6\n[optics.zone_plate]\n"
        + "\n".join(f"{key} = {value}" for key, value in PLATE.items())
        + f"\n[output]\ndirectory = {json.dumps(str(folder / 'out'))}\n"
    )
    return config


def test_a_model_for_another_probe_keeps_its_network(tmp_path: Path) -> None:
    loaded: Config = load_config(optics_without_probe(tmp_path))
    setup = Setup(loaded)
    first = setup.first_model
    assert first.models.sharp is not None
    before = first.models.sharp.network.state_dict()
    other = (2 * first.probe.cpu().numpy()).astype(np.complex64)
    model = setup.models.with_probe(first, other)
    np.testing.assert_array_equal(model.probe.cpu().numpy(), other)
    assert model.identity == first.identity
    assert model.models.sharp is not None
    for name, weight in model.models.sharp.network.state_dict().items():
        np.testing.assert_array_equal(weight.cpu().numpy(), before[name].cpu().numpy())


def test_a_device_that_is_given_replaces_the_configured_one(tmp_path: Path) -> None:
    config = load_config(optics_without_probe(tmp_path), settings=['model.device="cuda:7"', 'model.bundle="none"'])
    setup = Setup(config, device=torch.device("cpu"))
    assert setup.device.type == setup.first_model.probe.device.type == "cpu"


def test_a_setup_takes_the_number_type_that_is_asked_for(tmp_path: Path) -> None:
    config = optics_without_probe(tmp_path)
    for dtype, expected in (("bfloat16", torch.bfloat16), ("float32", torch.float32)):
        setup = Setup(load_config(config, settings=[f"model.dtype={dtype}"]))
        sharp = setup.first_model.models.sharp
        assert sharp is not None
        assert {p.dtype for p in sharp.network.parameters()} == {expected}
