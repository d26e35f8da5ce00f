"""The side of tests/interop/test_ray.py in Ray's environment: prints one JSON object.

``ray_side.py many FOLDER COUNT`` runs tasks on a local cluster, some of which kill their process; ``ray_side.py connect ADDRESS``
runs three tasks there, or prints the sentence that says why not.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from daemon.cluster.address import parse_address
from daemon.cluster.connection import connected
from daemon.cluster.tasks import Needs, run_tasks
from daemon.errors import DaemonError

ONCE, ALWAYS = (10, 120), 150
"""Tasks that kill their process the first time, and one that does so each time."""


LISTENS = "0A"
"""State of a listening socket in /proc/net/tcp."""


def square(task: tuple[str, int]) -> int:
    """Return the square of the number, unless this task is one of those that end their process."""
    folder, number = task
    mark = Path(folder) / f"killed-{number}"
    if number == ALWAYS or (number in ONCE and not mark.exists()):
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number


def listening_addresses() -> set[str]:
    """Return the addresses, as in /proc/net, on which the processes below this one listen."""
    parents = {
        int(p.parent.name): int(p.read_text().rpartition(")")[2].split()[1]) for p in Path("/proc").glob("[0-9]*/stat")
    }
    family = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    inodes = {os.readlink(fd) for pid in family for fd in Path(f"/proc/{pid}/fd").glob("*") if fd.is_symlink()}
    rows = [row.split() for name in ("tcp", "tcp6") for row in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    return {row[1].split(":")[0] for row in rows if row[3] == LISTENS and f"socket:[{row[9]}]" in inodes}


def many(folder: str, count: int) -> dict[str, object]:
    """Run the tasks; return the account of them."""
    with connected(parse_address("local")) as cluster:
        addresses = listening_addresses()
        done = list(run_tasks(cluster, square, [(folder, number) for number in range(count)], Needs()))
    good = [one for one in done if one.result is not None]
    return {
        "addresses": sorted(addresses),
        "results": len(done),
        "wrong": sum(one.result != one.number**2 for one in good) + (len({one.number for one in done}) != count),
        "killed": len(list(Path(folder).glob("killed-*"))),
        "hopeless": next((one.fault for one in done if one.number == ALWAYS), ""),
        "faults": sum(bool(one.fault) for one in done),
    }


def negated(number: int) -> int:
    """Return the other number."""
    return -number


def connect(address: str) -> dict[str, object]:
    """Run three tasks on a cluster; return their results, or the sentence."""
    is_imported = "ray" in sys.modules
    try:
        with connected(parse_address(address)) as cluster:
            found = sorted(one.result or 0 for one in run_tasks(cluster, negated, (-1, -2, -3), Needs()))
    except DaemonError as fault:
        return {"fault": str(fault)}
    return {"found": found, "was_imported": is_imported}


if __name__ == "__main__":
    print(json.dumps(many(sys.argv[2], int(sys.argv[3])) if sys.argv[1] == "many" else connect(sys.argv[2])))
