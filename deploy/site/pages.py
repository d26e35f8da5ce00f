"""Hooks of mkdocs: README as the home page, pages for the sources that documents link to, the navigation.

The documents are written to be read in the repository, so they link to files outside of ``deploy/docs``. The site shows
README, CONTRIBUTING and CHANGELOG as pages, and every other linked file as a page with its text.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

REPOSITORY = Path(__file__).parents[2]
DOCS = REPOSITORY / "deploy" / "docs"
sys.path.insert(0, str(DOCS))
from page_index import FOLDERS, pages_of  # noqa: E402

RENAMED = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
IN_DOCS_RENAMED = {"README.md": "documents.md"}
TABS = {name: title.partition(":")[0] for name, title in FOLDERS.items()}
LINK_OR_CODE = re.compile(r"(?P<text>!?\[[^\]]*\]\()(?P<path>[^)#:\s]+)(?P<anchor>#[^)]*)?\)|`[^`]*`")
FENCE = re.compile(r"^( *```+)(\w+)[^\n]*$")
CODE = re.compile(r"^ *```")
ITEM = re.compile(r"^(- |\d+\. )")
LANGUAGES = {".toml": "toml", ".py": "python", ".yml": "yaml", ".json": "json", ".conf": "nginx"}
MOST_BYTES = 200_000  # a longer file is named, not shown


def on_config(config: Any) -> Any:
    """Set the navigation: the same order as the index of the documents."""
    config.nav = [
        {"Home": "index.md"},
        *({TABS[name]: [f"{name}/{page.name}" for page in pages_of(DOCS, name)]} for name in FOLDERS),
        {"More": ["documents.md", "glossary.md", "model-card.md", "contributing.md", "changelog.md"]},
    ]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that do not lie in ``deploy/docs``."""
    files.remove(files.src_uris["README.md"])
    texts = {name: (REPOSITORY / name).read_text(encoding="utf-8") for name in RENAMED}
    texts["deploy/docs/README.md"] = (DOCS / "README.md").read_text(encoding="utf-8")
    for name, text in texts.items():
        files.append(File.generated(config, site_page(REPOSITORY / name), content=site_text(text, REPOSITORY / name)))
    linked = {target for page in DOCS.rglob("*.md") for target in targets(page.read_text(encoding="utf-8"), page)}
    linked |= {target for name, text in texts.items() for target in targets(text, REPOSITORY / name)}
    for target in sorted(linked):
        if site_page(target).startswith("source/"):
            files.append(File.generated(config, site_page(target), content=source_page(target)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Return a document's text with links as the site has them."""
    if page.file.generated_by:
        return markdown
    return site_text(markdown, DOCS / page.file.src_uri)


def on_page_content(html: str, **_: Any) -> str:
    """Return a page without the roles of reStructuredText that docstrings put before names."""
    return re.sub(r":(mod|class|func|meth|attr):(?=<code>)", "", html)


def site_text(markdown: str, origin: Path) -> str:
    """Return a text with the site's links, a blank line before each list, and one word after each fence."""
    lines: list[str] = []
    in_code = False
    for line in markdown.split("\n"):
        if CODE.match(line):
            in_code = not in_code
            line = FENCE.sub(r"\1\2", line)
        elif not in_code:
            line = site_links(line, origin)
            before = lines[-1] if lines else ""
            if ITEM.match(line) and before and not before.startswith(" ") and not ITEM.match(before):
                lines.append("")
        lines.append(line)
    return "\n".join(lines)


def site_links(line: str, origin: Path) -> str:
    """Return a line with its links to files led to the site's pages; what is not a file is left to the strict build."""
    here = Path(site_page(origin)).parent

    def led(found: re.Match[str]) -> str:
        target = (origin.parent / (found["path"] or "")).resolve()
        if not found["path"] or not target.exists():
            return found[0]
        return f"{found['text']}{os.path.relpath(site_page(target), here)}{found['anchor'] or ''})"

    return LINK_OR_CODE.sub(led, line)


def targets(markdown: str, origin: Path) -> set[Path]:
    """Return the existing files and folders that a text links to."""
    found = (match["path"] for line in markdown.split("\n") for match in LINK_OR_CODE.finditer(line))
    paths = {(origin.parent / path).resolve() for path in found if path}
    return {path for path in paths if path.exists() and path.is_relative_to(REPOSITORY)}


def site_page(path: Path) -> str:
    """Return the place of a repository's file in the site."""
    if path.is_relative_to(DOCS):
        inside = path.relative_to(DOCS).as_posix()
        inside = "documents.md" if inside in (".", "README.md") else inside
        return "documents.md" if (DOCS / inside).is_dir() else inside
    name = path.relative_to(REPOSITORY).as_posix()
    return RENAMED.get(name, f"source/{name}.md")


def source_page(path: Path) -> str:
    """Return a page with a file's text, or a folder's files."""
    name = path.relative_to(REPOSITORY).as_posix()
    head = f"---\nsearch:\n  exclude: true\n---\n\n# {name}\n\n"
    if path.is_dir():
        inside = [file for file in sorted(path.rglob("*")) if file.is_file() and "__pycache__" not in file.parts]
        return head + "\n\n".join(shown(file, f"## {file.relative_to(path)}\n\n") for file in inside)
    return head + shown(path, "")


def shown(path: Path, head: str) -> str:
    """Return a file's text as a block of code."""
    if path.stat().st_size > MOST_BYTES:
        return f"{head}{path.stat().st_size / 1e6:.1f} MB; see the repository."
    return f"{head}````{LANGUAGES.get(path.suffix, 'text')}\n{path.read_text(encoding='utf-8')}\n````"
