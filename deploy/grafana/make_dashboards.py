"""Writes the dashboards from the tables of panels: ``python deploy/grafana/make_dashboards.py``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from panels import DASHBOARDS, Panel

FOLDER = Path(__file__).parent / "dashboards"
SOURCE = {"type": "prometheus", "uid": "ptycholive-prometheus"}
WIDTH = 24


def panel_json(panel: Panel, number: int, x: int, y: int) -> dict[str, Any]:
    """Return a panel in Grafana's form."""
    targets = [
        {"datasource": SOURCE, "expr": query, "legendFormat": legend or "__auto", "refId": chr(ord("A") + i)}
        for i, (query, legend) in enumerate(panel.queries)
    ]
    defaults: dict[str, Any] = {
        "unit": panel.unit,
        "thresholds": {
            "mode": "absolute",
            "steps": [{"value": value, "color": colour} for value, colour in panel.steps],
        },
        "mappings": [{"type": "value", "options": {str(k): {"text": text} for k, text in panel.words.items()}}]
        if panel.words
        else [],
    }
    options: dict[str, Any] = {}
    if panel.decimals is not None:
        defaults["decimals"] = panel.decimals
    if panel.kind == "timeseries":
        defaults |= {"min": 0, "custom": {"lineWidth": 2, "fillOpacity": 0, "showPoints": "never"}}
        options = {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}}
    else:
        options["reduceOptions"] = {"calcs": ["lastNotNull"], "values": False}
    if panel.kind == "gauge":
        defaults |= {"min": 0, "max": 1}
    if panel.kind == "stat":
        mode = "name" if panel.names_only else "auto"
        options |= {"colorMode": "background", "graphMode": "none", "textMode": mode}
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": SOURCE,
        "gridPos": {"x": x, "y": y, "w": panel.width, "h": panel.height},
        "targets": targets,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
    }


def laid_out(panels: tuple[Panel, ...]) -> list[dict[str, Any]]:
    """Return panels in rows from left to right, each row as high as its highest."""
    found, x, y, row_height = [], 0, 0, 0
    for number, panel in enumerate(panels, 1):
        if x + panel.width > WIDTH:
            x, y, row_height = 0, y + row_height, 0
        found.append(panel_json(panel, number, x, y))
        x, row_height = x + panel.width, max(row_height, panel.height)
    return found


def dashboard(name: str) -> dict[str, Any]:
    """Return a dashboard in Grafana's form."""
    title, panels = DASHBOARDS[name]
    instance = {
        "name": "instance",
        "label": "Daemon",
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": 'label_values(up{job="ptycholive"}, instance)', "refId": "instance"},
        "includeAll": True,
        "allValue": ".+",
        "current": {"text": "All", "value": "$__all"},
        "refresh": 2,
    }
    return {
        "uid": f"ptycholive-{name}",
        "title": title,
        "tags": ["ptycholive"],
        "schemaVersion": 39,
        "editable": False,
        "refresh": "5s",
        "time": {"from": "now-15m", "to": "now"},
        "templating": {"list": [instance]},
        "links": [{"type": "dashboards", "tags": ["ptycholive"], "title": "Others", "asDropdown": False}],
        "panels": laid_out(panels),
    }


def main() -> None:
    """Write all dashboards."""
    for name in DASHBOARDS:
        (FOLDER / f"{name}.json").write_text(json.dumps(dashboard(name), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
