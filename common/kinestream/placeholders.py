"""Secrets in the sources of cameras: never stored, filled in by the process that opens the camera.

`${NAME}` stands for a variable of that process's environment, `${file:/run/secrets/x}` for the first line of
a file there. Where a URL's user or password, or its query, is to stand, the secret is escaped: it is typed as
the camera knows it. `hide` puts the placeholders back into a text that is to be read by others.

Not for: URLs of cameras in general (see `kinestream_ingest.sources.address`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from kinestream.errors import SourceError, UsageError

_PLACEHOLDER = re.compile(r"\$\{(file:/[^{}]+|[A-Za-z_][A-Za-z0-9_]*)\}")

_LOGIN = re.compile(r"://([^/?#@]*)@")
"""User and password of a URL whose placeholders have been taken out."""

_SECRET_WORDS = re.compile(
    r"(?:^|[?&;_/])(pass|passwd|password|pwd|token|secret|apikey|api_key|auth)(?:=|%3d)([^&;/#]*)",
    re.IGNORECASE,
)
"""How cameras that take no login are told it: ?password=…, /user=admin_password=…_channel=1.sdp."""

_STAND_IN = "\x00"

_MAX_FILE_BYTES = 4096

_HOW = (
    "is not stored: write ${NAME} in its place and set the variable NAME where the producer runs, "
    "or ${file:/run/secrets/NAME}"
)


@dataclass(frozen=True, slots=True)
class Filled:
    """A source with its secrets; `hide` takes them out of a text again."""

    source: str = field(repr=False)
    secrets: Mapping[str, str] = field(repr=False)

    def hide(self, text: str) -> str:
        """`text` with every secret in it, escaped or not, replaced by its placeholder."""
        for secret, placeholder in sorted(self.secrets.items(), key=lambda pair: -len(pair[0])):
            text = text.replace(secret, placeholder)
        return text


def check_storable(source: str) -> None:
    """Raise `UsageError` if a source holds a password or an unfinished placeholder."""
    if "${" in _PLACEHOLDER.sub(_STAND_IN, source):
        raise UsageError("a placeholder is ${NAME} or ${file:/absolute/path}, and this one is neither")
    if secret := secret_in(source):
        raise UsageError(f"{secret} {_HOW}")


def secret_in(source: str) -> str:
    """What in a URL is a secret, in words; an empty text if nothing is. Placeholders are none."""
    bare = _PLACEHOLDER.sub(_STAND_IN, source)
    scheme, _, rest = bare.partition("://")
    if not rest or scheme == "testcard":
        return ""
    if "@" in rest and not _LOGIN.search(bare):  # a password with a bare / ? or #
        return "what stands before the last @ may be a password, which"
    for login in _LOGIN.findall(bare):
        if login.partition(":")[2].strip(_STAND_IN):
            return "a password"
    for word, value in _SECRET_WORDS.findall(rest):
        if value.partition("_channel")[0].strip(_STAND_IN):
            return f"the {word} in a URL"
    return ""


def fill_secrets(source: str, environment: Mapping[str, str] | None = None) -> Filled:
    """Fill in the placeholders of a source, from the environment of this process and from files.

    Raises `SourceError` that names what is missing.
    """
    environment = os.environ if environment is None else environment
    secrets: dict[str, str] = {}
    done, last = "", 0
    for found in _PLACEHOLDER.finditer(source):
        value = _value(found[1], environment)
        before = source[: found.start()]
        escaped = quote(value, safe="") if _is_escaped(before, source[found.end() :]) else value
        secrets |= dict.fromkeys((value, escaped), found[0])
        done += source[last : found.start()] + escaped
        last = found.end()
    return Filled(done + source[last:], secrets)


def _is_escaped(before: str, after: str) -> bool:
    """Whether what stands between these two parts of a URL is a part of its login or of its query."""
    before, after = _PLACEHOLDER.sub(_STAND_IN, before), _PLACEHOLDER.sub(_STAND_IN, after)
    if "://" not in before:
        return False
    place = before.rpartition("://")[2]
    in_login = not set(place) & set("/?#@") and re.match(r"[^/?#@]*@", after) is not None
    return in_login or "?" in place


def _value(name: str, environment: Mapping[str, str]) -> str:
    if not name.startswith("file:"):
        if not environment.get(name):
            raise SourceError(f"the variable {name}, which the source needs, is not set here")
        return environment[name]
    path = Path(name.removeprefix("file:"))
    try:
        with path.open("rb") as file:
            lines = file.read(_MAX_FILE_BYTES).decode().splitlines()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise SourceError(f"the file {path}, which the source needs, cannot be read: {why}") from None
    if not lines or not lines[0]:
        raise SourceError(f"the file {path}, which the source needs, is empty")
    return lines[0]
