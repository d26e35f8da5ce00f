"""``validate``: check files against the data contract, and read them as all verbs do."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import typer

from daemon.cli.batch import FileBatch, at_file
from daemon.cli.scan_input import read_data
from daemon.files import ScanFile, Severity, read_probe, scans_of
from daemon.files.access import open_arrays
from daemon.files.conversion import read_any
from daemon.files.inventory import inventory
from daemon.journal.reading import is_journal
from ptychopinn.contract import Contract, contract_of, violations
from ptychopinn.errors import ReconstructionError


@dataclass(frozen=True, slots=True)
class FileReport:
    """The result for one file.

    ``violations`` of the contract; ``refusal``: reason why every verb refuses the file, or empty; ``wrong``: impossible
    content; ``doubts``: content that a person should check; ``notes``: assumptions and missing parts; ``scan``: number of
    one of several scans.
    """

    kind: str | None
    summary: str
    violations: list[str]
    refusal: str = ""
    wrong: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    scan: int | None = None

    @property
    def verdict(self) -> Literal["good", "doubtful", "bad", "refused"]:
        """``refused`` by all verbs; ``bad``: violates the contract or is impossible; ``doubtful``; ``good``."""
        if self.refusal:
            return "refused"
        if self.violations or self.wrong:
            return "bad"
        return "doubtful" if self.doubts else "good"


def run_validate(data: list[Path], as_json: bool) -> None:
    """Print the result for each scan of each file; the exit code is 3 if one is bad or refused."""
    batch = FileBatch()
    reports = []
    for path in data:
        for report in batch.attempt(path, examine_each) or ():
            reports.append({"file": str(path), **_public(report)})
            if not as_json:
                _show(path, report)
            if report.verdict in ("bad", "refused"):
                batch.refuse()
    if as_json:
        typer.echo(json.dumps(reports))
    batch.end()


def examine_each(path: Path) -> list[FileReport]:
    """Return the result for a file, or for each of several scans in it."""
    scans = 1 if path.is_dir() else scans_of(path)
    return [examine(path)] if scans == 1 else [examine(path, number) for number in range(scans)]


def examine(path: Path, scan: int | None = None) -> FileReport:
    """Return the result for a file, or for one of several scans in it."""
    contract: Contract | None = None
    broken: list[str] = []
    try:
        with at_file(path):
            if path.joinpath("store.json").is_file():
                return _data_set(path)
            if not is_journal(path):
                contract, broken = _contract(path)
            return replace(_read(path, contract, broken, scan), scan=scan)
    except ReconstructionError as fault:
        kind, title = (None, "") if contract is None else (contract.kind, contract.title)
        return FileReport(kind, title, broken, str(fault).removeprefix(f"{path}: "), scan=scan)


def _data_set(path: Path) -> FileReport:
    """Check the groups of a training's data set against the table of their keys."""
    from ptychopinn.contract.keys import group_violations  # these import torch
    from ptychopinn.data.dataset import PtychoDataset

    data = PtychoDataset(path, "all")
    broken = [
        f"group {number}: {fault}" for number in (0, len(data) - 1) for fault in group_violations(data[number].group)
    ]
    frames = sum(one["frames"] for one in data.facts)
    return FileReport("data-set", f"Data set of a training: {len(data)} groups of {frames} frames", broken)


def _contract(path: Path) -> tuple[Contract | None, list[str]]:
    """Return the contract for a file, and the violations of it."""
    with open_arrays(path) as file:
        entries = inventory(file)
        contract = contract_of(entries)
        return contract, [] if contract is None else violations(contract, entries)


def _read(path: Path, contract: Contract | None, broken: list[str], scan: int | None) -> FileReport:
    """Read a file as the other verbs do."""
    if contract is not None and contract.kind == "npz-probe":
        return FileReport(contract.kind, f"{contract.title}: {read_probe(path).probe.shape}", broken)
    content = read_data(path) if is_journal(path) else read_any(path, scan_number=scan)
    kind, title = _kind(path, contract)
    if not isinstance(content, ScanFile):
        return FileReport(kind, title, broken)
    rows, columns = content.counts.shape[1:]
    summary = f"{title}: {len(content.counts)} frames of {rows} x {columns} px, {content.counts.dtype}"
    sentences = {one: [d.text for d in content.doubts if d.severity is one] for one in Severity}
    notes = [*sentences[Severity.NOTE], *content.notes, *_lacks(content)]
    return FileReport(
        kind, summary, broken, wrong=sentences[Severity.WRONG], doubts=sentences[Severity.DOUBT], notes=notes
    )


def _kind(path: Path, contract: Contract | None) -> tuple[str | None, str]:
    """Return kind and title of a readable file; a file format may have no contract."""
    if contract is not None:
        return contract.kind, contract.title
    return ("journal", "Scan in a journal") if is_journal(path) else (None, "Scan")


def _lacks(scan: ScanFile) -> list[str]:
    """Return notes on parts that the contract allows to be missing and a reconstruction needs."""
    lacks = []
    if scan.probe is None:
        lacks.append("the file has no probe; a reconstruction needs one from another file")
    if scan.positions_m is None and scan.positions_px is None:
        lacks.append("the file has no positions; a reconstruction needs them from another file")
    elif scan.object_pixel_size_m is None:
        is_needed = scan.positions_px is None
        advice = "give it with --pixel-size" if is_needed else "products are in pixels unless --pixel-size is given"
        lacks.append(f"the file does not state the size of the object pixel; {advice}")
    return lacks


def _public(report: FileReport) -> dict[str, Any]:
    return {
        "scan": report.scan,
        "kind": report.kind,
        "verdict": report.verdict,
        "violations": report.violations,
        "refusal": report.refusal or None,
        "wrong": report.wrong,
        "doubts": report.doubts,
        "notes": report.notes,
    }


def _show(path: Path, report: FileReport) -> None:
    name = str(path) if report.scan is None else f"{path}, scan {report.scan}"
    for sentence in () if report.scan else report.violations:  # of several scans once: they are the file's
        typer.echo(f"{path}: {sentence}")
    words = report.refusal if report.verdict == "refused" else report.summary
    typer.echo(f"{name}: {report.verdict}, {words}")
    for word, sentences in (("wrong", report.wrong), ("doubt", report.doubts)):
        for sentence in sentences:
            typer.echo(f"{name}: {word}: {sentence}")
    for note in report.notes:
        typer.echo(f"{name}: note: {note}", err=True)
