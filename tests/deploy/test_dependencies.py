"""Every package that our extras pull in is pinned, the pins are what is installed, and they agree with each other.

That is the part of an audit that needs no network; the run book says how to ask for known vulnerabilities.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
NOT_PINNED = {"ptycholive", "setuptools", "pip"}  # setuptools comes with the environment
ACCELERATOR = ("nvidia-", "cuda-", "triton")  # what a GPU build of torch brings


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().split()
    pairs = [line.split("==") for line in lines]
    assert all(len(pair) == 2 for pair in pairs), "a pin looks like name==version"
    return {canonicalize_name(name): version for name, version in pairs}


def needed(name: str, extras: frozenset[str], found: dict[str, str], asked: set[tuple[str, frozenset[str]]]) -> None:
    """Enter what a distribution and its extras need into ``found``, with the installed versions."""
    if (name, extras) in asked:
        return
    asked.add((name, extras))
    dist = distribution(name)
    found[name] = dist.version
    for text in dist.requires or []:
        requirement = Requirement(text)
        marker = requirement.marker
        if marker is not None and not any(marker.evaluate({"extra": extra}) for extra in (*extras, "")):
            continue
        needed(canonicalize_name(requirement.name), frozenset(requirement.extras), found, asked)


def test_every_dependency_is_pinned_to_what_is_installed() -> None:
    found: dict[str, str] = {}
    needed("ptycholive", frozenset({"dev"}), found, set())
    found = {
        name: version for name, version in found.items() if name not in NOT_PINNED and not name.startswith(ACCELERATOR)
    }
    assert len(found) > 50
    known = pins()
    assert {name for name in found if name not in known} == set(), "add them to constraints.txt"
    wrong = {
        name: (version, known[name]) for name, version in found.items() if version.partition("+")[0] != known[name]
    }
    assert wrong == {}, "installed and pinned versions differ"


def test_pins_agree_with_each_other() -> None:
    done = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout


def test_nothing_installed_hides_our_packages() -> None:
    import daemon
    import ptycholive_client
    import ptychopinn
    import streams

    for package in (daemon, ptycholive_client, ptychopinn, streams):
        assert Path(package.__file__ or "").is_relative_to(ROOT)
    for other in ("daemon", "python-daemon", "streams", "ptycholive-client"):
        try:
            distribution(other)
        except PackageNotFoundError:
            continue
        raise AssertionError(f"the package {other} installs a module of the same name as ours")
