"""``validate``: check files against the data contract, and read them as all verbs do."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import typer

from daemon.cli.batch import Batch, at_file
from daemon.cli.scan_input import read_data
from daemon.files import ScanFile, Severity, read_probe
from daemon.files.access import open_arrays
from daemon.files.conversion import read_any
from daemon.files.inventory import inventory
from daemon.journal.reading import is_journal
from ptychopinn.contract import Contract, contract_of, violations
from ptychopinn.errors import ReconstructionError


@dataclass(frozen=True, slots=True)
class Finding:
    """The result for one file.

    ``violations`` of the contract; ``refusal``: reason why every verb refuses the file, or empty; ``wrong``: impossible
    content; ``doubts``: content that a person should check; ``notes``: assumptions and missing parts.
    """

    kind: str | None
    summary: str
    violations: list[str]
    refusal: str = ""
    wrong: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def verdict(self) -> Literal["good", "doubtful", "bad", "refused"]:
        """``refused`` by all verbs; ``bad``: violates the contract or is impossible; ``doubtful``; ``good``."""
        if self.refusal:
            return "refused"
        if self.violations or self.wrong:
            return "bad"
        return "doubtful" if self.doubts else "good"


def run_validate(data: list[Path], as_json: bool) -> None:
    """Print the result for each file; the exit code is 3 if one is bad or refused."""
    batch = Batch()
    said = []
    for path in data:
        finding = batch.attempt(path, examine)
        if finding is None:
            continue
        said.append({"file": str(path), **_public(finding)})
        if not as_json:
            _show(path, finding)
        if finding.verdict in ("bad", "refused"):
            batch.refuse()
    if as_json:
        typer.echo(json.dumps(said))
    batch.end()


def examine(path: Path) -> Finding:
    """Return the result for one file."""
    contract: Contract | None = None
    broken: list[str] = []
    try:
        with at_file(path):
            if not is_journal(path):
                contract, broken = _contract(path)
            return _read(path, contract, broken)
    except ReconstructionError as fault:
        kind, title = (None, "") if contract is None else (contract.kind, contract.title)
        return Finding(kind, title, broken, str(fault).removeprefix(f"{path}: "))


def _contract(path: Path) -> tuple[Contract | None, list[str]]:
    """Return the contract for a file, and the violations of it."""
    with open_arrays(path) as file:
        entries = inventory(file)
        contract = contract_of(entries)
        return contract, [] if contract is None else violations(contract, entries)


def _read(path: Path, contract: Contract | None, broken: list[str]) -> Finding:
    """Read a file as the other verbs do."""
    if contract is not None and contract.kind == "npz-probe":
        return Finding(contract.kind, f"{contract.title}: {read_probe(path).probe.shape}", broken)
    content = read_data(path) if is_journal(path) else read_any(path)
    kind, title = ("journal", "Scan in a journal") if contract is None else (contract.kind, contract.title)
    if not isinstance(content, ScanFile):
        return Finding(kind, title, broken)
    rows, columns = content.counts.shape[1:]
    summary = f"{title}: {len(content.counts)} frames of {rows} x {columns} px, {content.counts.dtype}"
    said = {one: [d.text for d in content.doubts if d.severity is one] for one in Severity}
    notes = [*said[Severity.NOTE], *content.notes, *_lacks(content)]
    return Finding(kind, summary, broken, wrong=said[Severity.WRONG], doubts=said[Severity.DOUBT], notes=notes)


def _lacks(scan: ScanFile) -> list[str]:
    """Return notes on parts that the contract allows to be missing and a reconstruction needs."""
    lacks = []
    if scan.probe is None:
        lacks.append("the file has no probe; a reconstruction needs one from another file")
    if scan.positions_m is None and scan.positions_px is None:
        lacks.append("the file has no positions; a reconstruction needs them from another file")
    elif scan.object_pixel_size_m is None:
        lacks.append("the file does not state the size of the object pixel; give it with --pixel-size")
    return lacks


def _public(finding: Finding) -> dict[str, Any]:
    return {
        "kind": finding.kind,
        "verdict": finding.verdict,
        "violations": finding.violations,
        "refusal": finding.refusal or None,
        "wrong": finding.wrong,
        "doubts": finding.doubts,
        "notes": finding.notes,
    }


def _show(path: Path, finding: Finding) -> None:
    for sentence in finding.violations:
        typer.echo(f"{path}: {sentence}")
    said = finding.refusal if finding.verdict == "refused" else finding.summary
    typer.echo(f"{path}: {finding.verdict}, {said}")
    for word, sentences in (("wrong", finding.wrong), ("doubt", finding.doubts)):
        for sentence in sentences:
            typer.echo(f"{path}: {word}: {sentence}")
    for note in finding.notes:
        typer.echo(f"{path}: note: {note}", err=True)
