"""The command `kinestream models`. Not for: what its parts do (see `models.py`, `modelcache.py`)."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from typing import TYPE_CHECKING, Any

import click

from kinestream.errors import KinestreamError, UsageError
from kinestream_workers.models import AUTO, NAMED_S, PACKAGED, parts_of
from kinestream_workers.modes import TWO_STAGES
from kinestream_workers.zoo import FILES, NAMES, PAIRS, QUALITIES

if TYPE_CHECKING:
    from collections.abc import Sequence

_log = logging.getLogger(__name__)

_NAME = click.Choice([*dict.fromkeys((*NAMES, *FILES))])

_PIPE_WIDTH = 200
"""Columns for a table that no terminal limits."""


@click.group(short_help="List and download RTMO's and RTMPose's models.")
def models() -> None:
    """Published models by name: RTMO's, which are also called lightweight, balanced, performance; RTMPose's,
    and the detectors that these need beside them.

    They are OpenMMLab's (Apache-2.0). They lie in KINESTREAM_MODELS, by default ~/.cache/kinestream/models.
    KINESTREAM_OFFLINE=1 forbids downloads; KINESTREAM_MODEL_MIRROR is the URL of a folder with the zip files,
    asked in place of the public servers.
    """


@models.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a model, one a line.")
def list_(as_json: bool) -> None:
    """Show which models there are, and which of them are here."""
    from kinestream_workers.modelcache import cache_folder

    facts = [_facts(name) for name in FILES]
    if as_json:
        for fact in facts:
            click.echo(json.dumps(fact))
        return
    _show(facts)
    click.echo(
        f"They lie in {cache_folder()}. Without download: {', '.join(PACKAGED)}, or the path of a file."
    )


def _facts(name: str) -> dict[str, Any]:
    from kinestream_workers.modelcache import cached
    from kinestream_workers.zoo import zoo_model

    model = zoo_model(name)
    path = cached(model)
    return {
        "name": name,
        "mode": "rtmo" if name in QUALITIES else "rtmpose",
        "quality": model.quality if name in QUALITIES or name in TWO_STAGES.values() else None,
        "needs": model.detector,
        "file": model.file,
        "sha256": model.sha256,
        "path": str(path) if path else None,
        "bytes": path.stat().st_size if path else None,
        "urls": model.urls,
    }


def _show(facts: Sequence[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("name", "mode", "quality", "needs", "cached", "SHA-256"):
        table.add_column(column, no_wrap=True)
    table.add_column("file", overflow="fold")
    for fact in facts:
        here = f"{fact['bytes'] / 1e6:.1f} MB" if fact["path"] else "no"
        pinned = f"{fact['sha256'][:12]}…" if fact["sha256"] else "not pinned"
        words = (fact[column] or "" for column in ("name", "mode", "quality", "needs"))
        table.add_row(*words, here, pinned, fact["file"])
    piped = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    Console(width=_PIPE_WIDTH if piped else None).print(table)


@models.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True, type=_NAME)
@click.option("--sha256", metavar="HEX", help="Take the file only if it has this SHA-256.")
def pull(names: Sequence[str], sha256: str | None) -> None:
    """Download models, if they are not here, with what they need, and print their SHA-256 and path.

    Of some of them the SHA-256 is known, and another file is refused; --sha256 sets it for one model, also to
    overrule what is known, or to check what is here. A download that was interrupted goes on where it ended.
    """
    from kinestream_workers.modelcache import fetch
    from kinestream_workers.models import resolve_model
    from kinestream_workers.modelzip import sha256_of
    from kinestream_workers.zoo import zoo_model

    if sha256 is not None:
        sha256 = sha256.lower()
        if not re.fullmatch(r"[0-9a-f]{64}", sha256):
            raise UsageError(f"a SHA-256 has 64 hexadecimal digits, got {sha256[:80]!r}")
        if len(names) > 1:
            raise UsageError("--sha256 is of one model: pull the others apart from it")
    for name in names:
        own, *needed = parts_of(zoo_model(name))
        for model, wanted in ((own, sha256), *((part, None) for part in needed)):
            path = fetch(model, patience_s=NAMED_S, sha256=wanted)
            found = sha256_of(path)
            if found != (wanted or model.sha256 or found):
                _log.warning(
                    "%s was here, and is not the %s that is known: %s", path.name, model.name, model.sha256
                )
            click.echo(f"{found}  {path}")
        if name in PAIRS:
            resolve_model(name)  # a folder that is only read later needs the file that names both


@models.command()
@click.argument("name", metavar="NAME", type=click.Choice([*_NAME.choices, *PACKAGED]))
def path(name: str) -> None:
    """Print the path of a model that is here; else exit with 1. Of two files, the one that names both."""
    from kinestream_workers.modelcache import cache_folder, cached
    from kinestream_workers.models import resolve_model
    from kinestream_workers.zoo import zoo_model

    if name not in PACKAGED:
        for model in parts_of(zoo_model(name)):
            found = cached(model)
            if found is None:
                raise KinestreamError(f"no {model.file} in {cache_folder()}: kinestream models pull {name}")
        if name not in PAIRS:
            click.echo(found)
            return
    click.echo(resolve_model(name))


@models.command()
@click.argument("model", default=AUTO)
@click.option("--mode", metavar="NAME", help="As for `worker`.")
def choose(model: str, mode: str | None) -> None:
    """Make sure that MODEL is here, by name or path, and print what to give to workers as --model.

    For `auto`, this is a name: so that several workers that start together all take the same model. `demo`
    and `process` call it before they start their workers.
    """
    from kinestream_workers.models import choose_model, resolve_model
    from kinestream_workers.modes import in_mode

    chosen = choose_model(in_mode(model, mode))
    resolve_model(chosen)
    click.echo(chosen)
