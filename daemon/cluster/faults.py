"""One sentence for each way in which a cluster cannot be used."""

from __future__ import annotations

import re
from collections.abc import Iterator

from daemon.errors import ClusterError, ConfigError

OLDEST_RAY = (2, 52)
"""Older versions of Ray let anyone who reaches their dashboard run code, and have no token."""
INSTALL = "install it with: pip install 'ptycholive[cluster]'"
TOKEN_PLACES = "RAY_AUTH_TOKEN, in the file that RAY_AUTH_TOKEN_PATH names, or in ~/.ray/auth_token"
_PYTHON = re.compile(r"Python:?\s+v?(\d+\.\d+(?:\.\d+)?)")
_NO_SERVER = ("proxy failed to connect to backend", "starting ray client server failed")
"""Parts of Ray's messages for a head node that cannot start its process for a client."""
_FOUND = re.compile(r"Failed to connect to Ray cluster at (\S+)")
_RAY = re.compile(r"Ray:?\s+v?(\d+\.\d+\.\d+)")


def at(address: str) -> str:
    """Return the place of a cluster in words."""
    return "on this machine" if address in ("auto", "local") else f"at {address}"


def missing_ray() -> ConfigError:
    """Return the error for a Python without Ray."""
    return ConfigError(f"Ray is not installed in this environment; {INSTALL}")


def broken_ray(fault: BaseException) -> ConfigError:
    """Return the error for a Ray that is installed and cannot be imported."""
    return ConfigError(f"Ray is installed and cannot be imported ({one_line(fault)}); install it again: {INSTALL}")


def check_version(version: str) -> None:
    """Raise :class:`ConfigError` for a version of Ray that is too old to be safe."""
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if numbers is None or tuple(map(int, numbers.groups())) < OLDEST_RAY:
        oldest = ".".join(map(str, OLDEST_RAY))
        raise ConfigError(
            f"Ray {version} is too old: versions before {oldest} let anyone who reaches the cluster run code; {INSTALL}"
        )


def connection_fault(fault: BaseException, address: str) -> ClusterError:
    """Return the error for an exception that Ray raised while it connected."""
    words = " ".join(f"{type(one).__name__} {one}" for one in _chain(fault))
    lower = words.lower()
    if "token" in lower or "unauthenticated" in lower or "authentication" in lower:
        return token_fault(address, is_missing="no authentication token was found" in lower)
    if "version" in lower and _PYTHON.search(words):
        return _other_versions(words, address)
    if has_no_server(fault):
        return ClusterError(
            f"the Ray cluster {at(address)} answers and cannot start its process for this client; free memory on the "
            "head node, and read ray_client_server.err in its /tmp/ray/session_latest/logs"
        )
    if (
        isinstance(fault, ConnectionError | TimeoutError)
        or "could not connect" in lower
        or "failed to connect" in lower
    ):
        found = _FOUND.search(words)
        return silent(found[1]) if found else unreachable(address, "")
    return ClusterError(f"the Ray cluster {at(address)} cannot be used ({one_line(fault)})")


def token_fault(address: str, *, is_missing: bool) -> ClusterError:
    """Return the error for a token that is missing or wrong."""
    if is_missing:
        return ClusterError(
            f"no token for the Ray cluster {at(address)}: put the cluster's token in {TOKEN_PLACES}; "
            "for a cluster without a token set RAY_AUTH_MODE=disabled"
        )
    return ClusterError(
        f"the Ray cluster {at(address)} refused the token; use the token the cluster was started with, in {TOKEN_PLACES}"
    )


def unreachable(address: str, reason: str) -> ClusterError:
    """Return the error for a cluster that does not answer."""
    if address == "auto":
        return ClusterError(
            "no Ray cluster was found on this machine; start one with 'ray start --head', join one with "
            "'ray start --address HOST:6379', or use the address local"
        )
    cause = f" ({reason})" if reason else ""
    return ClusterError(
        f"no Ray cluster answers at {address}{cause}; check host, port and firewall, and that 'ray start --head' runs there"
    )


def has_no_server(fault: BaseException) -> bool:
    """Return whether the head node answers and could not start the process that serves one client."""
    return any(part in str(one).lower() for one in _chain(fault) for part in _NO_SERVER)


def silent(address: str) -> ClusterError:
    """Return the error for a cluster that is known on this machine, and with which Ray cannot connect."""
    return ClusterError(
        f"the Ray cluster {at(address)} does not answer, or its token is another one: see there with 'ray status'; "
        f"put the cluster's token in {TOKEN_PLACES}"
    )


def lost(address: str, fault: BaseException) -> ClusterError:
    """Return the error for a cluster that stopped answering during the work."""
    return ClusterError(
        f"the connection to the Ray cluster {at(address)} was lost ({one_line(fault)}); "
        "repeat the command: finished scans are kept"
    )


def one_line(fault: BaseException, most: int = 200) -> str:
    """Return an exception in one line of at most ``most`` characters."""
    return " ".join(f"{type(fault).__name__}: {fault}".split())[:most]


def _chain(fault: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and its causes."""
    while fault is not None:
        yield fault
        fault = fault.__cause__


def _other_versions(words: str, address: str) -> ClusterError:
    """Return the error for a cluster with another Python or Ray; Ray names the cluster's versions first, then ours."""
    pythons, rays = _PYTHON.findall(words), _RAY.findall(words)
    pairs = (("Python", pythons), ("Ray", rays))
    differing = [(name, found[0], found[-1]) for name, found in pairs if len(found) > 1 and found[0] != found[-1]]
    told = " and ".join(f"{name} {theirs} where this machine has {ours}" for name, theirs, ours in differing)
    return ClusterError(
        f"the Ray cluster {at(address)} runs {told or 'other versions of Python or Ray'}; "
        "use the same Python and Ray on all machines"
    )
