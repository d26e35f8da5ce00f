"""The lists of pages in the index, each by its own heading."""

from __future__ import annotations

from pathlib import Path

FOLDERS = {
    "tutorials": "Tutorials: to learn it, every command is run by a test",
    "how-to": "How to: to get one thing done",
    "explanation": "Explanation: why it is so",
    "reference": "Reference: to look up",
    "decisions": "Decisions: what was argued once",
}
FIRST = ("first-picture", "attach-to-a-detector", "train-for-your-beamline", "physics", "design")


def index_lists(docs: Path) -> str:
    """Return a list of links for each folder of ``docs``."""
    parts = []
    for folder, title in FOLDERS.items():
        parts.append(f"## {title}\n")
        pages = sorted((docs / folder).glob("*.md"), key=_place)
        parts += [f"- [{_heading(page)}]({folder}/{page.name})" for page in pages]
        parts.append("")
    return "\n".join(parts)


def _place(page: Path) -> tuple[int, str]:
    return (FIRST.index(page.stem) if page.stem in FIRST else len(FIRST), page.stem)


def _heading(page: Path) -> str:
    first = page.read_text(encoding="utf-8").splitlines()[0]
    return first.removeprefix("# ").strip()
