"""A configuration is read from file, environment and settings; each fault is one sentence that names the key."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.config import Config, load_config
from daemon.errors import ConfigError

LINES = (
    '[frames]\nendpoint = "tcp://127.0.0.1:9"\n[detector]\ncenter_px = [8, 8]\nsize_px = 16\n'
    '[optics]\nobject_pixel_size_m = 1e-8\nprobe_file = "p.h5"\n'
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "p.h5").touch()
    found = tmp_path / "c.toml"
    found.write_text(LINES)
    return found


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("nosuch.key=1", "[nosuch] is not a known section"),
        ("log.levle='info'", "[log] levle is not a known key; did you mean level?"),
        ("output.sinks=[{kind='pva', layr='x'}]", "[output] sinks.layr is not a known key; did you mean layer?"),
        ("output.sinks=[{layer='refined'}]", "[output] sinks.kind is missing"),
        ("detector.binning=3", "[detector] binning must be 1, 2 or 4"),
        ("detector.size_px=8", "[detector] size_px must be at least 16"),
        ("detector.size_px=17.5", "[detector] size_px must be a whole number"),
        ("limits.queue_bytes=much", "[limits] queue_bytes must be a whole number"),
        ("frames.scan_timeout_s=inf", "[frames] scan_timeout_s must be a finite number"),
        ("detector.center_px=[1]", "[detector] center_px has too few values or 'auto'"),
        ("detector.center_px=middle", "[detector] center_px must be a list or 'auto'"),
        ("output.journal=3", "[output] journal must be 'off' or a path"),
        ("http.hosts=[1]", "[http] hosts must be text"),
        ("optics.pinhole=3", "[optics] pinhole must be a table"),
        (
            "optics.pinhole={diameter_m=1e-6}",
            "[optics]: give exactly one of probe_file, zone_plate, pinhole, kb for the",
        ),
        ("positions.scale=-1", "[positions] scale must be greater than 0 or a list"),
        ("positions.channels=['a']", "[positions] channels has too few values"),
        ("frames.endpoint='http://x:1'", "[frames] endpoint: 'http://x:1' is not a valid endpoint. Example: tcp://"),
        ("frames.format='jpeg'", "[frames] format: 'jpeg' is not a known format; choose one of native, "),
        (
            "refine.frame_light='monitor'",
            'configuration: [refine] frame_light = "monitor" requires [positions] source = "bluesky"',
        ),
        ("http.host='0.0.0.0'", "[http]: host 0.0.0.0 is reachable from other machines, which requires a token"),
    ],
)
def test_a_wrong_value_is_one_sentence(path: Path, setting: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as fault:
        load_config(path, [setting])
    assert str(fault.value).startswith(f"{path}: {sentence}")
    assert "\n" not in str(fault.value)


def test_a_missing_input_file_is_named(path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^\[optics\] probe_file: the file none.npz does not exist in the working"):
        load_config(path, ["optics.probe_file=none.npz"])


def test_every_wrong_key_is_named(path: Path) -> None:
    with pytest.raises(ConfigError) as fault:
        load_config(path, ["detector.binning=3", "log.level=loud"])
    assert "[detector] binning must be" in str(fault.value)
    assert "; [log] level must be" in str(fault.value)


def test_settings_override_the_environment_and_the_environment_the_file(path: Path) -> None:
    environment = {"PTYCHOLIVE_DETECTOR__SIZE_PX": "32", "PTYCHOLIVE_LOG__LEVEL": "debug", "PATH": "/bin"}
    config = load_config(path, ["detector.size_px=64"], environment)
    assert (config.detector.size_px, config.log.level) == (64, "debug")
    assert load_config(path).detector.size_px == 16


def test_the_environment_has_no_case(path: Path) -> None:
    config = load_config(path, (), {"PTYCHOLIVE_OPTICS__PHOTON_ENERGY_EV": "8800"})
    assert config.optics.photon_energy_eV == 8800.0


@pytest.mark.parametrize(("setting", "words"), [("frames=3", "section.key=value"), ("frames.a", "section.key=value")])
def test_a_setting_of_another_form_is_refused(path: Path, setting: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_config(path, [setting])


def test_a_bundle_is_found_beside_the_configuration(path: Path) -> None:
    path.write_text(LINES + '[model]\nbundle = "mine.zip"\n')
    assert load_config(path).model.bundle == "mine.zip"
    path.with_name("mine.zip").touch()
    assert load_config(path).model.bundle == str(path.with_name("mine.zip"))
    assert load_config(path, ["model.bundle=shipped"]).model.bundle == "shipped"


def test_every_path_of_an_input_file_is_looked_for(path: Path) -> None:
    """A key that names an input file, and is not in INPUT_FILES, would be looked for in the working directory alone."""
    from daemon.config.loading import INPUT_FILES

    written = {("output", "directory"), ("refine", "engine_python")}
    stated = {
        (section, key)
        for section, field in Config.model_fields.items()
        for key, one in field.annotation.model_fields.items()  # type: ignore[union-attr]
        if one.annotation in (Path, Path | None)
    }
    assert stated - written == set(INPUT_FILES)
