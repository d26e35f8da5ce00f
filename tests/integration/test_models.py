"""Models from bundles: batch inference, the verbs, and a running daemon."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import httpx
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from daemon.cli.main import app
from daemon.client import Viewer
from daemon.errors import ConfigError
from daemon.files import read_probe, read_product
from daemon.publish.snapshot import LayerCanvas, copied
from ptychopinn.api import InferenceEngine, PtychoModel
from ptychopinn.detector.geometry import to_amplitude
from ptychopinn.errors import FileFormatError, GeometryError
from ptychopinn.model.bundle import Bundle, build_network, model_for, read_bundle, write_bundle
from ptychopinn.model.cnn import Cnn, CnnOptions
from ptychopinn.mosaic.groups import GroupBuilder, GroupFrame
from ptychopinn.mosaic.mosaic import Mosaic
from tests.support.daemon_tools import (
    PATIENCE_S,
    PROBE,
    SCAN,
    follow,
    on_common_ground,
    real_scan,
    running_daemon,
    send,
    send_unfinished,
    wait_for_frames,
    write_short_scan,
    write_untrained_bundle,
)
from tests.support.verbs import PICTURE_ALONE


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a bundle file; the user's directory is an empty one."""
    monkeypatch.setenv("PTYCHOLIVE_MODELS", str(tmp_path / "models"))
    return write_untrained_bundle(tmp_path / "untrained.zip")


def run(*arguments: object):
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_predict_over_files_of_which_one_is_damaged(models: Path, tmp_path: Path):
    first = write_short_scan(tmp_path / "first.cxi", 64)
    (tmp_path / "second.cxi").write_bytes(first.read_bytes())
    (tmp_path / "damaged.cxi").write_bytes(first.read_bytes()[:200_000])
    files = [first, tmp_path / "damaged.cxi", tmp_path / "second.cxi"]
    options = ("--probe", PROBE, "--bundle", models, "--looks", 2, "--json", "--output", tmp_path / "products")
    done = run("predict", *files, *options, *PICTURE_ALONE)
    assert done.exit_code == 3
    assert "damaged.cxi: is cut short" in done.stderr
    summaries = json.loads(done.stdout)
    assert [Path(s["output"]).name for s in summaries] == ["first.h5", "second.h5"]
    first, second = (s["rfactors"] for s in summaries)
    assert second == pytest.approx(first, rel=1e-5)
    assert first[1] < first[0] < 0.19
    product = read_product(summaries[0]["output"])
    assert product.indexes.tolist() == list(range(64))
    assert product.live.rfactors["network"] == pytest.approx(first[1])
    assert product.live.model_name == "untrained"


def test_sweeps_after_the_prediction_lower_the_rfactor(tmp_path: Path):
    output, scan = tmp_path / "x.h5", write_short_scan(tmp_path / "x.cxi", 64)
    options = ("--probe", PROBE, "--bundle", "none", "--looks", 1, "--sweeps", 6, *PICTURE_ALONE)
    done = run("predict", scan, *options, "--output", output)
    assert done.exit_code == 0
    product = read_product(output)
    amplitude = to_amplitude(real_scan().counts[:64], None, None)
    corner = np.rint(product.positions_m / product.pixel_size_m).astype(int)[:64] - 64
    values = []
    for picture, origin in (
        (product.object, product.object_origin_px),
        (product.live.network, product.live.network_origin_px),
    ):
        above = below = 0.0
        for measured, (y, x) in zip(amplitude, corner - np.asarray(origin, dtype=int), strict=True):
            far = np.fft.fftshift(np.fft.fft2(product.probe[0] * picture[y : y + 128, x : x + 128], norm="ortho"))
            above, below = above + np.abs(np.abs(far) - measured).sum(), below + measured.sum()
        values.append(above / below)
    assert values[0] < values[1] - 0.01


def test_patches_do_not_depend_on_the_batch_and_shapes_are_checked(models: Path):
    probe = read_probe(PROBE).probe
    amplitude = to_amplitude(real_scan().counts[:10], None, None)
    engine = InferenceEngine(PtychoModel.load(models))
    one, other = (engine.predict(amplitude, probe=probe, batch=size) for size in (10, 3))
    assert one.shape == (10, 1, 128, 128)
    assert one.dtype == np.complex64
    np.testing.assert_allclose(one, other, atol=1e-5)
    with pytest.raises(GeometryError, match="do not fit a probe of 128 px"):
        engine.predict(amplitude[:, :64, :64], probe=probe)


def test_the_verbs_of_models(models: Path, tmp_path: Path):
    assert {m["name"] for m in json.loads(run("model", "list", "--json").stdout)} <= {"shipped"}
    assert run("model", "import", models, "--name", "mine").exit_code == 0
    assert "mine" in [m["name"] for m in json.loads(run("model", "list", "--json").stdout)]
    about = json.loads(run("model", "show", "mine", "--json").stdout)
    assert about["architecture"] == "lift-correction"
    assert run("model", "export", "mine", tmp_path / "out" / "copy.zip").exit_code == 0
    copy = read_bundle(tmp_path / "out" / "copy.zip")
    assert (copy.name, copy.sha256) == ("mine", read_bundle(models).sha256)
    assert isinstance(run("model", "import", models, "--name", "../x").exception, ConfigError)
    assert isinstance(run("model", "import", SCAN).exception, FileFormatError)
    assert isinstance(run("model", "show", "owl").exception, FileFormatError)


