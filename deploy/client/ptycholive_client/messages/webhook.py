"""The body of a message of the webhook."""

from typing import Literal

from ptycholive_client.messages.assessment import Grade
from ptycholive_client.messages.scan import ScanState, VerdictFields
from ptycholive_client.messages.typed import TypedDict

WebhookEvent = Literal["grade", "ended"]


class GradedFields(TypedDict):
    """The grade of a scan, or of the daemon before the first scan."""

    event: WebhookEvent
    """grade: the grade has changed; ended: the scan has ended, or its late product is written now."""
    scan_id: str | None
    """Id of the scan; null: the message is about the daemon."""
    grade: Grade
    """The grade: good, check or bad."""
    grade_before: Grade | None
    """Grade in the message before about this scan; null: there was none."""
    reason: str
    """The reason for the grade, in words."""
    action: str
    """What to do now."""
    text: str
    """Grade, scan, reason and action in one line, which chat programs show."""


class WebhookMessage(GradedFields):
    """The JSON body of one POST of the webhook."""

    state: ScanState | None
    """State of the scan."""
    verdict: VerdictFields | None
    """Account of frames."""
    product: str | None
    """Path of the product file; null: none is written."""
    page: str
    """Address of the page."""
