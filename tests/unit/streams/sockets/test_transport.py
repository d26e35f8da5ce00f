"""Receiver and sender over real sockets."""

from __future__ import annotations

import socket as sockets
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq
from zmq.utils.monitor import recv_monitor_message

from ptycholive_client import connection
from streams.errors import EndpointError
from streams.sockets.keys import AllowList
from streams.sockets.peers import EVENTS, Peers
from streams.sockets.transport import CurveKeys, Receiver, Sender
from tests.support.stream_tools import WAIT_S, Listener

LOCAL = "tcp://127.0.0.1:0"
Listen = Callable[..., Receiver]


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
def listen(listener: Listener) -> Iterator[Listen]:
    """Makes started receivers and stops them at the end."""
    started: list[Receiver] = []

    def make(endpoint: str, socket: str = "pull", on_message: object = None, **options: object) -> Receiver:
        receiver = Receiver("frames", endpoint, socket, on_message or listener, **options)
        receiver.start()
        started.append(receiver)
        return receiver

    yield make
    for receiver in started:
        receiver.stop()


def closed_port() -> str:
    with sockets.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{free.getsockname()[1]}"


@pytest.mark.parametrize(("sending", "receiving"), [("push", "pull"), ("pub", "sub")])
def test_messages_arrive_whole_and_in_order(listener: Listener, listen: Listen, sending: str, receiving: str) -> None:
    messages = [[bytes([n % 256]) * 10, b"", bytes(n)] for n in range(2000)]
    before = time.monotonic_ns()
    with Sender(LOCAL, sending, send_limit=16) as sender:
        receiver = listen(sender.bound_endpoint, receiving, receive_limit=16)
        assert sender.wait_for_peer(WAIT_S)
        for message in messages:
            sender.send(message, WAIT_S)
    assert listener.wait(len(messages)) == messages
    stamps = [stamp for _, stamp in listener.messages]
    assert before <= stamps[0]
    assert stamps == sorted(stamps)
    assert stamps[-1] <= time.monotonic_ns()
    assert (receiver.messages, receiver.refused, receiver.failed) == (2000, 0, 0)
    assert receiver.bytes == sum(len(part) for message in messages for part in message)
    assert receiver.last_message == pytest.approx(stamps[-1] / 1e9)


@pytest.mark.parametrize(("sending", "receiving"), [("push", "pull"), ("pub", "sub")])
def test_receiver_that_binds_and_sender_that_connects(
    listener: Listener, listen: Listen, sending: str, receiving: str
) -> None:
    receiver = listen("@" + LOCAL, receiving)
    assert not receiver.bound_endpoint.endswith(":0")
    with Sender(">" + receiver.bound_endpoint, sending) as sender:
        assert sender.wait_for_peer(WAIT_S)
        sender.send([b"one"])
        assert listener.wait(1) == [[b"one"]]
        assert receiver.connected
        assert receiver.fault is None
    assert receiver.wait_for(lambda: not receiver.connected, WAIT_S)
    assert "connection was lost" in str(receiver.fault)
    assert f"frames stream @{LOCAL}" in str(receiver.fault)


def test_files_as_endpoints(listener: Listener, listen: Listen, tmp_path: Path) -> None:
    with Sender(f"ipc://{tmp_path}/s") as sender:
        listen(sender.bound_endpoint)
        sender.send([b"one"], WAIT_S)
    assert listener.wait(1) == [[b"one"]]


def test_nothing_is_lost_when_the_sender_closes(listener: Listener, listen: Listen) -> None:
    may_go_on = threading.Event()

    def slowly(parts: list[memoryview], stamp: int) -> None:
        assert may_go_on.wait(WAIT_S)
        listener(parts, stamp)

    with Sender(LOCAL, send_limit=500) as sender:
        listen(sender.bound_endpoint, on_message=slowly, receive_limit=1)
        for n in range(500):
            sender.send([bytes([n % 256]) * 20_000], WAIT_S)
        may_go_on.set()
    assert len(listener.wait(500)) == 500


def test_a_receiver_that_is_busy_holds_the_sender_back(listener: Listener, listen: Listen) -> None:
    may_go_on = threading.Event()

    def slowly(parts: list[memoryview], stamp: int) -> None:
        assert may_go_on.wait(WAIT_S)
        listener(parts, stamp)

    sent = 0

    def send_until_full() -> None:
        nonlocal sent
        for _ in range(10_000):
            sender.send([bytes(100_000)], 0.2)
            sent += 1

    with Sender(LOCAL, send_limit=2) as sender:
        listen(sender.bound_endpoint, on_message=slowly, receive_limit=2)
        with pytest.raises(EndpointError, match=r"no receiver accepted a message for 0.2 s; check"):
            send_until_full()
        may_go_on.set()
        sender.send([b"last"], WAIT_S)
    assert listener.wait(sent + 1)[-1] == [b"last"]


