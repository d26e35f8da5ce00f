"""The whole OpenAPI description of a real daemon, asked for with valid and with invalid requests: no 5xx, no surprise.

``PTYCHOLIVE_FUZZ_REQUESTS`` sets how many requests each operation gets (default 12).
"""

from __future__ import annotations

import json
import os
import warnings
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable

from tests.support.daemon_tools import PATIENCE_S, follow, real_scan, running_daemon, send

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its own making at import
    import schemathesis
    from schemathesis import Case, GenerationMode
    from schemathesis.core.failures import FailureGroup
    from schemathesis.specs.openapi.checks import positive_data_acceptance

from daemon.app import Daemon
from daemon.client import Viewer

REQUESTS = int(os.environ.get("PTYCHOLIVE_FUZZ_REQUESTS", "12"))
TOKEN = "fuzz-token"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with one finished scan."""
    folder = tmp_path_factory.mktemp("fuzz")
    token = folder / "token"
    token.write_text(TOKEN)
    with running_daemon(folder, f"http.token_file={json.dumps(str(token))}", "refine.enabled=true") as daemon:
        with Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer:
            send(daemon, real_scan(), 40)
            follow(viewer)
        yield daemon


def is_refused_beyond_schemas(case: Case) -> bool:
    """Whether the ends of a range may be the wrong way round, or a box: no schema can say that this is refused."""
    if (case.query or {}).get("box") is not None:
        return True
    ends = [(case.query or {}).get(name) for name in ("low", "high")]
    return all(isinstance(end, int | float) for end in ends) and ends[1] <= ends[0]


def fuzz(operation: Any, mode: GenerationMode, *, is_known: bool, seen: Counter[int]) -> None:
    """Send requests to one operation, for what is there if ``is_known``, and check each answer."""

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(max_examples=REQUESTS // 3, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    def ask(case: Case) -> None:
        if is_known and "id" in case.path_parameters:
            case.path_parameters["id"] = "latest"
        if is_known and operation.path.endswith("models/active"):
            case.body = {"name": "none"}
        if is_refused_beyond_schemas(case):
            return
        if operation.path.endswith("attach/stream") and mode is GenerationMode.POSITIVE:
            case.body["wait_s"] = 0.1  # s; nobody sends
        answer = case.call(headers=BEARER, timeout=PATIENCE_S)
        seen[answer.status_code] += 1
        # An address, or an answer to the wizard, is a text that may be refused: no schema says which.
        is_text = "/attach/" in operation.path
        case.validate_response(answer, excluded_checks=[positive_data_acceptance] if is_text else [])

    try:
        ask()
    except Unsatisfiable:  # nothing can be wrong with a request that takes nothing
        assert mode is GenerationMode.NEGATIVE
    except FailureGroup as group:
        pytest.fail(f"{operation.label}: {[str(fault) for fault in group.exceptions]}")


def test_every_operation_bears_any_request(daemon: Daemon) -> None:
    url = daemon.addresses()["http"]
    schema = schemathesis.openapi.from_url(f"{url}/api/v1/openapi.json", headers=BEARER)
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) >= 12
    seen: Counter[int] = Counter()
    for operation in operations:
        fuzz(operation, GenerationMode.POSITIVE, is_known=True, seen=seen)
        for mode in GenerationMode:
            fuzz(operation, mode, is_known=False, seen=seen)
    assert {200, 202, 404, 409, 422} <= set(seen)
    assert not [status for status in seen if status >= 500]
    assert httpx.get(f"{url}/readyz", headers=BEARER).json()["ready"] is True


@pytest.mark.parametrize("name", ["../../etc/passwd", "%2e%2e%2f", "\x00", "latest/../x", "é" * 300, "%ff%fe", "<b>"])
def test_names_in_paths_are_names_and_nothing_else(daemon: Daemon, name: str) -> None:
    url = daemon.addresses()["http"]
    for end in ("", "/product.h5", "/snapshot.npy", "/snapshot.png", "/pattern.png"):
        quoted = name.replace("\x00", "%00").replace("/", "%2F").replace("<", "%3C")
        answer = httpx.get(f"{url}/api/v1/scans/{quoted}{end}", headers=BEARER)
        assert answer.status_code in (404, 422)
        assert answer.headers["content-type"] == "application/json"
