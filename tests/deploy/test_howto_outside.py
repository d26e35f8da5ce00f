"""The examples of the pages on security and sinks are what they say."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from daemon.config import Http, Output
from daemon.errors import ConfigError
from daemon.publish.http.limits import HttpLimits
from daemon.sinks import Sink, open_sinks

HOW_TO = Path(__file__).parents[2] / "deploy" / "docs" / "how-to"


def blocks(page: str, kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", re.sub(r"(?m)^ {3}", "", (HOW_TO / page).read_text()), flags=re.DOTALL)


def test_security_page() -> None:
    (example,) = blocks("security.md", "toml")
    options = Http.model_validate(tomllib.loads(example)["http"])
    assert options.certificate_file == Path("/etc/ptycholive/tls/chain.pem")
    text, limits, http = (HOW_TO / "security.md").read_text(), HttpLimits(), Http()
    for words in (
        f"`[http] max_connections` ({http.max_connections}), `max_viewers` ({http.max_viewers})",
        f"{limits.max_headers} of {limits.max_header_bytes >> 10} KiB",
        f"{limits.max_body_bytes >> 10} KiB; nothing",
        f"| {limits.request_s:g} s |",
        f"after {limits.stuck_s:g} s",
        f"| {limits.large_at_once}; a further one waits {limits.large_wait_s:g} s",
    ):
        assert words in text, words


def test_sinks_page() -> None:
    example, entry = blocks("sinks.md", "toml")
    pva, tiled = Output.model_validate(tomllib.loads(example)["output"]).sinks
    (sink,) = open_sinks([pva])
    assert isinstance(sink, Sink)
    assert tiled.kind == "tiled"
    assert "ptycholive.sinks" in tomllib.loads(entry)["project"]["entry-points"]
    (code,) = blocks("sinks.md", "python")
    said: list[str] = []
    names: dict[str, Any] = {"post": lambda channel, words: said.append(f"{channel}: {words}")}
    exec(code, names)
    own = names["open_sink"]({"channel": "beam"})
    assert isinstance(own, Sink)
    own.end_scan("star", "complete", {"stitched": 9})
    assert said == ["beam: star complete: 9 frames"]


def test_a_sink_whose_extra_is_not_installed_says_how_to_get_it() -> None:
    try:
        import tiled  # noqa: F401
    except ImportError:
        wanted = Output.model_validate({"sinks": [{"kind": "tiled", "options": {"uri": "http://x"}}]}).sinks
        with pytest.raises(ConfigError, match=r'pip install "ptycholive\[tiled\]"'):
            open_sinks(wanted)
