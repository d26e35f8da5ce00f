"""``predict`` and ``model export`` as users call them: where products go, what is in them, what is refused how."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from daemon.cli.main import app
from daemon.errors import ConfigError
from daemon.files import read_probe, read_product
from ptychopinn.errors import FileFormatError
from ptychopinn.model.bundle import Bundle, write_bundle
from ptychopinn.model.cnn import Cnn, CnnOptions
from tests.support.daemon_tools import PROBE, SCAN, real_scan, write_short_scan, write_untrained_bundle
from tests.support.verbs import PICTURE_ALONE


def run(*arguments: object):
    return CliRunner().invoke(app, list(map(str, arguments)))


@pytest.fixture(scope="module")
def short_scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file of the first 24 frames of the shipped scan."""
    return write_short_scan(tmp_path_factory.mktemp("scan") / "short.cxi", 24)


def plain(*files: Path, output: Path, probe: Path = PROBE, bundle: object = "none", **options: object):
    more = [part for key, value in options.items() for part in (f"--{key}", value)]
    return run(
        "predict", *files, "--probe", probe, "--bundle", bundle, "--json", "--output", output, *PICTURE_ALONE, *more
    )


def test_files_of_one_name_do_not_overwrite_each_other(short_scan: Path, tmp_path: Path):
    files = []
    for folder in ("monday", "tuesday"):
        (tmp_path / folder).mkdir()
        files.append(tmp_path / folder / "scan.cxi")
        files[-1].write_bytes(short_scan.read_bytes())
    done = plain(*files, short_scan, output=tmp_path / "out")
    assert done.exit_code == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["monday-scan.h5", "short.h5", "tuesday-scan.h5"]
    assert [Path(s["output"]).name for s in json.loads(done.stdout)] == [
        "monday-scan.h5",
        "tuesday-scan.h5",
        "short.h5",
    ]
    twice = plain(files[0], files[0], output=tmp_path / "more")
    assert isinstance(twice.exception, ConfigError)
    assert "monday-scan.h5" in str(twice.exception)


def test_where_a_product_cannot_be(short_scan: Path, tmp_path: Path):
    (tmp_path / "file.h5").touch()
    several = plain(short_scan, SCAN, output=tmp_path / "file.h5")
    assert isinstance(several.exception, ConfigError)
    assert "give a directory" in str(several.exception)
    assert isinstance(plain(short_scan, output=tmp_path / "file.h5" / "x.h5").exception, ConfigError)
    (tmp_path / "x.h5" / "in").mkdir(parents=True)
    (tmp_path / "out" / "short.h5" / "in").mkdir(parents=True)
    blocked = plain(short_scan, output=tmp_path / "out")
    assert blocked.exit_code == 1
    assert "short.h5 cannot be written" in blocked.stderr


def test_the_product_says_how_it_was_made(short_scan: Path, tmp_path: Path):
    done = plain(short_scan, output=tmp_path / "x.h5", looks=1, sweeps=1)
    (summary,) = json.loads(done.stdout)
    product = read_product(tmp_path / "x.h5")
    live = product.live
    assert summary["rfactor"] == pytest.approx(live.rfactors["refined"])
    assert live.rfactors["refined"] < live.rfactors["network"] == pytest.approx(summary["rfactors"][-1])
    assert live.refined_weight.shape == product.object.shape
    assert live.verdict["received"] == live.verdict["stitched"] == len(product.indexes) == 24
    assert live.verdict["refused"] == {}
    assert live.started < live.ended
    assert json.loads(live.configuration)["predict"]["sweeps"] == 1
    assert real_scan().notes == () or real_scan().notes[0] in product.comments