def test_reconnects_when_the_sender_comes_back(listener: Listener, listen: Listen) -> None:
    with Sender(LOCAL) as first:
        endpoint = first.bound_endpoint
        receiver = listen(endpoint)
        first.send([b"one"], WAIT_S)
        listener.wait(1)
    assert receiver.wait_for(lambda: not receiver.connected, WAIT_S)
    with Sender(endpoint) as second:
        second.send([b"two"], WAIT_S)
        assert listener.wait(2) == [[b"one"], [b"two"]]
        assert receiver.wait_for(lambda: receiver.connected, WAIT_S)


def test_nobody_there(listen: Listen) -> None:
    receiver = listen(closed_port())
    assert receiver.wait_for(lambda: receiver.fault is not None, WAIT_S)
    assert "no answer; still trying" in str(receiver.fault)
    assert not receiver.connected


def test_a_host_that_has_no_name_yet(listen: Listen) -> None:
    receiver = listen("tcp://no.such.host.invalid:9999")
    assert receiver.wait_for(lambda: receiver.fault is not None, WAIT_S)
    assert "no answer; still trying" in str(receiver.fault)
    assert receiver.is_alive


@pytest.mark.parametrize(("sending", "receiving"), [("push", "pull"), ("pub", "sub")])
def test_sender_of_too_large_a_message_is_disconnected_and_may_come_again(
    listener: Listener, listen: Listen, caplog: pytest.LogCaptureFixture, sending: str, receiving: str
) -> None:
    with Sender(LOCAL, sending) as sender:
        receiver = listen(sender.bound_endpoint, receiving, max_message_bytes=1000)
        assert sender.wait_for_peer(WAIT_S)
        sender.send([bytes(1000)], WAIT_S)
        sender.send([bytes(1001)], WAIT_S)
        while len(listener.messages) < 2:
            sender.send([b"again"], WAIT_S)
            receiver.wait_for(lambda: len(listener.messages) >= 2, 0.05)
    assert {bytes(parts[0]) for parts, _ in listener.messages} == {bytes(1000), b"again"}
    assert f"frames stream {receiver.endpoint}: a connection was lost" in caplog.text


@pytest.mark.parametrize("parts", [[bytes(600), bytes(401)], [b""] * 65])
def test_messages_too_large_in_all_are_refused_alone(listener: Listener, listen: Listen, parts: list[bytes]) -> None:
    with Sender(LOCAL) as sender:
        receiver = listen(sender.bound_endpoint, max_message_bytes=1000)
        sender.send(parts, WAIT_S)
        sender.send([bytes(600), bytes(400)], WAIT_S)
        assert listener.wait(1) == [[bytes(600), bytes(400)]]
        assert (receiver.messages, receiver.refused) == (2, 1)


def test_a_fault_of_the_consumer_costs_one_message(listener: Listener, listen: Listen) -> None:
    def fail_at_first(parts: list[memoryview], stamp: int) -> None:
        if parts[0] == b"bad":
            raise RuntimeError("no")
        listener(parts, stamp)

    with Sender(LOCAL) as sender:
        receiver = listen(sender.bound_endpoint, on_message=fail_at_first)
        sender.send([b"bad"], WAIT_S)
        sender.send([b"good"], WAIT_S)
        assert listener.wait(1) == [[b"good"]]
        assert receiver.failed == 1


def test_encrypted_stream(listener: Listener, listen: Listen) -> None:
    (server, server_secret), (client, client_secret) = zmq.curve_keypair(), zmq.curve_keypair()
    with Sender(LOCAL, curve=CurveKeys(server, server_secret)) as sender:
        receiver = listen(sender.bound_endpoint, curve=CurveKeys(client, client_secret, server))
        sender.send([b"secret"], WAIT_S)
        assert listener.wait(1) == [[b"secret"]]
        assert receiver.wait_for(lambda: receiver.connected, WAIT_S)
        assert receiver.handshake_failures == 0
    assert server_secret.decode() not in repr(CurveKeys(server, server_secret))