def test_the_daemon_looks_again_and_its_model_can_be_swapped(models: Path, tmp_path: Path):
    assert run("model", "import", models, "--name", "mine").exit_code == 0
    scan = real_scan()
    with (
        running_daemon(tmp_path, 'model.bundle="mine"', "refine.finish_s=60", "finetune.enabled=false") as daemon,
        Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer,
        httpx.Client(base_url=daemon.addresses()["http"]) as client,
    ):
        send(daemon, scan, 120, scan_id="sharp")
        sharp, _ = follow(viewer, "sharp")
        active = [m["name"] for m in client.get("/api/v1/models").json() if m["active"]]
        assert active == ["mine"]
        answer = client.post("/api/v1/models/active", json={"name": "none"})
        assert (answer.status_code, answer.json()["generation"]) == (202, 1)
        assert client.post("/api/v1/models/active", json={"name": "/etc/passwd"}).status_code == 404
        send(daemon, scan, 120, scan_id="quick")
        quick, pictures = follow(viewer, "quick")
        assert pictures["network"].model_generation == 1
        assert client.get("/api/v1/scans/quick").json()["model_generation"] == 1
    assert sharp["verdict"]["stitched"] == quick["verdict"]["stitched"] == 120
    assert sharp["rfactors"]["network"] < quick["rfactors"]["network"] - 0.003


def write_cnn(path: Path, seed: int, gridsize: int) -> None:
    torch.manual_seed(seed)
    options = {"size_px": 128, "width_factor": 1, "members": gridsize**2}
    write_bundle(path, Bundle(path.stem, "cnn", options, Cnn(CnnOptions(**options)).state_dict()))


def is_of_generation(canvas: LayerCanvas, generation: int) -> bool:
    """Whether every tile (32 x 32) that a patch has reached was last changed by a generation."""
    height, width = canvas.shape
    weight = np.pad(canvas.weight, ((0, -height % 32), (0, -width % 32)))
    tiles = weight.reshape(canvas.generations.shape[0], 32, -1, 32).max(axis=(1, 3))
    return bool((canvas.generations[tiles > 0] == generation).all())


@pytest.mark.parametrize("gridsize", [1, 2])
def test_another_cnn_lays_every_patch_of_the_running_scan_anew(models: Path, tmp_path: Path, gridsize: int):
    """What was laid by the first network is gone without a trace."""
    folder = tmp_path / "models"
    folder.mkdir()
    frames, scan = 24, real_scan()
    write_cnn(folder / "first.zip", 1, gridsize)
    write_cnn(folder / "second.zip", 2, gridsize)
    bundle, probe = read_bundle(folder / "second.zip"), torch.from_numpy(read_probe(PROBE).probe)
    second = model_for(build_network(bundle, SCAN), bundle, SCAN, probe, gridsize)
    settings = (
        'model.bundle="first"',
        f"model.gridsize={gridsize}",
        "finetune.enabled=false",
        "diagnosis.enabled=false",
    )
    with (
        running_daemon(tmp_path, *settings) as daemon,
        Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer,
    ):
        send_unfinished(daemon.addresses()["streams"]["frames"], scan, frames, 100, "cnn")
        first = copied(wait_for_frames(viewer, frames))
        api = daemon.addresses()["http"] + "/api/v1"
        assert httpx.post(api + "/models/active", json={"name": "second"}).status_code == 202
        assert httpx.post(api + "/scans/cnn/stop").status_code == 202
        shown = follow(viewer)[1]["network"]
    assert is_of_generation(shown, 1)
    positions = scan.positions_m[:frames] / shown.pixel_size_m
    amplitude = to_amplitude(scan.counts[:frames], None, None)
    builder = GroupBuilder(gridsize, 64, torch.device("cpu"))
    groups = builder.add([GroupFrame(i, amplitude[i], tuple(positions[i])) for i in range(frames)])
    mosaic = Mosaic(probe.abs().square().sum(0), keep_bytes=2**30)
    for group in groups:
        keys = group["center_scan_id"].tolist()
        mosaic.add(keys, second.predict(group)[:, 0], positions[keys])
    fresh = SimpleNamespace(origin_px=mosaic.origin_px, shape=mosaic.shape, object=mosaic.read()[0].numpy())
    found, expected = on_common_ground(shown, fresh)
    np.testing.assert_allclose(found, expected, atol=1e-3 * abs(expected).max())  # weights at the rim are few steps
    before, expected = on_common_ground(first, fresh)
    assert abs(before - expected).max() > 0.1 * abs(expected).max()


def test_a_checkpoint_of_ptychopinn_is_imported_served_and_used(models: Path, tmp_path: Path):
    torch.manual_seed(1)
    net = Cnn(CnnOptions(size_px=128, width_factor=1))
    torch.save({"state_dict": {f"model.{k}": v for k, v in net.state_dict().items()}}, tmp_path / "last.ckpt")
    assert run("model", "import", tmp_path / "last.ckpt", "--name", "upstream").exit_code == 0
    assert json.loads(run("model", "show", "upstream", "--json").stdout)["architecture"] == "cnn"
    images = torch.rand(2, 1, 128, 128)
    loaded = PtychoModel.load(tmp_path / "last.ckpt")
    with torch.no_grad():
        found = loaded.forward_predict(images, images, images, torch.ones(2, 1, 1, 1))
        assert torch.equal(found, net.eval()(images))
    with (
        running_daemon(tmp_path, 'model.bundle="upstream"') as daemon,
        Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer,
    ):
        send(daemon, real_scan(), 40)
        ended, _ = follow(viewer)
    assert ended["verdict"]["stitched"] == 40
    small = Cnn(CnnOptions(size_px=64, width_factor=1))
    torch.save(small.state_dict(), tmp_path / "small.ckpt")
    assert run("model", "import", tmp_path / "small.ckpt").exit_code == 0
    done = run("predict", SCAN, "--probe", PROBE, "--bundle", "small", "--output", tmp_path / "x.h5", *PICTURE_ALONE)
    assert done.exit_code == 3
    assert "takes patterns of 64 px but the probe is 128 px" in done.stderr
