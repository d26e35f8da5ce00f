"""Whole scans through a real daemon over real sockets."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from daemon.client import Viewer
from daemon.files import ScanFile, read_product
from ptychopinn.errors import FileFormatError
from tests.support.daemon_tools import (
    PATIENCE_S,
    adds_up,
    follow,
    on_common_ground,
    real_scan,
    running_daemon,
    send,
    send_unfinished,
    wait_for_frames,
)

NATIVE_POSITIONS = (
    'positions.source="native"',
    'positions.endpoint="@tcp://127.0.0.1:0"',
    "positions.timeout_s=60",
)


@pytest.fixture(scope="module")
def scan() -> ScanFile:
    return real_scan()


def get(daemon, path: str):
    with urllib.request.urlopen(daemon.addresses()["http"] + path) as answer:
        return json.loads(answer.read())


def frames_in(product: Path) -> list[int]:
    """Return the number of frames in a product; nothing where it has given way to newer ones meanwhile."""
    try:
        return [read_product(product).indexes.size]
    except FileFormatError:
        assert not product.exists()
        return []


def test_lost_doubled_disordered_frames_and_late_positions_change_no_bit_of_the_picture(scan: ScanFile, tmp_path: Path):
    """The same frames give the same bits, and the account adds up, whatever the stream did."""
    fault = "drop=0.05,duplicate=0.05,reorder=40,corrupt=0.02,late-positions=2.0"
    with running_daemon(tmp_path, *NATIVE_POSITIONS) as daemon:
        updates = daemon.addresses()["updates"]
        with Viewer(updates, PATIENCE_S) as viewer:
            sent = send(daemon, scan, fault=fault, scan_id="rough", rate_hz=500)
            ended, rough = follow(viewer)
        verdict = ended["verdict"]
        assert adds_up(verdict)
        assert verdict["received"] == sent.sent
        assert verdict["expected"] == 516
        assert verdict["missing"] == sent.dropped > 0
        assert sum(verdict["refused"].values()) == verdict["refused"]["corrupt"] == sent.corrupted > 0
        assert verdict["without_position"] == verdict["pending"] == 0
        assert ended["result"] == "incomplete"
        product = read_product(ended["product"])
        assert len(product.indexes) == verdict["stitched"]
        with Viewer(updates, PATIENCE_S) as viewer:
            whole = np.zeros(516, dtype=bool)
            whole[product.indexes] = True
            kept = ScanFile(
                name="kept",
                counts=scan.counts[whole],
                indexes=np.arange(whole.sum()),
                positions_m=scan.positions_m[whole],
            )
            send(daemon, kept, scan_id="smooth")
            _, smooth = follow(viewer, "smooth")
    a, b = on_common_ground(rough["network"], smooth["network"])
    assert np.abs(a).max() > 0.5
    np.testing.assert_array_equal(a, b)


def test_frames_without_positions_are_said_and_the_next_scan_is_whole(scan: ScanFile, tmp_path: Path):
    with (
        running_daemon(tmp_path, *NATIVE_POSITIONS, "positions.timeout_s=0.2") as daemon,
        Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer,
    ):
        halved = ScanFile(
            name="h", counts=scan.counts[:60], indexes=scan.indexes[:60], positions_m=scan.positions_m[:60]
        )
        lost = halved.positions_m.copy()
        lost[:20] = np.nan
        send(
            daemon,
            ScanFile(name="h", counts=halved.counts, indexes=halved.indexes, positions_m=lost),
            60,
            scan_id="one",
        )
        ended, _ = follow(viewer, "one")
        assert adds_up(ended["verdict"])
        assert ended["verdict"]["stitched"] == 40
        assert ended["verdict"]["refused"] == {"bad_position": 20}
        send(daemon, halved, 60, scan_id="two")
        ended, pictures = follow(viewer, "two")
        assert ended["result"] == "complete"
        assert ended["verdict"]["stitched"] == 60
        assert pictures["network"].complete
        listed = get(daemon, "/api/v1/scans")
        assert [(s["id"], s["state"]) for s in listed] == [("two", "complete"), ("one", "incomplete")]


def test_a_scan_whose_end_is_lost_is_closed_by_its_silence(scan: ScanFile, tmp_path: Path):
    with (
        running_daemon(tmp_path, "frames.scan_timeout_s=0.3") as daemon,
        Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer,
    ):
        send_unfinished(daemon.addresses()["streams"]["frames"], scan, 5, 9, "mute")
        ended, _ = follow(viewer)
    assert ended["result"] == "incomplete"
    assert ended["verdict"]["missing"] == 4
    assert ended["verdict"]["stitched"] == 5


def test_same_name_after_a_restart_gets_a_folder_of_its_own(scan: ScanFile, tmp_path: Path):
    products = []
    for _ in range(2):
        with running_daemon(tmp_path) as daemon, Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer:
            send(daemon, scan, 20)
            ended, _ = follow(viewer)
            products.append(ended["product"])
            names = [s["id"] for s in get(daemon, "/api/v1/scans")]
    assert [Path(p).parent.name for p in products] == ["star", "star-2"]
    assert names == ["star-2", "star"]
    assert all(Path(p).is_file() for p in products)


def test_stop_by_rest_finishes_with_what_is_there(scan: ScanFile, tmp_path: Path):
    with running_daemon(tmp_path) as daemon, Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer:
        send_unfinished(daemon.addresses()["streams"]["frames"], scan, 30, 500, "cut")
        wait_for_frames(viewer, 30)
        url = daemon.addresses()["http"] + "/api/v1/scans/cut/stop"
        with urllib.request.urlopen(urllib.request.Request(url, method="POST")) as answer:
            assert answer.status == 202
        ended, _ = follow(viewer)
    assert ended["result"] == "stopped"
    assert ended["verdict"]["stitched"] == 30


def test_positions_from_a_file_with_scale_and_flip(scan: ScanFile, tmp_path: Path):
    """Micrometres of the other sign in a CSV table, turned back by the configuration, give the same picture."""
    table = tmp_path / "positions.csv"
    rows = [f"{-y * 1e6:.9f},{-x * 1e6:.9f}" for y, x in scan.positions_m[:40]]
    table.write_text("y,x\n" + "\n".join(rows) + "\n")
    pictures = []
    from_file = (
        f'positions.file="{table}"',
        'positions.source="file"',
        "positions.scale=1e-6",
        'positions.flips=["y","x"]',
    )
    for settings in ((), from_file):
        folder = tmp_path / str(len(pictures))
        folder.mkdir()
        with running_daemon(folder, *settings) as daemon, Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer:
            send(daemon, scan, 40)
            ended, layers = follow(viewer)
            assert ended["verdict"]["stitched"] == 40
            pictures.append(layers["network"])
    a, b = on_common_ground(*pictures)
    np.testing.assert_allclose(a, b, atol=2e-2)


def test_groups_of_four_replace_their_centres_and_lower_the_rfactor(scan: ScanFile, tmp_path: Path):
    found = []
    for gridsize in (1, 2):
        folder = tmp_path / str(gridsize)
        folder.mkdir()
        with (
            running_daemon(folder, f"model.gridsize={gridsize}") as daemon,
            Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer,
        ):
            send(daemon, scan, 200)
            ended, pictures = follow(viewer)
            assert ended["verdict"]["stitched"] == 200
            found.append((ended["rfactors"]["network"], pictures["network"]))
    (single, alone), (grouped, together) = found
    assert grouped < single
    np.testing.assert_array_equal(*(np.sort(picture.weight[picture.weight > 0]) for picture in (alone, together)))


def test_products_appear_while_the_scan_runs_and_give_way_to_the_last(scan: ScanFile, tmp_path: Path):
    folder = tmp_path / "out" / "long"
    with (
        running_daemon(tmp_path, "output.checkpoint_s=0.05") as daemon,
        Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer,
    ):
        send_unfinished(daemon.addresses()["streams"]["frames"], scan, 30, 40, "long")
        for topic, _, _ in viewer.events():  # a status comes twice a second
            names = sorted(path.name for path in folder.glob("product.*.h5")) if topic == "status" else []
            if len(names) == 2 and names[-1] >= "product.000003.h5" and (sizes := frames_in(folder / names[-1])):
                break
        assert sizes[0] <= 30
        request = urllib.request.Request(daemon.addresses()["http"] + "/api/v1/scans/long/stop", method="POST")
        urllib.request.urlopen(request).close()
        follow(viewer)
        assert [path.name for path in folder.glob("product*.h5")] == ["product.h5"]
