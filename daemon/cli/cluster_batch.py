"""``--on``: the scans of a verb as tasks of a Ray cluster, one for each, with a manifest that a second run continues."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar, cast

import typer

from daemon.cli.batch import at_file
from daemon.cli.exit_codes import ExitCode, exit_code
from daemon.cli.progress import progress
from daemon.cluster.connection import Cluster
from daemon.cluster.manifest import ManifestLine, host_name, open_manifest
from daemon.cluster.tasks import Done, Needs, run_tasks
from daemon.errors import ClusterError, ConfigError, DaemonError
from daemon.messages.summaries import PredictionSummary, RefinementSummary, ScanSummary, SimulationSummary
from daemon.version import VERSION
from ptychopinn.errors import FileFormatError, ReconstructionError
from streams.errors import StreamError

Summary = TypeVar("Summary", PredictionSummary, RefinementSummary, SimulationSummary)


@dataclass(frozen=True, slots=True)
class ScanJob(Generic[Summary]):
    """One scan: its data file (none for a simulation), its product, and the function that makes it on a worker."""

    input: Path | None
    output: Path
    fingerprint: str
    do: Callable[[], Summary]
    manifest: Path
    """A file that each machine must see, or the product would be lost on another disk."""
    version: str = VERSION


@dataclass(frozen=True, slots=True)
class Printer(Generic[Summary]):
    """Prints the lines of the scans as they come: JSON or text."""

    as_json: bool
    line_of: Callable[[Summary], str]

    def show(self, line: ManifestLine) -> None:
        """Print one scan; a fault also on stderr."""
        if line["fault"]:
            typer.echo(f"ptycholive: {line['fault']}", err=True)
        if self.as_json:
            typer.echo(json.dumps(line))
        elif line["summary"] is not None:
            typer.echo(self.line_of(cast(Summary, line["summary"])))


def run_jobs(cluster: Cluster, jobs: Sequence[ScanJob[Summary]], needs: Needs, printer: Printer[Summary]) -> None:
    """Do all jobs that no earlier run has finished; exit with the largest code of all scans."""
    with open_manifest(jobs[0].manifest) as manifest, progress(len(jobs), "scans", "scans") as bar:
        kept = [line for job in jobs if (line := manifest.finished(job.output, job.fingerprint)) is not None]
        for line in kept if printer.as_json else ():
            printer.show(line)
        bar.update(len(kept))
        outputs = {line["output"] for line in kept}
        todo = [job for job in jobs if str(job.output) not in outputs]
        codes = [line["exit_code"] for line in kept]
        with closing(run_tasks(cluster, work_on, todo, needs)) as results:
            for done in results:
                line = _line(todo[done.number], done)
                if line["exit_code"] == ExitCode.USAGE:
                    raise ConfigError(f"{line['fault']} (on {line['host']})")  # the command is wrong for every scan
                manifest.add(line)
                codes.append(line["exit_code"])
                with bar.external_write_mode():
                    printer.show(line)
                bar.update()
    if not printer.as_json:
        typer.echo(_account(codes, len(kept), manifest.path))
    if any(codes):
        raise typer.Exit(max(codes))


def work_on(job: ScanJob[Summary]) -> ManifestLine:
    """Do a job on a worker; an error becomes a line with one sentence."""
    begun, summary, fault, code = time.monotonic(), None, "", ExitCode.GOOD
    try:
        _check_machine(job)
        with at_file(job.input or job.output):
            summary = job.do()
        code = ExitCode.REFUSED if summary.get("verdict") == "nonsense" else ExitCode.GOOD
    except (DaemonError, ReconstructionError, StreamError, OSError) as error:
        code, fault = exit_code(error), " ".join(str(error).split())
        name = str(job.input or job.output)
        if code is not ExitCode.USAGE and name not in fault and str(job.output) not in fault:
            fault = f"{name}: {fault}"
    return _manifest_line(job, code, fault, time.monotonic() - begun, summary)


def _check_machine(job: ScanJob[Summary]) -> None:
    """Raise an error if this machine has another version of Ptycholive, or does not see the files."""
    host = host_name()
    if job.version != VERSION:
        raise ClusterError(
            f"{job.input or job.output}: {host} has Ptycholive {VERSION} and the command {job.version}; "
            "install the same version on all machines"
        )
    if not job.manifest.exists():
        raise ClusterError(
            f"{job.output}: {host} does not see the folder {job.manifest.parent} of the command; "
            "write to a disk that all machines mount at the same path"
        )
    if job.input is not None and not job.input.exists():
        raise FileFormatError(
            f"{job.input} does not exist on {host}; check the name, and that all machines mount its disk at this path"
        )


def _line(job: ScanJob[Summary], done: Done[ManifestLine]) -> ManifestLine:
    """Return the line of a scan; the cluster's own fault becomes one too."""
    if done.result is not None:
        return done.result
    return _manifest_line(job, ExitCode.FAILED, f"{job.input or job.output}: {done.fault}", None, None)


def _manifest_line(
    job: ScanJob[Summary], code: int, fault: str, seconds: float | None, summary: ScanSummary | None
) -> ManifestLine:
    return {
        "input": None if job.input is None else str(job.input),
        "output": str(job.output),
        "exit_code": int(code),
        "fault": fault,
        "fingerprint": job.fingerprint,
        "seconds": seconds,
        "host": host_name() if seconds is not None else "",
        "version": job.version,
        "summary": summary,
    }


def _account(codes: Sequence[int], kept: int, manifest: Path) -> str:
    """Return the last line: how many scans were done, refused, failed."""
    counts = {
        "done": codes.count(ExitCode.GOOD),
        "refused": codes.count(ExitCode.REFUSED),
    }
    counts["failed"] = len(codes) - sum(counts.values())
    words = ", ".join(f"{count} {name}" for name, count in counts.items())
    earlier = f"; {kept} of them by an earlier run" if kept else ""
    return f"{len(codes)} scans: {words}{earlier}; manifest: {manifest}"
