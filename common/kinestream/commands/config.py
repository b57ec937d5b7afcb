"""`kinestream config`: check a file of cameras, or tell an editor what may stand in it.

Not for: running it (see `up.py`), nor what may stand in it (`kinestream.up.plan`).
"""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.group(short_help="Check a file for 'kinestream up', or print its JSON schema.")
def config() -> None:
    """Check a file for `kinestream up`, or print its JSON schema."""


@config.command("check")
@click.argument("file", type=click.Path(path_type=Path))
def check(file: Path) -> int:
    """Check FILE whole: every mistake is a line, with its number. Nothing is started or asked.

    Exit code 0: it can be run, and one line says what it is; 2: there are mistakes. A secret that is not set
    here is told, and is no mistake: it need be set only where the cameras are read.
    """
    from kinestream.up.document import ConfigError, read_document
    from kinestream.up.plan import make_plan, missing_secrets

    try:
        document = read_document(file)
        plan = make_plan(document, producer="check")
    except ConfigError as error:
        show_problems(error)
        return 2
    for problem in missing_secrets(document, plan):
        click.echo(f"note: {problem}")
    click.echo(f"{file}: {plan}")
    return 0


@config.command("schema")
def schema() -> None:
    """Print the JSON schema of such a file, for editors.

    In VS Code, for instance, with the extension YAML, the file's first line then says
    `# yaml-language-server: $schema=cameras.schema.json`.

    \b
    kinestream config schema > cameras.schema.json
    """
    from kinestream.up.schema import json_schema

    click.echo(json.dumps(json_schema(), indent=2))


def show_problems(error: Exception) -> None:
    """One line each, on stderr."""
    for problem in getattr(error, "problems", [error]):
        click.echo(str(problem), err=True)
