"""``--on``: each scan once, a bad one fails alone, a second run continues. Ray's part is in this process."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from daemon.cli.cluster_batch import ScanJob, work_on
from daemon.cli.main import app
from daemon.cluster.connection import Cluster
from daemon.errors import ClusterError, ConfigError
from daemon.files import read_product
from ptychopinn.errors import FileFormatError
from tests.support.in_process_ray import exceptions, in_process_cluster

SMALL = ("--size", 32, "--frames", 9, "--seed", 7)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    made = in_process_cluster()

    @contextmanager
    def connected(address: object) -> Iterator[Cluster]:
        del address
        yield made

    monkeypatch.setattr("daemon.cli.cluster_verbs.connected", connected)
    return made


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def lines_of(result: Result) -> list[dict]:
    return sorted((json.loads(row) for row in result.stdout.splitlines()), key=lambda line: line["output"])


@pytest.fixture
def scans(tmp_path: Path) -> list[Path]:
    assert run("simulate", tmp_path / "in.npz", *SMALL, "--count", 3).exit_code == 0
    return sorted(tmp_path.glob("in-*.npz"))


def test_a_batch_equals_the_same_command_without_a_cluster_and_continues(
    cluster: Cluster, scans: list[Path], tmp_path: Path
) -> None:
    out, alone, bad = tmp_path / "out", tmp_path / "alone", tmp_path / "bad.npz"
    bad.write_bytes(b"PK damaged")
    words = ("predict", *scans[:2], bad, "--bundle", "none", "--output")
    first = run(*words, out, "--on", "local", "--json")
    assert first.exit_code == 3
    assert f"ptycholive: {bad}" in first.stderr
    lines = lines_of(first)
    assert [line["exit_code"] for line in lines] == [3, 0, 0]
    assert lines[0]["summary"] is None
    assert lines[0]["fault"].count("\n") == 0
    assert len((out / "manifest.jsonl").read_text().splitlines()) == 3
    assert run(*words, alone).exit_code == 3
    for path in scans[:2]:
        ours, theirs = (read_product(folder / f"{path.stem}.h5") for folder in (out, alone))
        np.testing.assert_array_equal(ours.object, theirs.object)
    # the damaged file is mended and one scan added: two tasks are left
    bad.write_bytes(scans[2].read_bytes())
    made = {path: (out / f"{path.stem}.h5").stat().st_mtime_ns for path in scans[:2]}
    second = run("predict", *scans, bad, "--bundle", "none", "--output", out, "--on", "local")
    assert second.exit_code == 0, second.output
    assert "4 scans: 4 done, 0 refused, 0 failed; 2 of them by an earlier run" in second.stdout
    assert made == {path: (out / f"{path.stem}.h5").stat().st_mtime_ns for path in scans[:2]}
    # other options: everything again
    third = run("predict", *scans, bad, "--bundle", "none", "--looks", 1, "--output", out, "--on", "local")
    assert "4 scans: 4 done, 0 refused, 0 failed; manifest" in third.stdout


def test_simulate_and_refine_equal_the_commands_without_a_cluster(
    cluster: Cluster, scans: list[Path], tmp_path: Path
) -> None:
    done = run("simulate", tmp_path / "on.npz", *SMALL, "--count", 3, "--on", "auto", "--json")
    assert [line["summary"]["seed"] for line in lines_of(done)] == [7, 8, 9]
    for path in scans:
        with np.load(path) as ours, np.load(tmp_path / path.name.replace("in-", "on-")) as theirs:
            np.testing.assert_array_equal(ours["diff3d"], theirs["diff3d"])
    for folder, options in (("on", ("--on", "ray://head")), ("alone", ())):
        done = run("refine", *scans[:2], "--sweeps", 2, "--output", tmp_path / folder, *options)
        assert done.exit_code == 0, done.output
        assert done.stdout.count(" after 2 sweeps in ") == 2
    for path in scans[:2]:
        ours, theirs = (read_product(tmp_path / folder / f"{path.stem}.h5") for folder in ("on", "alone"))
        np.testing.assert_array_equal(ours.object, theirs.object)


def test_a_lost_process_fails_its_scan_and_a_wrong_option_stops_the_batch(
    cluster: Cluster, scans: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = run("predict", *scans, "--bundle", tmp_path / "no.zip", "--output", tmp_path / "out", "--on", "local")
    assert isinstance(wrong.exception, FileFormatError), wrong.output
    assert "no.zip" in str(wrong.exception)
    assert not (tmp_path / "out").exists()

    def lack(*arguments: object) -> dict:
        raise ConfigError("the model m is not here")

    monkeypatch.setattr("daemon.cli.cluster_verbs._predict", lack)
    lacking = run("predict", *scans, "--bundle", "none", "--output", tmp_path / "out", "--on", "local")
    assert isinstance(lacking.exception, ConfigError), lacking.output
    assert str(lacking.exception) == f"the model m is not here (on {os.uname().nodename})"

    def lose(*arguments: object) -> dict:
        raise exceptions.WorkerCrashedError

    monkeypatch.setattr("daemon.cli.cluster_verbs._predict", lose)
    lost = run("predict", *scans, "--bundle", "none", "--output", tmp_path / "out", "--on", "local", "--json")
    assert lost.exit_code == 1
    assert ["its process ended 3 times" in line["fault"] for line in lines_of(lost)] == [True] * 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": "0.0.1"}, "the command 0.0.1; install the same version on all machines"),
        ({"manifest": Path("/not/here/manifest.jsonl")}, "does not see the folder /not/here of the command"),
        ({"input": Path("/not/here.npz")}, "/not/here.npz does not exist on "),
    ],
)
def test_a_machine_that_does_not_fit_is_one_sentence(tmp_path: Path, change: dict, words: str) -> None:
    place = tmp_path / "manifest.jsonl"
    place.touch()
    good = {"input": None, "output": tmp_path / "a.h5", "fingerprint": "", "do": dict, "manifest": place}
    assert work_on(ScanJob(**good))["fault"] == ""
    line = work_on(ScanJob(**good | change))
    assert words in line["fault"]
    assert line["exit_code"] in (3, 4)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("predict", "a.npz", "--output", "a.h5", "--on", "head:6379"), "--on 'head:6379' is not a cluster"),
        (("predict", "a.npz", "--output", "a.h5", "--gpus-per-scan", 1), "give --on too"),
        (("predict", "a.npz", "--output", "a.h5", "--on", "local", "--device", "cuda:1"), "Ray chooses the GPU"),
        (("simulate", "a.npz", "--config", "a.toml", "--on", "local"), "--on and --config cannot be used together"),
        (("refine", "a", "b", "--output", "c", "--probe-output", "d", "--on", "local"), "--probe-output is one file"),
        (("refine", "a", "b", "--output", "c", "--probe-output", "d"), "--probe-output is one file"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    words: tuple[object, ...], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = run(*words).exception
    assert isinstance(found, ConfigError)
    assert sentence in str(found)


def test_an_unreachable_cluster_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daemon.cluster.connection.import_ray", lambda: None)
    with socket.socket() as bound:  # bound and not listening: nobody else gets the port
        bound.bind(("127.0.0.1", 0))
        address = f"ray://127.0.0.1:{bound.getsockname()[1]}"
        found = run("predict", "a.npz", "--output", tmp_path / "a.h5", "--on", address).exception
    assert isinstance(found, ClusterError)
    assert f"no Ray cluster answers at {address} (Connection refused)" in str(found)
    assert not list(tmp_path.iterdir())
