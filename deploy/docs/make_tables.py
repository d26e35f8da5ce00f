"""Writes the tables of data-contract.md and workflow-config.md from the code: ``python deploy/docs/make_tables.py``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ptychopinn.config_manager import SECTIONS
from ptychopinn.contract import contracts
from ptychopinn.contract.check import KINDS

REFERENCE = Path(__file__).parent / "reference"
BEGIN, END = "<!-- made by deploy/docs/make_tables.py -->", "<!-- end of what is made -->"
RULES = {
    "finite": "finite",
    "not_negative": "0 or more",
    "lit": "not all 0",
    "positive": "above 0",
    "unique": "each once",
    "ascending": "ascending",
}


def contract_tables() -> str:
    """Return a table for each kind of file."""
    parts = []
    for contract in contracts().values():
        parts.append(f"### {contract.title}\n\nKind `{contract.kind}`.\n")
        parts.append("| entry | what | form | unit, rules |\n|---|---|---|---|")
        for rule in contract.rules:
            forms = " or ".join(f"({', '.join(str(n).rstrip('*') for n in shape)})" for shape in rule.shapes)
            name = f"`{rule.name}`" + ("" if rule.is_required else " (optional)")
            words = ", ".join(filter(None, [rule.unit, *(RULES[word] for word in rule.rules)]))
            parts.append(
                f"| {name} | {rule.about} | {KINDS[rule.kind][1]} {forms.replace('()', 'one value')} | {words} |"
            )
        parts += [f"\nOne of {', '.join(f'`{name}`' for name in names)} must be there." for names in contract.one_of]
        parts.append("")
    return "\n".join(parts)


def config_tables() -> str:
    """Return a table for each section."""
    parts = []
    for name, section in SECTIONS.items():
        schema = section.checking_model().model_json_schema()
        parts.append(f"### `{name}` ({section.__name__}): {schema['description'].splitlines()[0]}\n")
        parts.append("| field | default | values | what |\n|---|---|---|---|")
        for field, about in schema["properties"].items():
            parts.append(f"| `{field}` | {_default(about)} | {_values(about)} | {about['description']} |")
        parts.append("")
    return "\n".join(parts)


def _default(about: dict[str, Any]) -> str:
    value = about.get("default")
    return "none" if value in (None, "") else f"`{value}`".replace("'", "")


def _values(about: dict[str, Any]) -> str:
    choices = about.get("anyOf", [about])
    return " or ".join(_one(choice) for choice in choices)


def _one(choice: dict[str, Any]) -> str:
    if "enum" in choice or "const" in choice:
        return ", ".join(map(str, choice.get("enum", [choice.get("const")])))
    if choice.get("type") == "array":
        items = choice.get("prefixItems") or [choice["items"]]
        return f"list of {_one(items[0])}" if "prefixItems" not in choice else f"{len(items)} x {_one(items[0])}"
    kinds = {"integer": "whole", "number": "number", "boolean": "true, false", "string": "text", "null": "none"}
    words = [kinds[choice["type"]]]
    bounds = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "exclusiveMaximum": "below"}
    words += [f"{word} {choice[key]:g}" for key, word in bounds.items() if key in choice]
    if "multipleOf" in choice:
        words.append("even")
    return " ".join(words)


TABLES = {"data-contract.md": contract_tables, "workflow-config.md": config_tables}


def with_tables(page: str, table: str) -> str:
    """Return a page with what stands between its two marks made anew."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{table}\n{END}{after}"


def main() -> None:
    """Write all pages."""
    for name, make in TABLES.items():
        path = REFERENCE / name
        path.write_text(with_tables(path.read_text(encoding="utf-8"), make()), encoding="utf-8")


if __name__ == "__main__":
    main()
