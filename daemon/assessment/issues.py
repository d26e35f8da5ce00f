"""One issue with a scan: a reason with its values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from daemon.assessment.reasons import Reason
from daemon.messages import Grade

IMPERATIVES = frozenset(
    (
        "arm", "ask", "check", "choose", "close", "correct", "create", "free", "give", "install", "lower", "mount",
        "raise", "repeat", "report", "restart", "see", "set", "start", "swap",
    )
)  # fmt: skip
"""First words of an action in the sentences of this program: "X is wrong; check Y", "the disk is full: free some space"."""
SEE_LOG = "see the log of the daemon"


@dataclass(frozen=True, slots=True)
class Issue:
    """A reason and the values in its sentence, or the sentence ``told`` earlier.

    ``key`` tells two issues of the same reason apart.
    """

    reason: Reason
    values: Mapping[str, object] = field(default_factory=dict)
    key: str = ""
    told: str = ""

    @property
    def grade(self) -> Grade:
        """The grade that the reason gives."""
        return self.reason.grade

    @property
    def sentence(self) -> str:
        """The sentence with its values."""
        return self.told or self.reason.sentence.format(**self.values)

    @property
    def action(self) -> str:
        """The action with its values."""
        return self.reason.action.format(**self.values)

    @property
    def name(self) -> str:
        """The same for as long as the issue lasts, whatever its numbers."""
        return f"{self.reason}:{self.key}"


def of_sentence(reason: Reason, sentence: str, key: str = "", otherwise: str = "") -> Issue:
    """Return the issue of a sentence that may end with its action; ``otherwise`` is the action of one that does not."""
    said, action = split_action(sentence)
    return Issue(reason, {"sentence": said, "action": action or otherwise}, key or sentence)


def split_action(sentence: str) -> tuple[str, str]:
    """Return a sentence without its action, and the action; empty if it has none."""
    places = [k for k in range(len(sentence) - 2) if sentence[k : k + 2] in ("; ", ": ")]
    for place in places:
        rest = sentence[place + 2 :]
        if rest.split(" ", 1)[0].lower().strip(",") in IMPERATIVES:
            return sentence[:place], rest.rstrip(".")
    return sentence, ""
