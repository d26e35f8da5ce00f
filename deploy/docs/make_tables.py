"""Writes the tables of the reference pages, the index and the types of the page from the code: ``make docs``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from daemon_tables import cli_help, configuration_tables, header_tables, metrics_table, rest_tables
from page_index import index_lists
from page_types import PATH as PAGE_TYPES
from page_types import page_types
from schema_words import default_of, values_of

from ptychopinn.config.manager import SECTIONS
from ptychopinn.contract import contracts
from ptychopinn.contract.check import KINDS
from ptychopinn.contract.keys import file_keys, group_keys

DOCS = Path(__file__).parent
BEGIN, END = "<!-- made by deploy/docs/make_tables.py -->", "<!-- end of what is made -->"
RULES = {
    "finite": "finite",
    "not_negative": "0 or more",
    "lit": "not all 0",
    "positive": "above 0",
    "unique": "each once",
    "ascending": "ascending",
}


def key_tables() -> list[str]:
    """Return the table of the groups' keys and that of the training files' keys, with their counterparts in PtychoPINN."""
    parts = ["### Groups of a data set (TensorDict)\n", "| key | number type, axes | order, sign | unit | PtychoPINN |"]
    parts.append("|---|---|---|---|---|")
    for key in group_keys().values():
        axes = ", ".join(map(str, key.axes))
        parts.append(f"| `{key.name}` | {key.dtype} ({axes}) | {key.order} | {key.unit} | {key.upstream} |")
    parts += ["", "### Keys of training files in PtychoPINN\n", "| key | PtychoPINN |", "|---|---|"]
    parts += [f"| `{name}` | {upstream} |" for name, upstream in file_keys().items()]
    return [*parts, ""]


def contract_tables() -> str:
    """Return a table for each kind of file."""
    parts = key_tables()
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
            parts.append(f"| `{field}` | {default_of(about)} | {values_of(about)} | {about['description']} |")
        parts.append("")
    return "\n".join(parts)


TABLES: dict[str, Callable[[], str]] = {
    "README.md": lambda: index_lists(DOCS),
    "reference/cli.md": cli_help,
    "reference/configuration.md": configuration_tables,
    "reference/data-contract.md": contract_tables,
    "reference/messages.md": header_tables,
    "reference/metrics.md": metrics_table,
    "reference/rest.md": rest_tables,
    "reference/workflow-config.md": config_tables,
}


def with_tables(page: str, table: str) -> str:
    """Return a page with what stands between its two marks made anew."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{table}\n{END}{after}"


def main() -> None:
    """Write all."""
    for name, make in TABLES.items():
        path = DOCS / name
        path.write_text(with_tables(path.read_text(encoding="utf-8"), make()), encoding="utf-8")
    PAGE_TYPES.write_text(page_types(), encoding="utf-8")


if __name__ == "__main__":
    main()
