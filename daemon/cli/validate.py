"""``validate``: files against the data contract, every violation listed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from daemon.files import ScanFile, read_probe
from daemon.files.access import open_arrays
from daemon.files.conversion import read_any
from daemon.files.inventory import inventory
from ptychopinn.contract import contract_of, contracts, violations
from ptychopinn.errors import ReconstructionError


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found in a file: its kind, what breaks the contract, and what had to be assumed."""

    kind: str | None
    violations: list[str]
    notes: list[str]
    summary: str


def run_validate(data: list[Path], as_json: bool) -> None:
    """Print each file's violations; exit 3 if there are any."""
    findings = {str(path): examine(path) for path in data}
    if as_json:
        typer.echo(json.dumps([{"file": name, **_public(finding)} for name, finding in findings.items()]))
    else:
        for name, finding in findings.items():
            _show(name, finding)
    if any(finding.violations for finding in findings.values()):
        raise typer.Exit(3)


def examine(path: Path) -> Finding:
    """Return what is found in a file."""
    try:
        with open_arrays(path) as file:
            entries = inventory(file)
            contract = contract_of(entries)
            if contract is None:
                known = "; ".join(one.title for one in contracts().values())
                held = ", ".join(sorted(entries)[:8]) or "nothing"
                return Finding(None, [f"is of no known kind (it holds {held}); known are: {known}"], [], "")
            found = violations(contract, entries)
        if found:
            return Finding(contract.kind, found, [], contract.title)
        if contract.kind == "npz-probe":
            return Finding(contract.kind, [], [], f"{contract.title}: {read_probe(path).probe.shape}")
        content = read_any(path)
    except ReconstructionError as fault:
        return Finding(None, [str(fault).removeprefix(f"{path}: ")], [], "")
    if not isinstance(content, ScanFile):
        return Finding(contract.kind, [], [], contract.title)
    rows, columns = content.counts.shape[1:]
    summary = f"{contract.title}: {len(content.counts)} frames of {rows} x {columns} px, {content.counts.dtype}"
    return Finding(contract.kind, [], [*content.notes, *_lacks(content)], summary)


def _lacks(scan: ScanFile) -> list[str]:
    """Say what a scan may lack by the contract and a reconstruction needs."""
    lacks = []
    if scan.probe is None:
        lacks.append("there is no probe; a reconstruction needs one beside it")
    if scan.positions_m is None and scan.positions_px is None:
        lacks.append("there are no positions; a reconstruction needs them beside it")
    elif scan.object_pixel_size_m is None:
        lacks.append("the object pixel is not known; give it with --pixel-size")
    return lacks


def _public(finding: Finding) -> dict[str, Any]:
    return {"kind": finding.kind, "violations": finding.violations, "notes": finding.notes}


def _show(name: str, finding: Finding) -> None:
    for sentence in finding.violations:
        typer.echo(f"{name}: {sentence}")
    if not finding.violations:
        typer.echo(f"{name}: good, {finding.summary}")
    for note in finding.notes:
        typer.echo(f"{name}: note: {note}", err=True)
