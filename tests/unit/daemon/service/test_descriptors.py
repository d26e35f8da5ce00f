"""Files and connections that may be open: shared out, said when they run short, and said no more when there is room."""

from __future__ import annotations

import json
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from daemon.client import Viewer
from daemon.publish.hub import UpdateHub
from daemon.publish.zmq import ZmqPublisher
from daemon.service import descriptors
from daemon.service.descriptors import OWN, Shares, share_out

PATIENCE_S = 60


@pytest.fixture
def restored() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.usefixtures("restored")
def test_the_limit_is_raised_to_all_that_the_system_allows() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most - 1, most))
    descriptors.raise_limit()
    assert descriptors.limit() == most


def test_those_who_watch_share_what_the_daemon_leaves(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    wanted = Shares(http=256, updates=256)
    monkeypatch.setattr(descriptors, "count_open", lambda: 50)
    monkeypatch.setattr(descriptors, "limit", lambda: 10_000)
    assert share_out(wanted) == wanted
    assert not caplog.records
    monkeypatch.setattr(descriptors, "limit", lambda: 50 + OWN + 40)
    assert share_out(wanted) == Shares(20, 20)
    assert "raise the limit" in caplog.text


def test_a_shortage_is_said_while_it_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert descriptors.trouble() is None
    monkeypatch.setattr(descriptors, "limit", lambda: descriptors.count_open() + 3)
    assert "raise the limit" in str(descriptors.trouble())
    monkeypatch.undo()
    assert descriptors.trouble() is None


def test_connections_to_the_updates_are_bounded_and_a_place_that_is_left_is_given_again() -> None:
    hub = UpdateHub()
    publisher = ZmqPublisher(hub, "tcp://127.0.0.1:0", most_connections=2)
    port = int(publisher.bound_endpoint.rpartition(":")[2])

    def dial() -> socket.socket:
        return socket.create_connection(("127.0.0.1", port), PATIENCE_S)

    try:
        with ExitStack() as stack:
            first, _ = [stack.enter_context(dial()) for _ in range(2)]
            third = stack.enter_context(dial())
            while third.recv(64):
                pass
            first.close()
            with Viewer(publisher.bound_endpoint) as viewer:
                hub.publish_status({"state": "idle"})
                assert next(iter(viewer.events()))[0] == "status"
            assert publisher._seats.turned_away >= 1
    finally:
        publisher.close()


SCAN_IN_A_SHORTAGE = """
import json, os, resource, sys
from pathlib import Path

from daemon.journal import Journal, RecordBatch
from daemon.journal.folder import CLOSED_NAME
from daemon.journal.record import Kind, plain_record
from daemon.messages import ScanState
from daemon.results.records import RecordFiles, ScanRecord
from daemon.results.writer import ProductWriter
from daemon.service import descriptors
from daemon.service.descriptors import RESERVE, reserve
from tests.unit.daemon.results.test_writer import Told, make_product

folder, has_reserve = Path(sys.argv[1]), sys.argv[2] == "reserve"
before = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (512, before[1]))
if has_reserve:
    reserve.hold()
journal, writer, told = Journal(folder / "journal", 1 << 30), ProductWriter(2), Told()
journal.start()
writer.start()
others = []
try:
    while True:
        others.append(os.open(os.devnull, os.O_RDONLY))
except OSError:
    pass
resource.setrlimit(resource.RLIMIT_NOFILE, (max(others) - 1, before[1]))  # in mid-run, below those that are open
found = {"journal": journal.commit([RecordBatch("s", [plain_record(Kind.END)])])}
journal.close("s")
found["journal closed"] = (folder / "journal" / "s" / CLOSED_NAME).exists()
writer.finish(folder / "s", make_product, told.on_written, told.on_late)
assert told.was_told.wait(60)
is_recorded = RecordFiles(folder).write(ScanRecord("s", ScanState.COMPLETE))
found |= {"product": told.first[0] is not None, "record": is_recorded}
reserve.look()
found["said"] = descriptors.trouble() is not None
found["for connections"] = descriptors.limit() - descriptors.count_open() > 0
resource.setrlimit(resource.RLIMIT_NOFILE, (1024, before[1]))
reserve.look()
found["said after"] = descriptors.trouble() is not None
found["held again"] = len(reserve._held) == RESERVE
print(json.dumps(found))
os._exit(0)
"""


@pytest.mark.parametrize("has_reserve", [True, False])
def test_a_scan_goes_on_when_the_limit_is_lowered_in_mid_run(has_reserve: bool, tmp_path: Path) -> None:
    """Without the reserve it does not, which shows that the shortage is real."""
    argument = "reserve" if has_reserve else "none"
    done = subprocess.run(
        [sys.executable, "-c", SCAN_IN_A_SHORTAGE, str(tmp_path), argument],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found == {
        "journal": has_reserve,
        "journal closed": has_reserve,
        "product": has_reserve,
        "record": has_reserve,
        "said": True,
        "for connections": has_reserve,
        "said after": False,
        "held again": has_reserve,
    }