@pytest.mark.parametrize("has_keys", [True, False])
def test_wrong_or_no_keys_are_told_and_tried_again(listen: Listen, has_keys: bool) -> None:
    (server, server_secret), (client, client_secret) = zmq.curve_keypair(), zmq.curve_keypair()
    with Sender(LOCAL, curve=CurveKeys(server, server_secret)) as sender:
        receiver = listen(sender.bound_endpoint, curve=CurveKeys(client, client_secret, client) if has_keys else None)
        assert receiver.wait_for(lambda: receiver.handshake_failures >= 2, WAIT_S)
        assert not receiver.connected
        words = (
            "wrong key: check that the server's public key"
            if has_keys
            else "no CURVE keys and the other end requires them"
        )
        assert receiver.wait_for(lambda: words in str(receiver.fault), WAIT_S), receiver.fault
        with pytest.raises(EndpointError, match="no receiver accepted"):
            sender.send([b"secret"], 0)
        assert not sender.wait_for_peer(0)
        assert "the handshake failed" in str(sender.handshake_fault)


def client_of(server: CurveKeys) -> CurveKeys:
    public, secret = zmq.curve_keypair()
    return CurveKeys(public, secret, server.public)


def test_an_allow_list_lets_in_who_is_on_it_and_is_read_anew(
    listen: Listen, listener: Listener, tmp_path: Path
) -> None:
    public, secret = zmq.curve_keypair()
    allowed = tmp_path / "allowed"
    allowed.mkdir()
    server = CurveKeys(public, secret, allowed=AllowList(allowed))
    client = client_of(server)
    with Sender(LOCAL, curve=server) as sender:
        receiver = listen(sender.bound_endpoint, curve=client)
        assert receiver.wait_for(lambda: receiver.handshake_failures > 0, WAIT_S)
        assert receiver.wait_for(lambda: "have it added to the allow-list" in str(receiver.fault), WAIT_S)
        assert client.public.decode() in str(receiver.fault)
        (allowed / "new.key").write_bytes(client.public)
        assert receiver.wait_for(lambda: receiver.connected, WAIT_S)
        sender.send([b"secret"], WAIT_S)
        assert listener.wait(1) == [[b"secret"]]
        assert receiver.fault is None


def test_a_receiver_that_binds_names_the_client_that_it_turns_away(listen: Listen, tmp_path: Path) -> None:
    public, secret = zmq.curve_keypair()
    (tmp_path / "list").write_bytes(public)
    receiver = listen("@" + LOCAL, curve=CurveKeys(public, secret, allowed=AllowList(tmp_path / "list")))
    with Sender(">" + receiver.bound_endpoint, curve=client_of(CurveKeys(public, secret))):
        words = "a client whose key is not in the allow-list was rejected"
        assert receiver.wait_for(lambda: words in str(receiver.fault), WAIT_S)


@pytest.mark.parametrize("has_keys", [True, False])
def test_the_right_key_works_after_wrong_ones(listener: Listener, listen: Listen, has_keys: bool) -> None:
    right, wrong = (CurveKeys(*zmq.curve_keypair()) for _ in range(2))
    with Sender(LOCAL, curve=wrong if has_keys else None) as first:
        endpoint = first.bound_endpoint
        receiver = listen(endpoint, curve=client_of(right))
        assert receiver.wait_for(lambda: receiver.handshake_failures > 0, WAIT_S)
    with Sender(endpoint, curve=right) as second:
        second.send([b"at last"], WAIT_S)
        assert listener.wait(1) == [[b"at last"]]
        assert receiver.wait_for(lambda: receiver.connected and receiver.fault is None, WAIT_S)


def test_a_second_sender_is_named(listen: Listen) -> None:
    receiver = listen("@" + LOCAL)
    with Sender(">" + receiver.bound_endpoint), Sender(">" + receiver.bound_endpoint):
        assert receiver.wait_for(lambda: "2 senders are connected" in str(receiver.fault), WAIT_S)
    assert receiver.wait_for(lambda: "senders" not in str(receiver.fault), WAIT_S)


def test_what_zeromq_holds_is_bounded(listen: Listen) -> None:
    """It counts messages, and would hold a thousand of whatever size."""
    may_go_on = threading.Event()
    receiver = listen("@" + LOCAL, on_message=lambda _parts, _ns: may_go_on.wait(WAIT_S) and None)
    sent = 0

    def send_until_full() -> None:
        nonlocal sent
        while sent < 1000:
            sender.send([bytes(100_000)], 1.0 if sent else WAIT_S)
            sent += 1

    with Sender(">" + receiver.bound_endpoint, send_limit=1) as sender:
        with pytest.raises(EndpointError, match="no receiver accepted"):
            send_until_full()
        may_go_on.set()
    assert sent < 300  # the sixteen and what the kernel holds


