"""Human-readable status sentences."""

from __future__ import annotations

from collections.abc import Sequence

from daemon.messages import Phase, ScanState, Status, StreamStatus, VerdictFields
from daemon.status.status_warnings import StatusWarning

SILENT_S = 3.0
"""A running scan without a frame for this time, s, is worth a warning; detectors send at 1 Hz and more."""
WAITING_FRAMES = 50
"""Frames may wait for positions in normal operation; more than this many are worth a warning."""


def verdict_sentence(verdict: VerdictFields) -> str:
    """Return an account of frames as a sum in one sentence."""
    parts = [f"{verdict['stitched']} stitched"]
    parts += [f"{verdict['duplicate']} duplicate"] * bool(verdict["duplicate"])
    parts += [f"{count} refused ({reason.replace('_', ' ')})" for reason, count in verdict["refused"].items()]
    parts += [f"{verdict['without_position']} without position"] * bool(verdict["without_position"])
    parts += [f"{verdict['pending']} pending"] * bool(verdict["pending"])
    missing = f"; {verdict['missing']} missing" if verdict["missing"] else ""
    return f"{verdict['received']} received = {' + '.join(parts)}{missing}"


def are_all_there(verdict: VerdictFields | None) -> bool:
    """Whether every frame that a scan announced has arrived."""
    return verdict is not None and verdict["expected"] is not None and verdict["missing"] == 0


def account_sentence(status: Status) -> str:
    """Return the account of the newest scan; in mid-scan, frames still to come are not missing."""
    verdict, lost = status["verdict"], status["frames_overtaken"]
    if verdict is None:
        return ""
    if status["phase"] != Phase.SCANNING or lost is None:
        return verdict_sentence(verdict)
    return verdict_sentence({**verdict, "missing": lost}) + _to_come(verdict, lost)


def running_account(verdict: VerdictFields) -> str:
    """Return the account of a scan in its middle, of which frames to come and lost ones are not told apart."""
    return verdict_sentence({**verdict, "missing": 0}) + _to_come(verdict, 0)


def _to_come(verdict: VerdictFields, lost: int) -> str:
    coming = max(0, verdict["missing"] - lost) if verdict["expected"] is not None else 0
    return f"; {coming} to come" if coming else ""


def _may_leave(status: Status) -> bool:
    """Whether senders may leave: all frames of the newest scan have arrived, or it has ended well."""
    if status["phase"] == Phase.SCANNING:
        return are_all_there(status["verdict"])
    return status["phase"] == Phase.IDLE and status["scan_state"] == ScanState.COMPLETE


def _stream_trouble(stream: StreamStatus, phase: Phase, *, may_leave: bool) -> list[str]:
    if may_leave and not stream["connected"] and not stream["handshake_failures"]:
        return []
    if stream["fault"] and (stream["connected"] or phase != Phase.FINISHING):
        return [f"the {stream['fault']}"]
    if stream["connected"] or phase == Phase.FINISHING:
        return []
    return [StatusWarning.NOT_CONNECTED.sentence.format(name=stream["name"], endpoint=stream["endpoint"])]


def _listed(names: Sequence[str]) -> str:
    """Return up to three names and the number of further ones."""
    more = [f"{len(names) - 3} more"] if len(names) > 3 else []
    *some, last = [*names[:3], *more]
    return f"{', '.join(some)} and {last}" if some else last


def situation(status: Status) -> str:
    """Return the status in words: the phase, then all warnings."""
    phase, words = status["phase"], _phase_words(status)
    if phase == Phase.STARTING or (phase == Phase.STOPPING and not status["scans_unfinished"]):
        return words
    warnings = _warnings(status)
    return " ".join([words, *(f"{one[:1].upper()}{one[1:]}." for one in dict.fromkeys(warnings))])


def _phase_words(status: Status) -> str:
    phase = status["phase"]
    if phase == Phase.STARTING:
        return "Starting."
    if phase == Phase.STOPPING and not status["scans_unfinished"]:
        return "Stopping."
    if phase in (Phase.READY, Phase.IDLE):
        return "Waiting for a scan."
    if phase == Phase.FINISHING and status["scan_state"] != ScanState.FINISHING:
        return f"Finishing {_listed(status['scans_unfinished'])}; a later scan has ended."
    due = status["expected_frames"]
    of = f" of {due}" if due is not None else ""
    verb = "Scanning" if phase == Phase.SCANNING else "Finishing"
    return f"{verb} {status['scan_id']}: {status['frames_stitched']}{of} frames stitched."


def _warnings(status: Status) -> list[str]:
    phase, found = status["phase"], [*status["degraded"], *([status["failure"]] if status["failure"] else [])]
    if status["is_behind"]:
        backlog = {"frames": status["backlog_frames"], "age_s": status["backlog_age_s"]}
        found.append(StatusWarning.SLOW_DEVICE.sentence.format(**backlog))
    found += [sink["trouble"] for sink in status["sinks"] if sink["trouble"]]
    found += status["notes"]
    if held := status["waiting_for_center"]:
        found.append(StatusWarning.NO_CENTER.sentence.format(frames=held))
    for stream in status["streams"]:
        found += _stream_trouble(stream, phase, may_leave=_may_leave(status))
    return found + _warnings_of_the_scan(status)


def _warnings_of_the_scan(status: Status) -> list[str]:
    """Return the warnings that only a scan at work can have."""
    phase, found = status["phase"], list[str]()
    is_earlier = phase == Phase.FINISHING and status["scan_state"] != ScanState.FINISHING
    if phase in (Phase.READY, Phase.IDLE) or is_earlier:
        return found
    silent_s = status["streams"][0]["silent_s"]
    is_due = phase == Phase.SCANNING and not are_all_there(status["verdict"])
    if is_due and silent_s is not None and silent_s > SILENT_S:
        found.append(StatusWarning.NO_FRAMES.sentence.format(silent_s=silent_s))
    if status["waiting_for_positions"] > WAITING_FRAMES:
        found.append(StatusWarning.NO_POSITIONS.sentence.format(frames=status["waiting_for_positions"]))
    return found
