"""A daemon whose scans several workers reconstruct: the workers are engines in this process, behind a stand-in for Ray."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from daemon.app import Daemon
from daemon.client import Viewer
from daemon.cluster.connection import Cluster
from daemon.cluster.live import check_room
from daemon.cluster.plan import ModelPlan
from daemon.cluster.worker import EngineRun
from daemon.config import load_config
from daemon.errors import ClusterError, ConfigError, DaemonError
from daemon.files import ScanFile
from daemon.publish.snapshot import LayerCanvas
from ptychopinn.errors import ReconstructionError
from streams.codecs import CODECS
from streams.frame import PositionM, ScanStart
from streams.sockets.transport import Sender
from tests.support.daemon_tools import PATIENCE_S, adds_up, follow, on_common_ground, running_daemon, write_config
from tests.support.in_process_actors import InProcessActors
from tests.support.small_scans import small_scan, write_spoilt_bundle

FRAMES = 160
REFINED = ("refine.enabled=true", "refine.finish_s=60", "refine.improve_s=0", 'refine.correct_positions="off"')
CODEC = CODECS["native"]()


@dataclass(frozen=True)
class Reconstructed:
    picture: LayerCanvas
    refined: LayerCanvas | None
    verdict: dict[str, Any]
    rfactors: dict[str, float]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> tuple[ScanFile, tuple[str, ...]]:
    return small_scan(tmp_path_factory.mktemp("scene"), FRAMES)


@contextmanager
def cluster_daemon(folder: Path, scene: Any, workers: int, ray: InProcessActors, *settings: str) -> Iterator[Daemon]:
    folder.mkdir(exist_ok=True)
    cluster = ('cluster.address="local"', f"cluster.workers={workers}") if workers else ()
    with running_daemon(folder, *scene[1], *cluster, *settings, connect=ray.connect) as daemon:
        yield daemon


def send_parts(daemon: Daemon, scan: ScanFile, cuts: list[int], after: Callable[[int], None]) -> None:
    """Send a scan in parts; ``after`` is called with the number of frames sent."""
    with Sender(">" + daemon.addresses()["streams"]["frames"]) as sender:
        sender.send(CODEC.encode_start(ScanStart("one", FRAMES), scan.counts.shape[1:], scan.counts.dtype))
        for first, last in zip([0, *cuts], [*cuts, FRAMES], strict=True):
            for i in range(first, last):
                sender.send(CODEC.encode_frame("one", i, scan.counts[i], PositionM(*scan.positions_m[i])))
            after(last)
        sender.send(CODEC.encode_end("one"))


def reconstruct(
    daemon: Daemon, scan: ScanFile, cuts: list[int] | None = None, after: Callable[[int], None] = lambda _frames: None
) -> Reconstructed:
    with Viewer(daemon.addresses()["updates"]) as viewer:
        send_parts(daemon, scan, cuts or [], after)
        ended, pictures = follow(viewer)
    return Reconstructed(pictures["network"], pictures.get("refined"), ended["verdict"], ended["rfactors"])


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, scene: Any) -> Reconstructed:
    with cluster_daemon(tmp_path_factory.mktemp("alone"), scene, 0, InProcessActors(), *REFINED) as daemon:
        return reconstruct(daemon, scene[0])


def assert_same(one: Reconstructed, two: Reconstructed) -> None:
    """The pictures are the same to the bit; how far a canvas grows beyond its frames depends on their order."""
    np.testing.assert_array_equal(*on_common_ground(one.picture, two.picture))
    np.testing.assert_array_equal(*on_common_ground(*(replace(r.picture, object=r.picture.weight) for r in (one, two))))
    assert adds_up(two.verdict)
    assert two.verdict["stitched"] == FRAMES


def assert_alike(one: Reconstructed, two: Reconstructed) -> None:
    """The refined layers agree: the same light on each pixel, and R."""
    assert one.refined is not None
    assert two.refined is not None
    apart = abs(one.rfactors["refined"] - two.rfactors["refined"])
    assert apart < 0.005, "each worker has R of its own frames"
    covered = [float((layer.weight > 0.3 * layer.weight.max()).sum()) for layer in (one.refined, two.refined)]
    np.testing.assert_allclose(covered[1], covered[0], rtol=0.1)
    assert np.isfinite(two.refined.object).all()


def assert_has_common_probe(path: Path, setting: str) -> None:
    with h5py.File(path) as product:
        probe = product["probe"][()]
        assert np.isfinite(product["object"][()]).all()
    given = np.load(json.loads(setting.partition("=")[2]))["probe"]
    assert not np.allclose(probe, given, rtol=0.0, atol=1e-4 * np.abs(given).max())


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_workers_give_the_picture_of_one_engine(tmp_path: Path, scene: Any, alone: Reconstructed, workers: int) -> None:
    refined = REFINED if workers == 2 else ()
    with cluster_daemon(tmp_path, scene, workers, InProcessActors(), *refined) as daemon:
        found = reconstruct(daemon, scene[0])
        status = daemon.view.status()["workers"]
        text = daemon.view.metrics_text()[0].decode()
    assert_same(alone, found)
    if refined:
        assert_alike(alone, found)
        assert_has_common_probe(tmp_path / "out" / "one" / "product.h5", scene[1][0])
    assert [one["worker"] for one in status] == list(range(workers))
    assert sum(one["frames_stitched"] for one in status) == FRAMES
    assert all(one["frames_stitched"] > FRAMES / workers / 8 for one in status), "the work is shared out"
    assert 'ptycholive_worker_up{worker="0"} 1.0' in text
    assert 'ptycholive_stage_seconds_count{stage="predict",worker="0"}' in text
    assert text.count("# TYPE ptycholive_stage_seconds histogram") == 1


def test_killed_workers_lose_nothing_and_lay_nothing_twice(tmp_path: Path, scene: Any, alone: Reconstructed) -> None:
    ray = InProcessActors()
    with cluster_daemon(tmp_path, scene, 2, ray, *REFINED) as daemon:
        shown, changed = [0], threading.Condition()

        def look(event: Any) -> None:
            if event.update is not None:
                with changed:
                    shown.append(event.update.frames_stitched)
                    changed.notify_all()

        daemon.hub.subscribe(look)

        def kill(frames: int) -> None:
            """Kill a worker: with frames on the picture, or with frames on their way to it."""
            if frames % 20 == 0 and frames < FRAMES:
                with changed:
                    assert changed.wait_for(lambda: max(shown) >= frames // 2, PATIENCE_S)
            ray.actors[frames // 10 % 2].kill()

        found = reconstruct(daemon, scene[0], list(range(10, 101, 10)), kill)
        restarts = sum(one["restarts"] for one in daemon.view.status()["workers"])
    assert_same(alone, found)
    assert_alike(alone, found)
    assert sum(actor.kills for actor in ray.actors[:2]) >= 10
    assert restarts > 0


def test_frames_of_a_worker_that_does_not_come_back_go_to_others(
    tmp_path: Path, scene: Any, alone: Reconstructed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.cluster.link.AWAY_S", 0.2)
    ray = InProcessActors()
    with cluster_daemon(tmp_path, scene, 3, ray) as daemon:

        def lose(frames: int) -> None:
            if frames == 80:
                ray.actors[1].begins_no_more()
                ray.actors[1].kill()

        found = reconstruct(daemon, scene[0], [80], lose)
        states = [one["state"] for one in daemon.view.status()["workers"]]
        assert any("worker 1 of the cluster was lost" in words for words in daemon.view.status()["degraded"])
    assert_same(alone, found)
    assert states == ["running", "restarting", "running"]


def test_another_model_is_swapped_in_between_two_batches(tmp_path: Path, scene: Any, alone: Reconstructed) -> None:
    ray = InProcessActors()
    with cluster_daemon(tmp_path, scene, 2, ray) as daemon:
        found = reconstruct(daemon, scene[0], [80], lambda frames: frames == 80 and daemon.view.use_model("none"))
        epochs = [link.epoch for link in daemon._engine.workers]
        generations = [actor.object._run.engine.active.generation for actor in ray.actors[:2]]
    assert_same(alone, found)
    assert found.picture.model_generation == 1
    assert epochs == generations == [1, 1]


def test_another_probe_begins_every_worker_again(tmp_path: Path, scene: Any, alone: Reconstructed) -> None:
    with cluster_daemon(tmp_path, scene, 2, InProcessActors()) as daemon:

        def swap(frames: int) -> None:
            if frames == 80:
                active = daemon._engine.active
                daemon._engine.use(replace(active, probe=active.probe.clone()))

        found = reconstruct(daemon, scene[0], [80], swap)
        epochs = [link.epoch for link in daemon._engine.workers]
    assert_same(alone, found)
    assert epochs == [2, 2]


def test_a_model_that_a_worker_cannot_use_leaves_the_one_before(
    tmp_path: Path, scene: Any, alone: Reconstructed, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = EngineRun.use

    def fail(run: EngineRun, model: ModelPlan) -> None:
        if model.generation == 1:
            raise ReconstructionError("no memory for it")
        used(run, model)

    monkeypatch.setattr(EngineRun, "use", fail)

    def swap(frames: int) -> None:
        if frames == 80:
            with pytest.raises(ReconstructionError, match="is not used: no memory for it"):
                daemon.view.use_model("none")

    with cluster_daemon(tmp_path, scene, 2, InProcessActors()) as daemon:
        found = reconstruct(daemon, scene[0], [80], swap)
        states = [link.state for link in daemon._engine.workers]
    assert_same(alone, found)
    assert states == ["running", "running"]


@pytest.mark.timeout(300)
def test_fine_tuning_in_an_actor_gives_all_workers_a_better_model(tmp_path: Path, scene: Any) -> None:
    bundle = write_spoilt_bundle(tmp_path / "blank.zip")
    learning = ("finetune.enabled=true", "finetune.rate=0.003", "finetune.device_share=1.0", "refine.enabled=true")
    ray = InProcessActors()
    with cluster_daemon(tmp_path, scene, 2, ray, f'model.bundle="{bundle}"', *learning) as daemon:
        with Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer:
            send_parts(daemon, scene[0], [], lambda _frames: None)
            status = next(
                event.header
                for event in viewer.events()
                if event.topic == "status" and event.header["finetune"].get("generations", 0) >= 1
            )
        daemon.view.set_finetune_paused(True)
        active = daemon._engine.active
        generations = [link.generation for link in daemon._engine.workers]
    scores = status["finetune"]["heldout_rfactor"]
    assert scores["candidate"] < scores["active"]
    assert active.name.startswith("blank+finetuned")
    assert generations == [active.generation] * 2


def test_a_frame_that_fails_is_refused_alone(tmp_path: Path, scene: Any) -> None:
    scan, settings = scene
    far = scan.positions_m.copy()
    far[100] = 1.0  # a metre away
    with cluster_daemon(tmp_path, scene, 2, InProcessActors()) as daemon:
        found = reconstruct(daemon, replace(scan, positions_m=far))
    assert adds_up(found.verdict)
    assert found.verdict["stitched"] == FRAMES - 1


def test_a_worker_that_cannot_begin_is_a_sentence(tmp_path: Path, scene: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise DaemonError("no device here")

    monkeypatch.setattr("daemon.cluster.worker.EngineRun", fail)
    daemon = cluster_daemon(tmp_path, scene, 2, InProcessActors())
    with pytest.raises(DaemonError, match="a worker cannot start: no device here"), daemon:
        pytest.fail("it has started")


def test_a_cluster_without_ray_is_a_sentence(tmp_path: Path, scene: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "RAY_AUTH_TOKEN", "")  # what a local cluster sets is taken back
    monkeypatch.setitem(os.environ, "RAY_AUTH_MODE", "token")
    monkeypatch.setitem(os.environ, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    settings = (*scene[1], 'cluster.address="local"', "cluster.workers=2")
    with pytest.raises(ConfigError, match="Ray is not installed"), running_daemon(tmp_path, *settings):
        pytest.fail("it has started")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["cluster.workers=2"], r"workers = 2 requires an address"),
        (['cluster.address="head:6379"'], r"address 'head:6379' is not a cluster"),
        (['cluster.address="local"', "cluster.workers=2", 'output.journal="off"'], "requires a journal"),
        (['cluster.address="local"', "cluster.workers=2", "model.gridsize=2"], "gridsize = 1"),
    ],
)
def test_settings_that_no_cluster_can_have(tmp_path: Path, settings: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_config(write_config(tmp_path), settings)


def test_more_workers_than_the_cluster_has_room_for() -> None:
    with pytest.raises(ClusterError, match=r"workers = 4 need 4 GPU .* has 2 in all; give fewer workers"):
        check_room(Cluster(None, "auto", 64, 2), 4, 1.0)  # type: ignore[arg-type]
