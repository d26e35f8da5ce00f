"""The shape of every JSON and msgpack map that the daemon sends, over HTTP and to viewers.

These are plain dictionaries: nothing is built or checked at run time, so a status costs what a dictionary costs. The text
below each field is its description in OpenAPI, at ``/docs``, in the reference pages and in the page's types.
An enum is sent as its value: a program that receives one gets plain text, which is equal to the member.
"""

from typing_extensions import is_typeddict

from daemon.messages.answers import (
    Addresses,
    Alive,
    ModelEntry,
    Paused,
    Readiness,
    ScanPath,
    Stopping,
)
from daemon.messages.assessment import AssessmentFields, Grade, IncidentFields, MisfitFields, NoteFields
from daemon.messages.headers import (
    DeltaFields,
    DeltaHeader,
    Fields,
    Header,
    LayerName,
    Numbered,
    PictureFields,
    PictureHeader,
    ScanEndedHeader,
    ScanHeader,
    ScanNews,
    ScanStartedHeader,
    SnapshotFields,
    SnapshotHeader,
    StatusHeader,
    Timed,
)
from daemon.messages.inspection import FrameFields, FrameMap, ProbeFields
from daemon.messages.scan import (
    DoubtFields,
    EngineResult,
    EngineState,
    FrcFields,
    ScanEnded,
    ScanFields,
    ScanStarted,
    ScanState,
    VerdictFields,
    verdict_fields,
)
from daemon.messages.status import (
    DaemonState,
    DiagnosisState,
    DiagnosisStatus,
    JournalStatus,
    LayerRfactors,
    LearningState,
    LearningStatus,
    ModelStatus,
    Phase,
    SinkStatus,
    Status,
    StreamStatus,
)
from daemon.messages.webhook import GradedFields, WebhookEvent, WebhookMessage

__all__ = [
    "Addresses",
    "Alive",
    "AssessmentFields",
    "DaemonState",
    "DeltaFields",
    "DeltaHeader",
    "DiagnosisState",
    "DiagnosisStatus",
    "DoubtFields",
    "EngineResult",
    "EngineState",
    "Fields",
    "FrcFields",
    "FrameFields",
    "FrameMap",
    "Grade",
    "GradedFields",
    "Header",
    "IncidentFields",
    "JournalStatus",
    "LayerName",
    "LayerRfactors",
    "LearningState",
    "LearningStatus",
    "MisfitFields",
    "ModelEntry",
    "ModelStatus",
    "NoteFields",
    "Numbered",
    "Paused",
    "Phase",
    "PictureFields",
    "PictureHeader",
    "ProbeFields",
    "Readiness",
    "ScanEnded",
    "ScanEndedHeader",
    "ScanFields",
    "ScanHeader",
    "ScanNews",
    "ScanPath",
    "ScanStarted",
    "ScanStartedHeader",
    "ScanState",
    "SinkStatus",
    "SnapshotFields",
    "SnapshotHeader",
    "Status",
    "StatusHeader",
    "Stopping",
    "StreamStatus",
    "Timed",
    "VerdictFields",
    "WebhookEvent",
    "WebhookMessage",
    "verdict_fields",
]

for _name in __all__:
    if is_typeddict(globals()[_name]):
        globals()[_name].__pydantic_config__ = {"use_attribute_docstrings": True}
