"""One line an event, as text or JSON; repeated words are counted, and nothing in them is obeyed by a terminal."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from daemon.config import Log
from daemon.service.logs import FoldingHandler, JsonFormatter, TextFormatter

HOSTILE = "name\nINFO daemon: all is well\r\x1b[2J\u2028"


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger("daemon.test")
    logger.setLevel("INFO")
    logger.propagate = False
    yield logger
    close_folding(logger)


def close_folding(logger: logging.Logger) -> None:
    for handler in [handler for handler in logger.handlers if isinstance(handler, FoldingHandler)]:
        logger.removeHandler(handler)
        handler.close()


def attach(logger: logging.Logger, formatter: logging.Formatter, **options: float) -> io.StringIO:
    stream = io.StringIO()
    handler = FoldingHandler(stream, **options)  # type: ignore[arg-type]
    handler.setFormatter(formatter)
    logger.addHandler(handler)
    return stream


def fail() -> None:
    raise ValueError(HOSTILE)


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()], ids=["text", "json"])
def test_an_event_is_one_line_whatever_is_in_it(logger: logging.Logger, formatter: logging.Formatter) -> None:
    stream = attach(logger, formatter)
    logger.info("scan %s started", HOSTILE)
    try:
        fail()
    except ValueError:
        logger.exception("it failed")
    logger.warning("x" * 100_000)
    text = stream.getvalue()
    assert text.count("\n") == len(text.splitlines()) == 3
    assert "\x1b" not in text
    assert "(100000 characters)" in text
    assert len(text) < 8000


def test_json_lines_say_all_that_programs_need(logger: logging.Logger) -> None:
    stream = attach(logger, JsonFormatter())
    try:
        fail()
    except ValueError:
        logger.exception("batch of %d failed", 7)
    line = json.loads(stream.getvalue())
    assert (line["level"], line["logger"], line["message"]) == ("error", "daemon.test", "batch of 7 failed")
    assert line["time"].endswith("Z")
    assert line["fault"].startswith("ValueError: name\\nINFO")
    assert "in fail test_logs.py" in line["fault"]
    assert line["traceback"].startswith("Traceback")


def test_repeated_lines_are_counted(logger: logging.Logger) -> None:
    stream = attach(logger, TextFormatter(), window_s=1000, burst=3)
    for index in range(500):
        logger.warning("frame %d refused", index)
        if index % 100 == 0:
            logger.info("something else %d", index)
    close_folding(logger)
    lines = stream.getvalue().splitlines()
    assert [line.split(": ")[-1] for line in lines if "frame" in line] == [
        "frame 0 refused",
        "frame 1 refused",
        "frame 2 refused",
        "frame 0 refused",
    ]
    assert "497 more like: frame 0 refused" in lines[-2] + lines[-1]
    assert sum("something else" in line for line in lines) == 4  # three, and the count of two more


def test_the_count_comes_by_itself(logger: logging.Logger) -> None:
    came = threading.Event()

    class Stream(io.StringIO):
        def write(self, text: str) -> int:
            if "more like" in text:
                came.set()
            return super().write(text)

    handler = FoldingHandler(Stream(), window_s=0.2, burst=1)
    handler.setFormatter(TextFormatter())
    logger.addHandler(handler)
    for _ in range(5):
        logger.warning("again")
    assert came.wait(60)


def test_a_dead_thread_and_a_warning_are_lines_too() -> None:
    program = (
        "import threading, warnings\n"
        "from daemon.config import Log\n"
        "from daemon.service.logs import start_logging\n"
        "start_logging(Log(format='json', level='warning'))\n"
        "import logging; logging.getLogger('daemon').info('not written')\n"
        "warnings.warn('mind the gap')\n"
        "thread = threading.Thread(target=lambda: 1 / 0, name='doomed'); thread.start(); thread.join()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert "mind the gap" in lines[0]["message"]
    assert lines[1]["message"] == "the thread doomed ended with an exception"
    assert lines[1]["fault"].startswith("ZeroDivisionError")
    assert len(lines) == 2


def test_levels_and_formats_are_checked() -> None:
    assert Log().format == "text"
    with pytest.raises(ValueError, match="format"):
        Log.model_validate({"format": "xml"})
