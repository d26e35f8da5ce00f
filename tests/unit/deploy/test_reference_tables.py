"""The tables of the reference pages are those of the code."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "deploy" / "docs" / "make_tables.py"
spec = importlib.util.spec_from_file_location("make_tables", SCRIPT)
assert spec is not None
assert spec.loader is not None
make_tables = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make_tables)


@pytest.mark.parametrize("name", list(make_tables.TABLES))
def test_tables_are_not_stale(name: str) -> None:
    written = (make_tables.REFERENCE / name).read_text(encoding="utf-8")
    made = make_tables.with_tables(written, make_tables.TABLES[name]())
    assert written == made, "run: python deploy/docs/make_tables.py"
    assert written.count("\n| `") > 30
