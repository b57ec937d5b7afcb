"""`kinestream doctor`: is everything here that Kinestream needs, and what mends what is not?

Not for: the checks themselves (see `kinestream.checks`, `kinestream_workers.checks`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from kinestream.cli import redis_option

if TYPE_CHECKING:
    from kinestream.doctor import Finding


@click.command(short_help="Find out what is wrong here, and how to mend it.")
@click.option(
    "--model",
    default="auto",
    show_default=True,
    metavar="NAME|FILE",
    help="As for `worker`; nothing is downloaded.",
)
@click.option("--engine", metavar="NAME", help="As for `worker`.")
@click.option("--device", default="auto", show_default=True, metavar="NAME", help="As for `worker`.")
@click.option("--mode", metavar="NAME", help="As for `worker`.")
@click.option("--runtime", default="onnxruntime", show_default=True, metavar="NAME", help="As for `worker`.")
@click.option("--precision", default="fp32", show_default=True, metavar="NAME", help="As for `worker`.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line: level, subject, says, mend.")
@redis_option
def doctor(redis_url: str | None, as_json: bool, **worker: Any) -> int:
    """Look at Redis, what is in it, this host, the model and the device, and say what to do about each fault.

    Nothing is changed. Exit code 0: no error, though maybe warnings; 1: at least one error.
    """
    from kinestream.doctor import Asked, examine

    asked = Asked(redis_url=redis_url, **worker)
    errors = warnings = 0
    for finding in examine(asked):
        errors += finding.level == "error"
        warnings += finding.level == "warning"
        for line in [json.dumps(asdict(finding))] if as_json else _lines(finding):
            click.echo(line)
    if not as_json:
        click.echo(f"errors: {errors}, warnings: {warnings}" if errors or warnings else "all is well")
    return 1 if errors else 0


def _lines(finding: Finding) -> Iterator[str]:
    level = finding.level if finding.level == "ok" else finding.level.upper()
    yield f"{level:8} {finding.subject}: {finding.says}"
    if finding.mend:
        yield f"{'':8} -> {finding.mend}"
