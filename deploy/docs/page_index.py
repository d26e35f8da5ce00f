"""The lists of pages in the index, each by its own heading."""

from __future__ import annotations

from pathlib import Path

FOLDERS = {
    "tutorials": "Tutorials: learn by doing (a test runs every command)",
    "how-to": "How to: complete one task",
    "explanation": "Explanation: how it works and why",
    "reference": "Reference: details to look up",
    "decisions": "Decisions: design choices and their reasons",
}
FIRST = ("first-picture", "attach-to-a-detector", "train-for-your-beamline", "physics", "design")


def index_lists(docs: Path) -> str:
    """Return a list of links for each folder of ``docs``."""
    parts = []
    for folder, title in FOLDERS.items():
        parts.append(f"## {title}\n")
        parts += [f"- [{_heading(page)}]({folder}/{page.name})" for page in pages_of(docs, folder)]
        parts.append("")
    return "\n".join(parts)


def pages_of(docs: Path, folder: str) -> list[Path]:
    """Return a folder's pages in the order of the index."""
    return sorted((docs / folder).glob("*.md"), key=_place)


def _place(page: Path) -> tuple[int, str]:
    return (FIRST.index(page.stem) if page.stem in FIRST else len(FIRST), page.stem)


def _heading(page: Path) -> str:
    first = page.read_text(encoding="utf-8").splitlines()[0]
    return first.removeprefix("# ").strip()
