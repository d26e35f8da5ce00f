"""Sinks: found by entry point, served in their own threads, and unable to harm a scan."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daemon.config import SinkOptions
from daemon.errors import ConfigError
from daemon.publish.hub import UpdateHub
from daemon.publish.snapshot import LayerCanvas
from daemon.sinks import Delivery, Sink, open_sinks
from daemon.sinks import delivery as delivery_module
from tests.support import messages
from tests.support.updates import make_update

PATIENCE_S = 60


class NotingSink(Sink):
    """Puts what it gets into a queue; ``fault`` is called first, with the name of the call."""

    def __init__(self, fault: Callable[[str], None] = lambda name: None) -> None:
        self.got: queue.Queue[tuple[Any, ...]] = queue.Queue()
        self.fault = fault

    def _note(self, name: str, *what: Any) -> None:
        self.fault(name)
        self.got.put((name, *what))

    def next(self) -> tuple[Any, ...]:
        return self.got.get(timeout=PATIENCE_S)

    def open(self) -> None:
        self._note("open")

    def start_scan(self, scan_id: str, expected_frames: int | None) -> None:
        self._note("start", scan_id, expected_frames)

    def show(self, picture: LayerCanvas) -> None:
        self._note("show", picture)

    def take_product(self, scan_id: str, path: Path) -> None:
        self._note("product", scan_id, path)

    def end_scan(self, scan_id: str, state: str, verdict: Mapping[str, Any]) -> None:
        self._note("end", scan_id, state, verdict)

    def close(self) -> None:
        self._note("close")


@contextmanager
def serving(hub: UpdateHub, sink: Sink, **options: Any) -> Iterator[tuple[Delivery, list[str]]]:
    counted: list[str] = []
    how = SinkOptions(kind="noting", **options)
    delivery = Delivery(hub, sink, how, lambda kind, result: counted.append(f"{kind} {result}"))
    delivery.start()
    try:
        yield delivery, counted
    finally:
        delivery.stop(PATIENCE_S)


def end(hub: UpdateHub, scan_id: str = "scan-1", product: Path | None = None) -> None:
    hub.publish_scan(messages.ended(scan_id, product=None if product is None else str(product)))


def test_a_scan_comes_in_order_and_the_final_picture_before_the_end(tmp_path: Path) -> None:
    hub, sink = UpdateHub(), NotingSink()
    rng = np.random.default_rng(0)
    with serving(hub, sink, period_s=1000) as (delivery, counted):
        hub.publish_scan(messages.started("scan-1", 7))
        assert sink.next() == ("open",)
        assert sink.next() == ("start", "scan-1", 7)
        hub.publish_layer(make_update(rng, stitched=1))
        assert sink.next()[1].frames_stitched == 1
        hub.publish_layer(make_update(rng, stitched=2))  # within the period: not shown
        hub.publish_layer(make_update(rng, stitched=3))
        end(hub, product=tmp_path / "product.h5")
        name, picture = sink.next()
        assert (name, picture.frames_stitched) == ("show", 3)
        known = hub.canvas("scan-1", "network")
        assert known is not None
        np.testing.assert_array_equal(picture.object, known.object)
        assert sink.next() == ("product", "scan-1", tmp_path / "product.h5")
        assert sink.next() == ("end", "scan-1", "complete", messages.verdict())
    assert sink.next() == ("close",)
    assert counted == ["noting ok"] * 5
    assert delivery.status() == {
        "kind": "noting", "ok": 5, "failed": 0, "dropped": 0, "waiting": 0, "trouble": None
    }  # fmt: skip


def test_a_failing_sink_is_counted_said_and_tried_again_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery_module, "FIRST_WAIT_S", 0.01)
    failures = iter(range(3))

    def fault(name: str) -> None:
        if name in ("start", "show") or (name == "end" and next(failures, None) is not None):
            raise RuntimeError(f"no {name} today")

    hub, sink = UpdateHub(), NotingSink(fault)
    with serving(hub, sink) as (delivery, counted):
        hub.publish_scan(messages.started("scan-1", None))
        hub.publish_layer(make_update(np.random.default_rng(0)))
        end(hub)
        assert sink.next() == ("open",)
        assert sink.next()[:3] == ("end", "scan-1", "complete")
    assert counted == ["noting failed"] * 5 + ["noting ok"]
    assert delivery.trouble is None


def test_a_failure_is_said_in_words() -> None:
    def fault(name: str) -> None:
        raise OSError("the server is away")

    hub, sink = UpdateHub(), NotingSink(fault)
    with serving(hub, sink) as (delivery, _):
        hub.publish_scan(messages.started("scan-1"))
    assert delivery.trouble == "the sink noting failed: the server is away"


def test_a_sink_that_hangs_holds_nobody_and_memory_stays_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery_module, "SLOW_S", 0.0)
    go_on, hangs = threading.Event(), threading.Event()

    def fault(name: str) -> None:
        if name == "start":
            hangs.set()
            go_on.wait(PATIENCE_S)

    hub, sink = UpdateHub(), NotingSink(fault)
    update = make_update(np.random.default_rng(0))
    with serving(hub, sink) as (delivery, counted):
        hub.publish_scan(messages.started("scan-0"))
        assert hangs.wait(PATIENCE_S)
        for k in range(1000):
            hub.publish_layer(update)
            hub.publish_scan(messages.started(f"scan-{k}"))
        assert delivery.status()["waiting"] == delivery_module.MAX_EVENTS
        assert counted.count("noting dropped") == 1000 - delivery_module.MAX_EVENTS
        assert "busy with one delivery" in str(delivery.trouble)
        delivery.stop(0.1)  # returns though the sink does not
        go_on.set()


def test_the_wanted_layer_is_shown_else_the_other() -> None:
    hub, sink = UpdateHub(), NotingSink()
    rng = np.random.default_rng(0)
    with serving(hub, sink, layer="refined", period_s=0.001):
        hub.publish_layer(make_update(rng, stitched=1))
        assert sink.next() == ("open",)
        assert sink.next()[1].layer == "network"
        hub.publish_layer(make_update(rng, layer="refined", stitched=2))
        assert sink.next()[1].layer == "refined"


PLUGIN = """
from daemon.sinks import Sink
def open_sink(options):
    if options.get("fault") == "value":
        raise ValueError("no such flavour")
    if options.get("fault") == "key":
        options["flavour"]
    if options.get("fault") == "import":
        import a_package_that_is_not_there
    return object() if options.get("fault") == "kind" else Sink()
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package that offers the sink ``vanilla``."""
    (tmp_path / "vanilla_sink.py").write_text(PLUGIN)
    about = tmp_path / "vanilla_sink-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: vanilla-sink\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[ptycholive.sinks]\nvanilla = vanilla_sink:open_sink\n")
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("plugin")
def test_sinks_of_other_packages_are_found_by_their_entry_point() -> None:
    (sink,) = open_sinks([SinkOptions(kind="vanilla")])
    assert type(sink) is Sink


@pytest.mark.usefixtures("plugin")
@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        ("chocolate", {}, 'there is no sink "chocolate"; installed are .*vanilla'),
        ("vanilla", {"fault": "value"}, "no such flavour"),
        ("vanilla", {"fault": "key"}, "KeyError: 'flavour'"),
        ("vanilla", {"fault": "import"}, "cannot be loaded .*a_package_that_is_not_there"),
        ("vanilla", {"fault": "kind"}, "did not return a sink"),
        ("pva", {"prefix": "no spaces please"}, '"pva": prefix: String should match'),
        ("pva", {"colour": 1}, '"pva": colour: Extra inputs'),
    ],
)
def test_a_sink_that_does_not_do_is_one_sentence(kind: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        open_sinks([SinkOptions(kind=kind, options=options)])
    assert "\n" not in str(caught.value)
