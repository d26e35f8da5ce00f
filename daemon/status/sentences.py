"""Words about the daemon for a tired person."""

from __future__ import annotations

from typing import Any

SILENT_S = 3.0
WAITING_FRAMES = 50


def verdict_sentence(verdict: dict[str, Any]) -> str:
    """Return an account of frames that adds up, in words."""
    parts = [f"{verdict['stitched']} stitched"]
    parts += [f"{verdict['duplicate']} duplicate"] * bool(verdict["duplicate"])
    parts += [f"{count} refused ({reason.replace('_', ' ')})" for reason, count in verdict["refused"].items()]
    parts += [f"{verdict['without_position']} without position"] * bool(verdict["without_position"])
    parts += [f"{verdict['pending']} waiting"] * bool(verdict["pending"])
    missing = f"; {verdict['missing']} never came" if verdict["missing"] else ""
    return f"{verdict['received']} received = {' + '.join(parts)}{missing}"


def is_whole(verdict: dict[str, Any]) -> bool:
    """Whether every frame that was due is in the picture."""
    lost = verdict["missing"] + verdict["without_position"] + verdict["pending"]
    due = verdict["expected"]
    return lost == 0 and verdict["stitched"] > 0 and (due is None or verdict["stitched"] >= due)


def _stream_trouble(stream: dict[str, Any], state: str) -> list[str]:
    if stream["fault"] and (stream["connected"] or state != "finishing"):
        return [f"the {stream['fault']}"]
    if stream["connected"] or state == "finishing":
        return []
    return [f"the {stream['name']} stream {stream['endpoint']} is not connected"]


def _listed(names: list[str]) -> str:
    """Return up to three names, and how many more."""
    more = [f"{len(names) - 3} more"] if len(names) > 3 else []
    *some, last = [*names[:3], *more]
    return f"{', '.join(some)} and {last}" if some else last


def situation(status: dict[str, Any]) -> str:
    """Return one sentence on what the daemon does, and the worst that is wrong."""
    phase = status["phase"]
    troubles = [*status["degraded"], *([str(status["failure"])] if status["failure"] else [])]
    if status["is_behind"]:
        troubles.append(
            f"the device is slower than the detector: {status['backlog_frames']} frames wait, the oldest for "
            f"{status['backlog_age_s']:.0f} s; none is lost"
        )
    troubles += [sink["trouble"] for sink in status.get("sinks", []) if sink["trouble"]]
    troubles += status.get("notes", [])
    if held := status.get("waiting_for_center", 0):
        troubles.append(f"{held} frames wait until the beam's centre is found")
    troubles += [trouble for stream in status["streams"] for trouble in _stream_trouble(stream, phase)]
    if phase == "starting":
        return "Starting."
    if phase == "stopping" and not status["scans_unfinished"]:
        return "Stopping."
    if phase in ("ready", "idle"):
        words = "Waiting for a scan."
    elif phase == "finishing" and status["scan_state"] != phase:
        words = f"Finishing {_listed(status['scans_unfinished'])}; a later scan is done."
    else:
        due = status["expected_frames"]
        of = f" of {due}" if due is not None else ""
        verb = "Scanning" if phase == "scanning" else "Finishing"
        words = f"{verb} {status['scan_id']}: {status['frames_stitched']}{of} frames stitched."
        frames = status["streams"][0]
        if phase == "scanning" and frames["silent_s"] is not None and frames["silent_s"] > SILENT_S:
            troubles.append(f"no frame has come for {frames['silent_s']:.0f} s")
        if status["waiting_for_positions"] > WAITING_FRAMES:
            troubles.append(f"{status['waiting_for_positions']} frames wait for their positions")
    return " ".join([words, *(f"{t[:1].upper()}{t[1:]}." for t in dict.fromkeys(troubles))])
