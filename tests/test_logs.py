"""`kinestream.logs`: aligned lines on stderr."""

from __future__ import annotations

import logging
import logging.config
from collections.abc import Iterator

import pytest

from kinestream.logs import log_config


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
