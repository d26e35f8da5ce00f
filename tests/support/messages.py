"""Whole messages of the daemon for tests, and a check that a value has exactly the fields of its shape."""

from __future__ import annotations

from typing import Any

import jsonschema
from pydantic import TypeAdapter

from daemon.messages import (
    AssessmentFields,
    DaemonState,
    FrcFields,
    Grade,
    Phase,
    Readiness,
    ScanEnded,
    ScanFields,
    ScanStarted,
    ScanState,
    Status,
    StreamStatus,
    VerdictFields,
)


def closed(schema: Any) -> Any:
    """A JSON schema in which every object with named fields has no others."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    copy = {key: closed(part) for key, part in schema.items()}
    return {**copy, "additionalProperties": False} if isinstance(copy.get("properties"), dict) else copy


def check(shape: Any, value: Any) -> None:
    """Raise where plain data has not exactly the fields of a shape of ``daemon.messages``."""
    jsonschema.validate(value, closed(TypeAdapter(shape).json_schema(mode="serialization")))


def verdict(**changes: Any) -> VerdictFields:
    whole: VerdictFields = {
        "expected": 520,
        "received": 516,
        "duplicate": 26,
        "missing": 30,
        "refused": {},
        "without_position": 0,
        "pending": 0,
        "stitched": 490,
    }
    return {**whole, **changes}


def frc(**changes: Any) -> FrcFields:
    whole: FrcFields = {
        "frc_nm": 53.4,
        "criterion": "half-bit",
        "frames": 200,
        "no_gain_s": 31.0,
        "is_settled": True,
        "frequency_per_m": [0.0, 5e6, 1e7, 1.5e7],
        "correlation": [1.0, 0.99, 0.5, 0.1],
        "threshold": [1.2, 0.7, 0.5, 0.4],
    }
    return {**whole, **changes}


def stream(name: str = "frames", **changes: Any) -> StreamStatus:
    whole: StreamStatus = {
        "name": name,
        "endpoint": "tcp://a:1",
        "connected": True,
        "fault": None,
        "handshake_failures": 0,
        "messages": 516,
        "refused": {},
        "bytes": 17_000_000,
        "silent_s": 0.1,
    }
    return {**whole, **changes}


def assessment(**changes: Any) -> AssessmentFields:
    whole: AssessmentFields = {
        "grade": Grade.GOOD,
        "reason": "No fault found in 516 frames",
        "action": "Nothing to do",
        "code": "running",
        "is_rfactor_meaningful": True,
        "notes": [],
    }
    return {**whole, **changes}


def status(**changes: Any) -> Status:
    whole: Status = {
        "state": DaemonState.SCANNING,
        "phase": Phase.SCANNING,
        "degraded": [],
        "scan_id": "scan-1",
        "scan_state": ScanState.SCANNING,
        "frames_received": 516,
        "frames_stitched": 490,
        "frames_pending": 0,
        "frames_overtaken": 4,
        "expected_frames": 520,
        "scans_unfinished": ["scan-1"],
        "backlog_frames": 0,
        "backlog_on_disk": 0,
        "backlog_age_s": 0.0,
        "is_behind": False,
        "journal": None,
        "waiting_for_positions": 0,
        "positions_ignored": 0,
        "waiting_for_center": 0,
        "center_px": (64, 64),
        "center_from": "configuration",
        "masked_pixels": 0,
        "notes": [],
        "receive_rate_hz": 101.26,
        "stitch_rate_hz": 98.74,
        "latency_s": 0.146,
        "rfactor": {"network": 0.1668, "refined": 0.151},
        "expected_correlation": 0.9649,
        "planned_box_m": None,
        "frc_nm": 53.4,
        "frc": frc(),
        "position_error_px": None,
        "verdict": verdict(),
        "assessment": assessment(),
        "account": "516 received = 490 stitched + 26 duplicate; 30 missing",
        "streams": [stream(), stream("positions", endpoint="tcp://a:2", connected=False, messages=0, silent_s=60.0)],
        "model": {"name": "lift", "generation": 3},
        "device": "cpu",
        "finetune": {"state": "off"},
        "diagnosis": {"state": "waiting for frames", "finding": None, "looks": 0, "last_s": None},
        "refine_updates": 12345.0,
        "subscribers": 2,
        "sinks": [],
        "workers": [],
        "failure": None,
        "version": "0.1.0",
        "sentence": "All is well.",
    }
    return {**whole, **changes}


def scan(scan_id: str = "scan-1", **changes: Any) -> ScanFields:
    whole: ScanFields = {
        "id": scan_id,
        "state": ScanState.SCANNING,
        "started": "2026-01-02T03:04:05.000+00:00",
        "ended": None,
        "rfactor": None,
        "rfactor_network": None,
        "expected_correlation": None,
        "frc_nm": None,
        "frc": None,
        "position_error_px": None,
        "model_generation": 0,
        "product": None,
        "pixel_size_m": 1e-8,
        "center_px": None,
        "center_from": None,
        "masked_pixels": None,
        "notes": [],
        "run": None,
        "engine": None,
        "verdict": verdict(),
        "doubts": [],
        "incidents": [],
        "misfit": None,
        "fit_check": None,
        "assessment": None,
    }
    return {**whole, **changes}


def readiness(*, ready: bool) -> Readiness:
    return {
        "ready": ready,
        "subscribed": True,
        "warm": ready,
        "engine": True,
        "output": True,
        "stopping": False,
        "dead": [],
        "hanging": [],
        "degraded": [],
    }


def started(scan_id: str = "scan-1", expected: int | None = None) -> ScanStarted:
    return {"scan_id": scan_id, "state": "started", "expected": expected}


def ended(scan_id: str = "scan-1", **changes: Any) -> ScanEnded:
    whole: ScanEnded = {
        "scan_id": scan_id,
        "state": "ended",
        "verdict": verdict(),
        "result": ScanState.COMPLETE,
        "product": None,
        "rfactors": {},
        "notes": [],
        "assessment": assessment(),
    }
    return {**whole, **changes}
