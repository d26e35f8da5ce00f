"""Rules, dashboards, unit, images and run book are valid, agree with the code, and leave nothing out."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import make_dashboards
import pytest
import yaml

from daemon.config import load_config
from daemon.metrics import LOSSES, Metrics
from ptychopinn.mosaic.mosaic import PatchRefusal
from streams.refusal_reasons import RefusalReason

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
RULES, RULES_TEST = DEPLOY / "prometheus/rules.yml", DEPLOY / "prometheus/rules_test.yml"
RUN_BOOK = (DEPLOY / "docs/how-to/run-book.md").read_text()
UNIT = DEPLOY / "systemd/ptycholive@.service"
OTHERS = {"scrape_duration_seconds", "process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds"}


def done(*command: str) -> subprocess.CompletedProcess[str]:
    if shutil.which(command[0]) is None:
        pytest.skip(f"needs {command[0]}")
    return subprocess.run(command, capture_output=True, text=True, timeout=100)


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def test_rules_pass_their_tests() -> None:
    for command in (("check", "rules", str(RULES)), ("test", "rules", str(RULES_TEST))):
        answer = done("promtool", *command)
        assert answer.returncode == 0, answer.stdout + answer.stderr


def test_every_alert_is_heard_and_not_heard_in_its_tests_and_is_in_the_run_book() -> None:
    cases: dict[str, list[bool]] = {}
    for test in yaml.safe_load(RULES_TEST.read_text())["tests"]:
        for case in test.get("alert_rule_test", []):
            cases.setdefault(case["alertname"], []).append(bool(case["exp_alerts"]))
    alerts = [rule for rule in rules() if "alert" in rule]
    assert len(alerts) >= 10
    for alert in alerts:
        assert set(cases[alert["alert"]]) == {True, False}, alert["alert"]
        page, anchor = alert["annotations"]["runbook"].split("#")
        assert (ROOT / page).is_file()
        assert anchor == alert["alert"].lower()
        assert f"\n### {alert['alert']}\n" in RUN_BOOK


def known_series() -> set[str]:
    """Return the names of all series: metrics, what rules record, what Prometheus itself adds."""
    text = Metrics().text()[0].decode()
    found = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    found |= {f"{name}_{part}" for name in found for part in ("bucket", "sum", "count")}
    return found | {rule["record"] for rule in rules() if "record" in rule} | {"up", "ALERTS"} | OTHERS


def series_of(query: str) -> set[str]:
    bare = re.sub(r"\{[^}]*\}|\"[^\"]*\"|\[[^\]]*\]", "", query)
    return set(re.findall(r"ptycholive[\w:]*|process_\w+|scrape_\w+", bare))


def test_queries_ask_for_series_that_there_are() -> None:
    queries = [rule["expr"] for rule in rules()]
    for name in make_dashboards.DASHBOARDS:
        queries += [t["expr"] for panel in make_dashboards.dashboard(name)["panels"] for t in panel["targets"]]
    assert len(queries) > 60
    known = known_series()
    for query in queries:
        assert series_of(query) <= known, query


def test_every_metric_is_on_a_dashboard_or_in_a_rule() -> None:
    text = RULES.read_text() + "".join(path.read_text() for path in (DEPLOY / "grafana/dashboards").glob("*.json"))
    exposed = Metrics().text()[0].decode()
    names = {line.split()[2] for line in exposed.splitlines() if line.startswith("# TYPE ptycholive")}
    missing = {name for name in names if name not in text}
    assert missing == set()


@pytest.mark.parametrize("name", list(make_dashboards.DASHBOARDS))
def test_dashboards_are_those_of_the_script_and_no_panel_lies_on_another(name: str) -> None:
    path = make_dashboards.FOLDER / f"{name}.json"
    board = make_dashboards.dashboard(name)
    assert json.loads(path.read_text()) == board, "run: python deploy/grafana/make_dashboards.py"
    cells: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        area = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert max(x for x, _ in area) < 24
        assert not area & cells, panel["title"]
        cells |= area
    if name == "operator":
        assert max(y for _, y in cells) < 26, "one screen"


def test_a_scrape_stays_small_and_every_label_is_known_beforehand() -> None:
    metrics = Metrics()
    samples = [line for line in metrics.text()[0].decode().splitlines() if not line.startswith("#")]
    assert len(samples) < 500
    for reason in RefusalReason:
        assert metrics.value("ptycholive_frames_refused_total", reason=reason) == 0


def test_the_run_book_has_the_remedy_of_each_reason_once() -> None:
    section = RUN_BOOK.split("### FramesBeingLost")[1].split("\n### ")[0]
    first_cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    named = [name for cell in first_cells for name in re.findall(r"`(\w+)`", cell)]
    assert sorted(named) == sorted([*RefusalReason, *(loss for loss in LOSSES if loss != "refused")])


def test_the_mosaic_refuses_for_reasons_that_the_account_knows() -> None:
    assert {*PatchRefusal} <= {*RefusalReason}


def test_the_state_disk_and_losses_are_told(tmp_path: Path) -> None:
    metrics = Metrics()
    metrics.set_state("scanning", True)
    metrics.watch_disk("output", tmp_path)
    metrics.watch_disk("journal", tmp_path / "gone")
    metrics.count_scan("incomplete", {"missing": 3, "without_position": 1, "pending": 0, "refused": {"corrupt": 2}})
    text = metrics.text()[0].decode()
    assert 'ptycholive_phase{phase="scanning"} 1.0' in text
    assert 'ptycholive_phase{phase="idle"} 0.0' in text
    assert "ptycholive_degraded 1.0" in text
    assert 'ptycholive_disk_free_bytes{folder="journal"} NaN' in text
    assert (metrics.value("ptycholive_disk_free_bytes", folder="output") or 0) > 0
    assert metrics.value("ptycholive_scans_total", verdict="incomplete") == 1
    lost = {why: metrics.value("ptycholive_frames_lost_total", why=why) for why in ("missing", "refused", "pending")}
    assert lost == {"missing": 3, "refused": 2, "pending": 0}


def unit_for_this_machine(folder: Path, unit: Path = UNIT) -> Path:
    """Write a unit with a program that is here; systemd looks whether there is one."""
    path = folder / unit.name
    path.write_text(re.sub("/opt/ptycholive/.venv/bin/(ptycholive|ray)", sys.executable, unit.read_text()))
    return path


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    units = [str(unit_for_this_machine(tmp_path, unit)) for unit in sorted(UNIT.parent.glob("*.service"))]
    answer = done("systemd-analyze", "verify", *units)
    assert (answer.returncode, answer.stderr) == (0, "")


def test_the_unit_is_closed(tmp_path: Path) -> None:
    unit = str(unit_for_this_machine(tmp_path))
    answer = done("systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", unit)
    assert answer.returncode == 0, answer.stdout


def test_the_unit_gives_the_daemon_the_time_that_it_takes() -> None:
    from daemon.config import Limits
    from daemon.status.health import HANGS_S

    known = dict(re.findall(r"^(\w+)=(\S+)$", UNIT.read_text(), flags=re.MULTILINE))
    assert known["Type"] == "notify"
    assert float(known["WatchdogSec"]) > HANGS_S
    assert float(known["TimeoutStopSec"]) > 2 * Limits().stop_s


def test_compose_mounts_what_there_is() -> None:
    folder = DEPLOY / "compose"
    made_by_user = {"./beamline.toml", "./probe.h5", "./token"}
    compose = yaml.safe_load((folder / "compose.yml").read_text())
    assert set(compose["services"]) == {"ptycholive", "prometheus", "grafana"}
    for name, service in compose["services"].items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert all(port.startswith("127.0.0.1:") for port in service["ports"]), name
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            assert source in made_by_user or source in compose["volumes"] or (folder / source).is_dir(), source
    build = compose["services"]["ptycholive"]["build"]
    assert (folder / build["context"] / build["dockerfile"]).is_file()
    assert set(yaml.safe_load((folder / "compose.gpu.yml").read_text())["services"]) <= set(compose["services"])


def test_compose_gives_the_daemon_a_configuration(tmp_path: Path) -> None:
    compose = yaml.safe_load((DEPLOY / "compose/compose.yml").read_text())
    environment = compose["services"]["ptycholive"]["environment"]
    (tmp_path / "probe.h5").touch()
    (tmp_path / "token").touch()
    environment["PTYCHOLIVE_HTTP__TOKEN_FILE"] = str(tmp_path / "token")
    copy = tmp_path / "beamline.toml"
    copy.write_text((DEPLOY / "examples/minimal.toml").read_text())
    config = load_config(copy, environment=environment)
    assert (config.http.host, config.output.directory) == ("0.0.0.0", Path("/data"))
    assert config.publish.endpoint == "tcp://0.0.0.0:5556"


def test_the_image_copies_what_there_is_and_all_that_the_package_needs() -> None:
    text = (DEPLOY / "container/Containerfile").read_text()
    copied = {
        name for line in re.findall(r"^COPY (?!--from)(.*) \S+$", text, flags=re.MULTILINE) for name in line.split()
    }
    assert all((ROOT / name).exists() for name in copied)
    assert {
        "ptychopinn",
        "streams",
        "daemon",
        "deploy/client/ptycholive_client",
        "pyproject.toml",
        "constraints.txt",
    } <= copied
    ignored = (DEPLOY / "container/Containerfile.dockerignore").read_text().splitlines()
    assert {line[1:] for line in ignored if line.startswith("!")} == copied
    assert re.search(r"^USER \d+$", text, flags=re.MULTILINE)


def test_provisioning_names_the_source_and_the_folder_of_the_dashboards() -> None:
    folder = DEPLOY / "grafana/provisioning"
    (source,) = yaml.safe_load((folder / "datasources/prometheus.yml").read_text())["datasources"]
    (provider,) = yaml.safe_load((folder / "dashboards/ptycholive.yml").read_text())["providers"]
    compose = yaml.safe_load((DEPLOY / "compose/compose.yml").read_text())
    assert source["uid"] == make_dashboards.SOURCE["uid"]
    assert f"../grafana/dashboards:{provider['options']['path']}:ro" in compose["services"]["grafana"]["volumes"]


@pytest.mark.parametrize("path", sorted((DEPLOY / "examples/beamlines").glob("*.toml")), ids=lambda path: path.stem)
def test_beamlines_are_configurations(path: Path, tmp_path: Path) -> None:
    (tmp_path / path.name).write_text(path.read_text())
    for name in ("probe.h5", "token"):
        (tmp_path / name).touch()
    assert load_config(tmp_path / path.name).frames.endpoint.startswith("tcp://")


def spoken() -> dict[str, str]:
    """Return what the program writes to its log as warning or error, by its place."""
    found = {}
    for part in ("daemon", "streams"):
        for path in (ROOT / part).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if (
                    isinstance(node, ast.Call)
                    and ast.unparse(node.func) in ("log.warning", "log.error", "log.exception")
                    and isinstance(node.args[0], ast.Constant)
                ):
                    found[f"{path.relative_to(ROOT)}:{node.lineno}"] = str(node.args[0].value)
    return found


def test_the_run_book_knows_every_warning_and_only_sentences_that_there_are() -> None:
    fragments = [
        one for row in re.findall(r"^\| (\".*?) \|", RUN_BOOK, flags=re.M) for one in re.findall(r'"(.+?)"', row)
    ]
    assert len(fragments) > 40
    only_values = re.compile(r"(scan )?%s(, frame %d)?(: %s)?")  # the sentence itself is made elsewhere
    for place, words in spoken().items():
        assert only_values.fullmatch(words) or any(one in words for one in fragments), f"{place}: {words}"
    code = ""
    for part in ("daemon", "streams", "ptychopinn", "deploy/client/ptycholive_client"):
        for path in (ROOT / part).rglob("*.py"):
            code += re.sub(r"\"\s*\n\s*f?\"", "", path.read_text())
    for one in fragments:
        assert one in code, one
