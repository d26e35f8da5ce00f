"""The absolute scale of PtychoPINN (facts of hoidn/PtychoPINN 712c23f3): files in its units, checkpoints of its profiles.

It converts amplitudes X with a scale S by counts = (S X)^2 and probe = S * probe, and its count regime belongs to the pair
ci_intensity_v2, count_intensity, with the statistics of the training scan in the checkpoint.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from daemon.files import read_scan
from ptychopinn.api import ConfigManager, ConfigurationError, PtychoModel
from ptychopinn.config.presets import PRESETS
from ptychopinn.data import read_training_file
from ptychopinn.errors import FileFormatError
from ptychopinn.model.cnn import CnnOptions, TrainableCnn
from ptychopinn.model.cnn_options import PhysicsOptions
from ptychopinn.model.scale_contract import contract_fault, object_scale

N, FRAMES = 32, 16
SCALE = 57.0
PAIR = {"scale_contract_version": "ci_intensity_v2", "measurement_domain": "count_intensity"}
LEGACY = {"scale_contract_version": "legacy_v1", "measurement_domain": "normalized_amplitude"}
STATISTICS = {"rms_input_scale": torch.tensor(0.01), "mean_measured_intensity": torch.tensor(3.0)}


def scene() -> tuple[NDArray[np.float64], NDArray[np.complex64]]:
    """Return intensities without noise, and the probe with as many photons as a frame without sample."""
    rng = np.random.default_rng(4)
    probe = np.exp(-((np.mgrid[:N, :N] - N // 2) ** 2).sum(0) / 40).astype(np.complex64)
    probe *= np.float32(np.sqrt(1e4 / (np.abs(probe) ** 2).sum()))
    exits = probe * np.exp(1j * rng.normal(0, 0.5, (FRAMES, N, N)))
    return np.abs(np.fft.fftshift(np.fft.fft2(exits, norm="ortho"), axes=(1, 2))) ** 2, probe


def write(path: Path, counts: NDArray[Any], probe: NDArray[Any], metadata: object = None) -> Path:
    """Write amplitudes in units of 1 / SCALE, as PtychoPINN's simulation does."""
    extra = {} if metadata is None else {"_metadata": np.array(metadata, dtype=object)}
    place = np.arange(FRAMES) * 3.0
    roots = (np.sqrt(counts) / SCALE).astype(np.float32)
    np.savez(path, diffraction=roots, xcoords=place, ycoords=place, probeGuess=probe, **extra)  # type: ignore[arg-type]
    return path


def test_stated_photons_scale_patterns_and_probe_together(tmp_path: Path) -> None:
    counts, probe = scene()
    stated = json.dumps({"physics_parameters": {"nphotons": counts.sum() / FRAMES}})
    path = write(tmp_path / "s.npz", counts, probe / SCALE, stated)
    scan, trained = read_scan(path), read_training_file(path)
    np.testing.assert_allclose(scan.counts, counts, rtol=1e-4)
    np.testing.assert_allclose(trained.amplitude**2, counts, rtol=1e-4)
    for found in (scan.probe, trained.probe):
        np.testing.assert_allclose(found[0], probe, rtol=1e-4)  # type: ignore[index, arg-type]
    assert any("as the file states" in note for note in scan.notes)
    asked = read_training_file(path, nphotons=2e4)
    assert float((asked.amplitude**2).sum()) / FRAMES == pytest.approx(2e4, rel=1e-4)
    np.testing.assert_allclose(asked.probe[0] / probe, np.sqrt(2e4 * FRAMES / counts.sum()), rtol=1e-4)


def test_photons_that_the_values_show_scale_the_probe_and_other_units_stay(tmp_path: Path) -> None:
    intensity, probe = scene()
    counts = np.random.default_rng(1).poisson(intensity)
    scan = read_scan(write(tmp_path / "q.npz", counts, probe / SCALE))
    np.testing.assert_array_equal(scan.counts, counts)
    np.testing.assert_allclose(scan.probe[0], probe, rtol=1e-5)  # type: ignore[index, arg-type]
    other = read_scan(write(tmp_path / "o.npz", counts, probe * 30))
    np.testing.assert_array_equal(other.probe[0], probe * 30)  # type: ignore[index, arg-type]


class Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (os.environ["TRAP"],)


def test_a_pickle_in_the_metadata_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAP", str(tmp_path / "ran"))
    counts, probe = scene()
    for number, metadata in enumerate((Trap(), "no JSON", json.dumps({"physics_parameters": {"nphotons": -1}}))):
        path = write(tmp_path / f"{number}.npz", counts, probe / SCALE, metadata)
        assert any("assumed" in note for note in read_scan(path).notes)
        assert len(read_training_file(path).amplitude) == FRAMES
    assert not (tmp_path / "ran").exists()


def checkpoint(path: Path, data: dict[str, str], mode: str, statistics: object) -> Path:
    regime = {"regime": "counts"} if mode == "rectangular_scaled" else {}
    network = TrainableCnn(CnnOptions(width_factor=1, output="cartesian"), PhysicsOptions(**regime))  # type: ignore[arg-type]
    model = {"cnn_output_mode": "real_imag", "physics_forward_mode": mode}
    content = {
        "state_dict": {f"model.{name}": value for name, value in network.state_dict().items()},
        "hyper_parameters": {"model_config": model, "data_config": {"N": 64, **data}},
    }
    torch.save(content | ({} if statistics is None else {"ci_statistics": statistics}), path)
    return path


@pytest.mark.parametrize(
    ("data", "mode", "statistics", "fault"),
    [
        (PAIR, "rectangular_scaled", STATISTICS, ""),
        ({}, "rectangular_scaled", STATISTICS, ""),
        (LEGACY, "amplitude", None, ""),
        (PAIR, "amplitude", None, ""),
        (LEGACY, "rectangular_scaled", STATISTICS, "legacy_v1 and measurement_domain normalized_amplitude"),
        ({"measurement_domain": "normalized_amplitude"}, "rectangular_scaled", STATISTICS, "train it again"),
        (PAIR, "rectangular_scaled", None, "has no ci_statistics"),
    ],
)
def test_checkpoints_of_other_units_are_refused_by_name(
    data: dict[str, str], mode: str, statistics: object, fault: str, tmp_path: Path
) -> None:
    path = checkpoint(tmp_path / "last.ckpt", data, mode, statistics)
    if fault:
        with pytest.raises(FileFormatError, match=fault):
            PtychoModel.load(path)
        return
    bundle = PtychoModel.load(path).bundle
    assert bundle.has_own_scale
    assert ("rms_input_scale" in bundle.scaling) == (mode == "rectangular_scaled")
    said = object_scale(bundle.has_own_scale, bundle.configs)
    assert ("trained on counts" in said) == (mode == "rectangular_scaled")


def test_the_pairs_of_the_count_regime_are_ptychopinns() -> None:
    """A missing field is its default, so two of the three are the pair; ``resolve_scale_contract`` of 712c23f3 alike."""
    versions, domains = (
        (None, "ci_intensity_v2", "legacy_v1", "x"),
        (None, "count_intensity", "normalized_amplitude", "x"),
    )
    taken = {
        (version, domain)
        for version in versions
        for domain in domains
        if not contract_fault(
            {"physics_forward_mode": "rectangular_scaled"},
            {"scale_contract_version": version, "measurement_domain": domain},
            has_statistics=True,
        )
    }
    assert taken == {(version, domain) for version in versions[:2] for domain in domains[:2]}


def test_the_profile_of_absolute_scale_by_name() -> None:
    configs = ConfigManager.from_dict(PRESETS["ptychopinn-ci"])
    model = configs.model_config
    assert (model.physics_forward_mode, model.rect_s1s2_init) == ("rectangular_scaled", "data")
    for name, value in {"data.measurement_domain": "normalized_amplitude", "model.loss_function": "MAE"}.items():
        with pytest.raises(ConfigurationError, match=name.rpartition(".")[2]):
            ConfigManager.from_dict(PRESETS["ptychopinn-ci"]).update([f"{name}={value}"])
