"""Words about the daemon for a tired person."""

from __future__ import annotations

from typing import Any

SILENT_S = 5.0
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


def situation(status: dict[str, Any]) -> str:
    """Return one sentence on what the daemon does, and the worst that is wrong."""
    troubles = [str(status["failure"])] if status["failure"] else []
    silent = [s for s in status["streams"] if not s["connected"] and status["state"] != "finishing"]
    troubles += [f"the {s['name']} stream {s['endpoint']} is not connected" for s in silent]
    if status["state"] == "starting":
        return "Starting."
    if status["state"] == "idle":
        words = "Waiting for a scan."
    else:
        due = status["expected_frames"]
        of = f" of {due}" if due is not None else ""
        verb = "Scanning" if status["state"] == "scanning" else "Finishing"
        words = f"{verb} {status['scan_id']}: {status['frames_stitched']}{of} frames stitched."
        frames = status["streams"][0]
        if status["state"] == "scanning" and frames["silent_s"] is not None and frames["silent_s"] > SILENT_S:
            troubles.append(f"no frame has come for {frames['silent_s']:.0f} s")
        if status["waiting_for_positions"] > WAITING_FRAMES:
            troubles.append(f"{status['waiting_for_positions']} frames wait for their positions")
    return " ".join([words, *(f"{t[:1].upper()}{t[1:]}." for t in troubles)])
