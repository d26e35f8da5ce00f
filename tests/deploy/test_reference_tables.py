"""The tables of the reference pages and the index are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

import daemon_tables
import make_tables
import page_types
import pytest

DOCS = Path(__file__).parents[2] / "deploy" / "docs"

LEAST_ROWS = {
    "README.md": ("\n- [", 20),
    "reference/cli.md": ("\n## ", 20),
    "reference/configuration.md": ("\n| `", 80),
    "reference/data-contract.md": ("\n| `", 30),
    "reference/messages.md": ("\n| `", 14),
    "reference/metrics.md": ("\n| `ptycholive_", 30),
    "reference/rest.md": ("\n### `", 19),
    "reference/workflow-config.md": ("\n| `", 30),
}


@pytest.mark.parametrize("name", list(make_tables.TABLES))
def test_tables_are_not_stale(name: str) -> None:
    written = (DOCS / name).read_text(encoding="utf-8")
    made = make_tables.with_tables(written, make_tables.TABLES[name]())
    assert written == made, "run: make docs"
    mark, least = LEAST_ROWS[name]
    assert made.count(mark) >= least


def test_the_types_of_the_page_are_not_stale() -> None:
    assert page_types.PATH.read_text(encoding="utf-8") == page_types.page_types(), "run: make docs"


@pytest.mark.parametrize("name", [name for name in make_tables.TABLES if name != "reference/cli.md"])
def test_every_row_has_the_columns_of_its_table(name: str) -> None:
    columns = 0
    for line in (DOCS / name).read_text(encoding="utf-8").splitlines():
        if not line.startswith("|"):
            columns = 0
            continue
        columns = columns or line.count("|")
        assert line.count("|") == columns, line


def test_keys_and_verbs_are_all_there() -> None:
    words = daemon_tables.configuration_tables()
    for key in ("| `endpoint` | must be given |", "### `[limits]`", "### `[[output.sinks]]`", "| `promote_if` |"):
        assert key in words
    assert ["model", "rollback"] in daemon_tables.verbs()
    assert ["train"] in daemon_tables.verbs()


def test_a_metric_has_the_name_that_is_scraped() -> None:
    from daemon.metrics import Metrics

    scraped = Metrics().text()[0].decode()
    table = daemon_tables.metrics_table()
    for line in scraped.splitlines():
        if line.startswith("# TYPE ptycholive_"):
            name = line.split()[2]
            assert f"| `{name}` |" in table, name


def test_option_helps_list_the_kinds_of_the_code() -> None:
    from daemon.cli.bench.stages import ASKED_FOR, MEASUREMENTS
    from daemon.files.conversion import KINDS
    from ptychopinn.simulate import TEXTURES

    text = re.sub(r"\s+", " ", (DOCS / "reference/cli.md").read_text(encoding="utf-8"))
    (objects,) = re.findall(r"Kind of object: ([^.]*)\.", text)
    assert re.split(r", | or ", objects) == list(TEXTURES)
    (formats,) = re.findall(r"Format of the output: ([^.]*)\.", text)
    assert formats.split(", ") == list(KINDS)
    (measurements,) = re.findall(r"Measurements to run: ([^.]*)\.", text)
    named = re.split(r", | or ", measurements)
    assert named[-1] == "resolution"
    assert set(named[:-1]) == set(MEASUREMENTS)
    assert set(named[-1 - len(ASKED_FOR) : -1]) == ASKED_FOR