def test_messages_of_all_sizes_in_turn_all_arrive(listener: Listener, listen: Listen) -> None:
    sizes = [10, 5_000_000, 10] * 4 + [10] * 900 + [2_000_000] + [10] * 900
    with Sender(LOCAL, "pub") as sender:
        listen(sender.bound_endpoint, "sub")
        assert sender.wait_for_peer(WAIT_S)
        for size in sizes:
            sender.send([bytes(size)], WAIT_S)
        assert [len(parts[0]) for parts in listener.wait(len(sizes))] == sizes


@pytest.mark.parametrize(
    "endpoint", ["", "127.0.0.1:9", "tcp://127.0.0.1", "tcp://h:x", "udp://h:1", "inproc://x", "@", "tcp://h:65536"]
)
def test_what_is_no_endpoint(endpoint: str, listener: Listener) -> None:
    with pytest.raises(EndpointError, match=r"frames stream: .* is not a valid endpoint. Example: @tcp://"):
        Receiver("frames", endpoint, "pull", listener).start()
    with pytest.raises(EndpointError, match=r"sender: .* is not a valid endpoint. Example: >tcp://"):
        Sender(endpoint)


def test_endpoints_that_cannot_be_opened(listener: Listener) -> None:
    with Sender(LOCAL) as sender:
        taken = sender.bound_endpoint
        for opening in (Receiver("frames", "@" + taken, "pull", listener).start, lambda: Sender(taken)):
            with pytest.raises(EndpointError, match=f"{taken} is in use by another program; stop it or choose"):
                opening()
    for bad in ("tcp://192.0.2.1:9999", "tcp://no.such.host.invalid:9999"):
        with pytest.raises(EndpointError, match=f"{bad} cannot be opened .*; check address and port"):
            Sender(bad)


def test_sockets_and_keys_that_are_none(listener: Listener) -> None:
    with pytest.raises(EndpointError, match="socket 'dealer' is not one of pull, sub"):
        Receiver("frames", LOCAL, "dealer", listener)
    with pytest.raises(EndpointError, match="socket 'pull' is not one of push, pub"):
        Sender(LOCAL, "pull")
    with pytest.raises(EndpointError, match="CURVE key is not 40 characters"):
        Sender(LOCAL, curve=CurveKeys(b"short", b"short"))
    with pytest.raises(EndpointError, match="CURVE key is not 40 characters"):
        Receiver("frames", closed_port(), "pull", listener, curve=CurveKeys(b"a" * 40, b"b" * 40, b"short")).start()


def test_stopping_frees_thread_and_port(listener: Listener) -> None:
    before = set(threading.enumerate())
    receiver = Receiver("frames", "@" + LOCAL, "pull", listener)
    receiver.stop()
    receiver.start()
    assert {thread.name for thread in set(threading.enumerate()) - before} == {"receive-frames"}
    receiver.stop()
    receiver.stop()
    assert set(threading.enumerate()) == before
    with Sender(receiver.bound_endpoint) as sender:
        assert not sender.wait_for_peer(0)


def test_a_context_that_does_not_end_is_left_and_reported(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(connection, "TERM_S", 0.05)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    open_still, socket = context.socket(zmq.PUB), context.socket(zmq.PUB)  # the first one keeps the context from ending
    connection.close(context, socket, socket.get_monitor_socket(), linger_ms=0)
    assert socket.closed
    assert "a ZeroMQ context has not ended" in caplog.text
    open_still.close(0)
    (ending,) = [thread for thread in threading.enumerate() if thread.name == "zmq-end"]
    ending.join()
    assert context.closed


@pytest.mark.parametrize("is_first", [True, False], ids=["wrong one first", "wrong one last"])
def test_a_socket_of_the_wrong_type_is_not_counted(is_first: bool) -> None:
    kinds = (zmq.SUB, zmq.PULL) if is_first else (zmq.PULL, zmq.SUB)
    with zmq.Context() as context, context.socket(zmq.PUSH) as bound:
        monitor, peers, seen = bound.get_monitor_socket(EVENTS), Peers("detector stream"), []
        address = f"tcp://127.0.0.1:{bound.bind_to_random_port('tcp://127.0.0.1')}"
        with context.socket(kinds[0]) as first, context.socket(kinds[1]) as second:
            for socket, last in ((first, is_first), (second, not is_first)):
                socket.connect(address)
                end = zmq.EVENT_DISCONNECTED if last else zmq.EVENT_HANDSHAKE_SUCCEEDED
                while end not in seen:
                    assert monitor.poll(1000 * WAIT_S), seen
                    event = recv_monitor_message(monitor)
                    seen.append(event["event"])
                    peers.note(event["event"], event["value"])
            assert (peers.connections, peers.fault) == (1, None)
        bound.disable_monitor()
        monitor.close()