def test_half_precision_gives_the_same_picture_and_is_refused_in_words(short_scan: Path, tmp_path: Path):
    at_first = plain(short_scan, output=tmp_path / "want.h5", bundle="shipped")
    halved = plain(short_scan, output=tmp_path / "got.h5", bundle="shipped", dtype="bfloat16")
    (want,), (got,) = json.loads(at_first.stdout), json.loads(halved.stdout)
    assert "float32" not in halved.stderr
    assert got["rfactors"] != want["rfactors"] == pytest.approx(got["rfactors"], rel=0.005)
    one, other = (read_product(tmp_path / name).object for name in ("want.h5", "got.h5"))
    assert np.abs(one - other).max() < 0.1
    assert np.sqrt(np.square(np.abs(one - other)).mean()) < 0.01
    cnn = Cnn(CnnOptions(size_px=128, width_factor=1))
    bundle = Bundle("cnn", "cnn", cnn.architecture, cnn.state_dict())
    write_bundle(tmp_path / "cnn.zip", bundle)
    refused = plain(short_scan, output=tmp_path / "cnn.h5", bundle=tmp_path / "cnn.zip", dtype="bfloat16", looks=1)
    assert "the model stays in float32: a model cnn runs in float32 only" in refused.stderr


def test_a_probe_in_other_units_gives_the_same_picture(short_scan: Path, tmp_path: Path):
    found = read_probe(PROBE)
    np.savez(tmp_path / "weak.npz", probe=found.probe / 1000, object_pixel_size_m=found.pixel_size_m)
    want = plain(short_scan, output=tmp_path / "want.h5")
    got = plain(short_scan, output=tmp_path / "got.h5", probe=tmp_path / "weak.npz")
    assert "the probe was scaled to the brightest frame" in got.stderr
    assert "the probe was scaled to the brightest frame" not in want.stderr
    one, other = (read_product(tmp_path / name) for name in ("want.h5", "got.h5"))
    seen = one.live.network_weight > 0.3
    ratio = np.abs(other.object[seen]).mean() / np.abs(one.object[seen]).mean()
    assert ratio == pytest.approx(1, abs=0.15)
    assert np.square(np.abs(other.probe)).sum() == pytest.approx(np.square(np.abs(one.probe)).sum(), rel=0.3)


def test_what_does_not_fit_is_refused_by_file(short_scan: Path, tmp_path: Path):
    found = read_probe(PROBE)
    np.savez(tmp_path / "coarse.npz", probe=found.probe, object_pixel_size_m=2 * found.pixel_size_m)
    np.savez(tmp_path / "unscaled.npz", probe=found.probe)
    for options, words in (
        ({"probe": tmp_path / "coarse.npz"}, "give a probe with the same pixel size"),
        ({"pixel-size": 1e-14, "probe": tmp_path / "unscaled.npz"}, "check the positions' unit"),
    ):
        done = plain(short_scan, output=tmp_path / "x.h5", **options)
        assert done.exit_code == 3
        assert words in done.stderr
        assert done.stderr.startswith(f"ptycholive: {short_scan}: ")
        assert len(done.stderr.splitlines()) <= 2
    assert not (tmp_path / "x.h5").exists()


def test_a_wrong_model_ends_the_verb_before_the_first_file(short_scan: Path, tmp_path: Path):
    bundle = write_untrained_bundle(tmp_path / "untrained.zip")
    content = bytearray(bundle.read_bytes())
    content[len(content) // 2] ^= 1
    bundle.write_bytes(content)
    done = run("predict", short_scan, short_scan, "--bundle", bundle, "--output", tmp_path / "out")
    assert isinstance(done.exception, FileFormatError | ConfigError)
    missing = run("predict", short_scan, "--bundle", bundle, "--output", tmp_path / "x.h5")
    assert isinstance(missing.exception, FileFormatError)
    assert "damaged" in str(missing.exception)
    wrong = plain(short_scan, output=tmp_path / "x.h5", device="abacus")
    assert isinstance(wrong.exception, ConfigError)


def test_export_into_a_directory_and_where_it_cannot_be(tmp_path: Path):
    bundle = write_untrained_bundle(tmp_path / "untrained.zip")
    (tmp_path / "folder").mkdir()
    assert run("model", "export", bundle, tmp_path / "folder").exit_code == 0
    assert (tmp_path / "folder" / "untrained.zip").read_bytes() == bundle.read_bytes()
    assert run("model", "export", bundle, bundle).exit_code == 0
    assert isinstance(run("model", "export", bundle, bundle / "x.zip").exception, ConfigError)
