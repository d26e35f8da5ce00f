"""Units that stand beside values are obeyed in any spelling; numbers that cannot be are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from daemon.files import Severity, read_scan
from daemon.files.units import ENERGY, JOULES_PER_EV, LENGTH, METRE_EV
from ptychopinn.errors import FileFormatError
from tests.support.scan_files import (
    DETECTOR,
    DETECTOR_PIXEL_M,
    DISTANCE_M,
    ENERGY_EV,
    PATTERNS,
    PIXEL_M,
    SOURCE,
    TRANSLATION,
    counts,
    places_m,
    write_cxi,
    write_nexus,
)


@pytest.mark.parametrize(
    ("unit", "factor"),
    [
        *(("m", 1.0), ("meter", 1.0), ("Metres", 1.0), ("mm", 1e-3), ("MM", 1e-3), ("millimetre", 1e-3)),
        *(("um", 1e-6), ("µm", 1e-6), ("μm", 1e-6), ("micron", 1e-6), ("microns", 1e-6), ("Micrometers", 1e-6)),  # noqa: RUF001
        *(("nm", 1e-9), ("nanometer", 1e-9), ("pm", 1e-12), ("angstrom", 1e-10), ("Å", 1e-10), ("A", 1e-10)),
        *(("1e-6 m", 1e-6), ("10^-6 m", 1e-6), ("10**-3*mm", 1e-6), ("0.1 nm", 1e-10), (" cm ", 1e-2)),
        *(("furlong", None), ("eV", None), ("", None), ("Pm", 1e-12)),
    ],
)
def test_lengths(unit: str, factor: float | None) -> None:
    assert LENGTH.factor(unit) == (None if factor is None else pytest.approx(factor))


@pytest.mark.parametrize(
    ("unit", "factor"),
    [
        *(("eV", 1.0), ("ev", 1.0), ("keV", 1e3), ("kev", 1e3), ("KEV", 1e3), ("kiloelectronvolt", 1e3)),
        *(("electron volts", 1.0), ("electronvolt", 1.0), ("J", 1 / JOULES_PER_EV), ("joules", 1 / JOULES_PER_EV)),
        *(("MeV", 1e6), ("meV", 1e-3), ("mev", None), ("m", None)),
    ],
)
def test_energies(unit: str, factor: float | None) -> None:
    assert ENERGY.factor(unit) == (None if factor is None else pytest.approx(factor))


def with_units(path: Path, place: str, value: Any, units: Any) -> Path:
    write_cxi(path, **{place: value})
    with h5py.File(path, "a") as file:
        file[place].attrs["units"] = units
    return path


@pytest.mark.parametrize(
    ("place", "value", "units"),
    [
        (f"{SOURCE}/energy", ENERGY_EV / 1e3, "keV"),
        (f"{SOURCE}/energy", [ENERGY_EV], np.array(["electronvolt"], dtype=h5py.string_dtype())),
        (f"{SOURCE}/energy", ENERGY_EV * JOULES_PER_EV, np.array([b"J"])),
        (f"{DETECTOR}/distance", DISTANCE_M * 1e3, "mm"),
        (f"{DETECTOR}/distance", [[DISTANCE_M * 1e2]], b"centimeters"),
        (TRANSLATION, np.c_[places_m()[:, ::-1], 0 * places_m()[:, :1]] * 1e6, "microns"),
    ],
)
def test_units_of_a_cxi_file_are_obeyed(tmp_path: Path, place: str, value: Any, units: Any) -> None:
    scan = read_scan(with_units(tmp_path / "s.cxi", place, value, units))
    assert (scan.doubts, scan.notes) == ((), ())
    assert scan.photon_energy_eV == pytest.approx(ENERGY_EV)
    assert scan.object_pixel_size_m == pytest.approx(PIXEL_M)
    np.testing.assert_allclose(scan.positions_m, places_m(), atol=1e-15)  # type: ignore[arg-type]


def test_a_unit_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match='distance is in "keV"; write one of m, mm, um or nm'):
        read_scan(with_units(tmp_path / "s.cxi", f"{DETECTOR}/distance", 1.92, "keV"))


@pytest.mark.parametrize(
    ("changes", "severity", "words"),
    [
        ({f"{SOURCE}/energy": 8.8}, Severity.DOUBT, "energy 8.8 is impossible in J and is taken as keV"),
        ({f"{SOURCE}/energy": 8800.0}, Severity.DOUBT, "energy 8800 is impossible in J and is taken as eV"),
        ({f"{DETECTOR}/distance": 1920.0}, Severity.WRONG, "detector distance is 1920 m, which is impossible"),
        (
            {f"{DETECTOR}/x_pixel_size": 75.0, f"{DETECTOR}/y_pixel_size": 75.0},
            Severity.WRONG,
            "detector pixel is 75 m",
        ),
        (
            {TRANSLATION: places_m()[:, ::-1] * 1e-3},
            Severity.WRONG,
            "positions span 0.009 px, so all frames lie on one",
        ),
        ({TRANSLATION: places_m()[:, ::-1] * 1e3}, Severity.WRONG, "neighbouring positions lie 3e+03 px apart"),
        ({TRANSLATION: places_m()[:, ::-1] * 1e6}, Severity.WRONG, "they seem to be in um"),
    ],
)
def test_numbers_that_cannot_be_are_named(
    tmp_path: Path, changes: dict[str, Any], severity: Severity, words: str
) -> None:
    scan = read_scan(write_cxi(tmp_path / "s.cxi", **changes))
    assert [(one.severity, words in str(one)) for one in scan.doubts if words in str(one)] == [(severity, True)]
    if f"{SOURCE}/energy" in changes:
        assert scan.photon_energy_eV == pytest.approx(ENERGY_EV)


@pytest.mark.parametrize(
    ("wavelength", "units"), [(METRE_EV / ENERGY_EV, "m"), (1.4089, "angstrom"), (0.14089, "nm"), (1.4089, None)]
)
def test_a_wavelength_stands_for_the_energy(tmp_path: Path, wavelength: float, units: str | None) -> None:
    path = write_cxi(tmp_path / "s.cxi", **{f"{SOURCE}/energy": None, f"{SOURCE}/wavelength": wavelength})
    if units is not None:
        with h5py.File(path, "a") as file:
            file[f"{SOURCE}/wavelength"].attrs["units"] = units
    scan = read_scan(path)
    assert scan.photon_energy_eV == pytest.approx(ENERGY_EV, rel=1e-4)
    assert [one.severity for one in scan.doubts] == [Severity.NOTE]


def test_energy_and_wavelength_that_differ(tmp_path: Path) -> None:
    y, x = places_m().T
    axes = {"x": (x * 1e9, "nanometers"), "y": (y * 1e3, "MM")}
    beam: dict[str, Any] = {"incident_energy": (8.8, "kev"), "incident_wavelength": (1.4089, "Å")}
    scan = read_scan(write_nexus(tmp_path / "good.nxs", counts(), axes, **beam))
    assert (scan.doubts, scan.photon_energy_eV) == ((), 8800.0)
    np.testing.assert_allclose(scan.positions_m, places_m(), atol=1e-15)  # type: ignore[arg-type]
    beam["incident_wavelength"] = (1.0, "Å")
    scan = read_scan(write_nexus(tmp_path / "bad.nxs", counts(), axes, **beam))
    assert scan.photon_energy_eV == 8800.0
    assert "the energy is 8800 eV but the wavelength 1e-10 m corresponds to 12398.4 eV" in str(scan.doubts[0])


def test_ptyd_states_kiloelectronvolts(tmp_path: Path) -> None:
    for value, said in ((8.8, None), (8800.0, "taken as eV")):
        with h5py.File(tmp_path / "s.ptyd", "w") as file:
            file["meta/energy"], file["meta/distance"], file["meta/psize"] = value, DISTANCE_M, DETECTOR_PIXEL_M
            file["chunks/0/data"], file["chunks/0/positions"] = counts(), places_m()
        scan = read_scan(tmp_path / "s.ptyd")
        assert scan.photon_energy_eV == pytest.approx(8800.0)
        assert [said is not None and said in str(one) for one in scan.doubts] == ([] if said is None else [True])


def test_a_scan_that_is_right_raises_no_doubt(tmp_path: Path) -> None:
    assert read_scan(write_cxi(tmp_path / "s.cxi")).remarks == ()
    assert read_scan(write_cxi(tmp_path / "s.cxi", **{PATTERNS: counts()})).detector_pixel_size_m == DETECTOR_PIXEL_M
