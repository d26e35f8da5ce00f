"""The assessment of a scan: from facts to a grade, with every reason in one place. Pure functions."""

from daemon.assessment.assess import assess
from daemon.assessment.facts import LiveFacts, ScanFacts
from daemon.assessment.issues import Issue
from daemon.assessment.reasons import Reason

__all__ = ["Issue", "LiveFacts", "Reason", "ScanFacts", "assess"]
