"""`kinestream scripts`: the Lua scripts of delivery as a server gets them, for programs in other languages.

Not for: what the scripts do and how they are called; that is `docs/protocol.md`.
"""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("folder", required=False, type=click.Path(file_okay=False, path_type=Path), metavar="[DIR]")
def scripts(folder: Path | None) -> None:
    """List the Lua scripts by the SHA-1 that EVALSHA calls them by; with DIR, write them there.

    A producer or worker in any language loads these files as they are, with SCRIPT LOAD or EVAL. Files in
    DIR that have the same names are overwritten.

    \b
    kinestream scripts           the list, one "SHA-1  NAME.lua" a line
    kinestream scripts lua       writes lua/begin.lua, lua/offer.lua, … and prints the list
    """
    import hashlib

    from kinestream.delivery import SCRIPTS, script_source
    from kinestream.errors import UsageError

    texts = {f"{name}.lua": script_source(name).encode() for name in SCRIPTS}
    if folder is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name, text in texts.items():
                (folder / name).write_bytes(text)
        except OSError as error:
            raise UsageError(f"cannot write to {folder}: {error.strerror}") from error
    for name, text in texts.items():
        click.echo(f"{hashlib.sha1(text, usedforsecurity=False).hexdigest()}  {name}")
