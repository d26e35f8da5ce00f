"""Addresses of clusters, and one sentence for each way in which a cluster cannot be used."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

from daemon.cli.exit_codes import ExitCode, exit_code
from daemon.cluster.address import Place, parse_address
from daemon.cluster.connection import ATTEMPTS, has_token, import_ray, start_patiently
from daemon.cluster.faults import check_version, connection_fault
from daemon.errors import ClusterError, ConfigError


@pytest.mark.parametrize(
    ("text", "place", "host", "port"),
    [
        ("local", Place.LOCAL, "", 0),
        ("auto", Place.AUTO, "", 0),
        ("ray://head", Place.CLIENT, "head", 10001),
        ("ray://10.0.0.7:20001", Place.CLIENT, "10.0.0.7", 20001),
        ("ray://[::1]:20001/", Place.CLIENT, "::1", 20001),
    ],
)
def test_an_address_is_read(text: str, place: Place, host: str, port: int) -> None:
    found = parse_address(text)
    assert (found.place, found.host, found.port) == (place, host, port)


@pytest.mark.parametrize(
    "text", ["", "head:6379", "ray://", "ray://h:0", "ray://h:70000", "ray://h:x", "tcp://h:1", "Local"]
)
def test_another_address_is_refused_with_the_forms(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--on .* is not a cluster; give local, auto, or ray://HOST:PORT"):
        parse_address(text)


def test_a_missing_ray_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.version", missing)
    with pytest.raises(ConfigError, match=r"Ray is not installed .* pip install 'ptycholive\[cluster\]'"):
        import_ray()


@pytest.mark.parametrize("version", ["2.51.1", "2.9.0", "1.13.0", "unknown"])
def test_an_old_ray_is_refused(version: str) -> None:
    with pytest.raises(ConfigError, match=f"Ray {version} is too old: versions before 2.52"):
        check_version(version)


@pytest.mark.parametrize("version", ["2.52.0", "2.60.0", "2.100.0rc1", "3.0.0"])
def test_a_newer_ray_is_taken(version: str) -> None:
    check_version(version)


# The messages are those of Ray 2.60.0.
OTHER_PYTHON = RuntimeError(
    "Version mismatch: The cluster was started with:\n    Ray: 2.60.0\n    Python: 3.12.4\n"
    "This process on Ray Client was started with:\n    Ray: 2.60.0\n    Python: 3.11.7\n"
)
OTHER_RAY = RuntimeError(str(OTHER_PYTHON).replace("2.60.0", "2.55.1", 1).replace("3.12.4", "3.11.7"))
NO_TOKEN = RuntimeError("Token authentication is enabled but no authentication token was found")
CLIENT = parse_address("ray://head:10001")
WRONG_TOKEN = RuntimeError("Token authentication is enabled but the authentication token is invalid or incorrect.")

NO_SERVER = ConnectionError(
    "Initialization failure from server:\nTraceback (most recent call last):\n"
    "RuntimeError: Proxy failed to Connect to backend! Check `ray_client_server.err` and `ray_client_server_23000.err`"
)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (NO_SERVER, "the Ray cluster at ray://head:10001 answers and cannot start its process for this client"),
        (OTHER_PYTHON, "runs Python 3.12.4 where this machine has 3.11.7; use the same Python and Ray"),
        (OTHER_RAY, "runs Ray 2.55.1 where this machine has 2.60.0; use the same Python and Ray"),
        (NO_TOKEN, "no token for the Ray cluster at ray://head:10001: put the cluster's token in RAY_AUTH_TOKEN"),
        (WRONG_TOKEN, "refused the token; use the token the cluster was started with"),
        (PermissionError("Invalid or missing authentication token"), "refused the token; use the token"),
        (ConnectionError("ray client connection timeout"), "no Ray cluster answers at ray://head:10001; check host"),
        (
            ConnectionError("Failed to connect to Ray cluster at 10.0.0.1:6379"),
            "the Ray cluster at 10.0.0.1:6379 does not answer, or its token is another one",
        ),
        (RuntimeError("no\nidea"), r"cannot be used \(RuntimeError: no idea\)"),
    ],
)
def test_a_fault_of_ray_is_one_sentence(fault: Exception, words: str) -> None:
    found = connection_fault(fault, "ray://head:10001")
    with pytest.raises(ClusterError, match=words):
        raise found
    assert "\n" not in str(found)
    assert exit_code(found) is ExitCode.ENDPOINT


def test_auto_without_a_cluster_and_a_refused_token_below_another_error() -> None:
    none = ConnectionError("Could not find any running Ray instance. Please specify the one to connect to")
    assert "no Ray cluster was found on this machine" in str(connection_fault(none, "auto"))
    above = ConnectionError("Failed to connect to Ray cluster at 10.0.0.1:6379")
    above.__cause__ = RuntimeError("Unauthenticated: Authentication token is missing or incorrect")
    assert "refused the token" in str(connection_fault(above, "auto"))


def test_a_token_is_looked_for_where_ray_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    assert not has_token()
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("1")
    assert has_token()
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "none"))
    assert not has_token()
    monkeypatch.setenv("RAY_AUTH_TOKEN", "1")
    assert has_token()
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert has_token()


class FailingRay:
    """A module ``ray`` whose client server starts no process the first ``failures`` times."""

    def __init__(self, failures: int, fault: Exception = NO_SERVER) -> None:
        self.failures, self.fault = failures, fault
        self.calls: list[str] = []

    def init(self, **options: object) -> None:
        self.calls.append("init")
        if self.calls.count("init") <= self.failures:
            raise self.fault

    def shutdown(self) -> None:
        self.calls.append("shutdown")


def test_a_head_node_that_starts_no_process_is_asked_again() -> None:
    ray = FailingRay(2)
    start_patiently(ray, CLIENT)
    assert ray.calls == ["init", "shutdown", "init", "shutdown", "init"]


@pytest.mark.parametrize(
    ("fault", "attempts"), [(NO_SERVER, ATTEMPTS), (ConnectionError("ray client connection timeout"), 1)]
)
def test_the_attempts_end(fault: Exception, attempts: int) -> None:
    ray = FailingRay(100, fault)
    with pytest.raises(ConnectionError):
        start_patiently(ray, CLIENT)
    assert ray.calls.count("init") == attempts
