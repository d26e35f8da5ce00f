"""Words about the daemon for a tired person."""

from __future__ import annotations

from collections.abc import Sequence

from daemon.messages import Phase, ScanState, Status, StreamStatus, VerdictFields

SILENT_S = 3.0
WAITING_FRAMES = 50


def verdict_sentence(verdict: VerdictFields) -> str:
    """Return an account of frames that adds up, in words."""
    parts = [f"{verdict['stitched']} stitched"]
    parts += [f"{verdict['duplicate']} duplicate"] * bool(verdict["duplicate"])
    parts += [f"{count} refused ({reason.replace('_', ' ')})" for reason, count in verdict["refused"].items()]
    parts += [f"{verdict['without_position']} without position"] * bool(verdict["without_position"])
    parts += [f"{verdict['pending']} waiting"] * bool(verdict["pending"])
    missing = f"; {verdict['missing']} never came" if verdict["missing"] else ""
    return f"{verdict['received']} received = {' + '.join(parts)}{missing}"


def _stream_trouble(stream: StreamStatus, phase: Phase) -> list[str]:
    if stream["fault"] and (stream["connected"] or phase != Phase.FINISHING):
        return [f"the {stream['fault']}"]
    if stream["connected"] or phase == Phase.FINISHING:
        return []
    return [f"the {stream['name']} stream {stream['endpoint']} is not connected"]


def _listed(names: Sequence[str]) -> str:
    """Return up to three names, and how many more."""
    more = [f"{len(names) - 3} more"] if len(names) > 3 else []
    *some, last = [*names[:3], *more]
    return f"{', '.join(some)} and {last}" if some else last


def situation(status: Status) -> str:
    """Return one sentence on what the daemon does, and the worst that is wrong."""
    phase = status["phase"]
    troubles = [*status["degraded"], *([str(status["failure"])] if status["failure"] else [])]
    if status["is_behind"]:
        troubles.append(
            f"the device is slower than the detector: {status['backlog_frames']} frames wait, the oldest for "
            f"{status['backlog_age_s']:.0f} s; none is lost"
        )
    troubles += [sink["trouble"] for sink in status["sinks"] if sink["trouble"]]
    troubles += status["notes"]
    if held := status["waiting_for_center"]:
        troubles.append(f"{held} frames wait until the beam's centre is found")
    troubles += [trouble for stream in status["streams"] for trouble in _stream_trouble(stream, phase)]
    if phase == Phase.STARTING:
        return "Starting."
    if phase == Phase.STOPPING and not status["scans_unfinished"]:
        return "Stopping."
    if phase in (Phase.READY, Phase.IDLE):
        words = "Waiting for a scan."
    elif phase == Phase.FINISHING and status["scan_state"] != ScanState.FINISHING:
        words = f"Finishing {_listed(status['scans_unfinished'])}; a later scan is done."
    else:
        due = status["expected_frames"]
        of = f" of {due}" if due is not None else ""
        verb = "Scanning" if phase == Phase.SCANNING else "Finishing"
        words = f"{verb} {status['scan_id']}: {status['frames_stitched']}{of} frames stitched."
        frames = status["streams"][0]
        if phase == Phase.SCANNING and frames["silent_s"] is not None and frames["silent_s"] > SILENT_S:
            troubles.append(f"no frame has come for {frames['silent_s']:.0f} s")
        if status["waiting_for_positions"] > WAITING_FRAMES:
            troubles.append(f"{status['waiting_for_positions']} frames wait for their positions")
    return " ".join([words, *(f"{t[:1].upper()}{t[1:]}." for t in dict.fromkeys(troubles))])
