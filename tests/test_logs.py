"""`kinestream.logs`: aligned lines on stderr."""

from __future__ import annotations

import json
import logging
import logging.config
from collections.abc import Iterator
from datetime import datetime

import pytest

from kinestream.logs import about, log_config


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """The command configures logging; this process is shared with other tests."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    for name in log_config()["loggers"]:
        logging.getLogger(name).setLevel(logging.NOTSET)


def test_log_lines_are_aligned_and_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    logging.config.dictConfig(log_config())
    logging.getLogger("kinestream_workers.reader").info("took %d frames of %s", 3, "gate")
    logging.getLogger("kinestream.redis").debug("hidden")
    logging.getLogger("asyncio").info("hidden")
    shown = capsys.readouterr()
    assert shown.out == ""
    (line,) = shown.err.splitlines()
    assert line.endswith("INFO    test_logs  took 3 frames of gate")


def test_verbose_shows_more(capsys: pytest.CaptureFixture[str]) -> None:
    logging.config.dictConfig(log_config(verbose=True))
    logging.getLogger("kinestream.redis").debug("shown")
    assert "DEBUG   test_logs  shown" in capsys.readouterr().err


def test_json_lines_say_what_they_are_about(capsys: pytest.CaptureFixture[str]) -> None:
    logging.config.dictConfig(log_config(form="json"))
    logger = logging.getLogger("kinestream_workers.worker")
    logger.warning("%s %s failed", "gate", "7-3", extra=about("gate", 7, 3))
    logger.info('of a camera, with "quotes"\nand two lines', extra=about("gate"))
    try:
        raise ValueError("the test said so")
    except ValueError:
        logger.exception("a bug")
    first, second, third = map(json.loads, capsys.readouterr().err.splitlines())
    assert datetime.fromisoformat(first.pop("time")).tzinfo is not None
    assert first == {
        "level": "warning",
        "logger": "kinestream_workers.worker",
        "message": "gate 7-3 failed",
        "camera": "gate",
        "run": 7,
        "seq": 3,
    }
    assert second["message"].count("\n") == 1
    assert (second["camera"], "run" in second, "seq" in second) == ("gate", False, False)
    assert third["level"] == "error" and "ValueError: the test said so" in third["traceback"]
