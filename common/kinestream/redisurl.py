"""Redis URLs: checked before they are used, and never shown with their password.

Text made for people shows `safe_url(url)`, and errors never repeat a URL as it was given: what cannot be read
as a URL may be a password with unescaped characters. Not for: connecting (see `redis.py`).
"""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, unquote, urlsplit

from kinestream.errors import UsageError

_LONGEST_SOCKET_PATH = 107
"""Bytes of a unix socket's path that Linux's `sun_path` holds; macOS holds 103."""

_OPTIONS = {
    "unix": {"db", "username", "password", "client_name"},
    "redis": {"db", "username", "password", "client_name"},
    "rediss": {"db", "username", "password", "client_name", "ssl_cert_reqs", "ssl_check_hostname"}
    | {"ssl_ca_certs", "ssl_certfile", "ssl_keyfile"},
}
"""What may follow `?` in a URL, by scheme. Others would override settings that this module depends on."""

_ESCAPE = "it cannot be read; inside a password, write / ? # @ : & as %2F %3F %23 %40 %3A %26"

_SHOWABLE = re.compile(
    r"""([a-z]{1,10}://)?
        (?:(?!/)([^?]*)@)?  # up to the last @, since a password may hold one
        ( (?<=unix://)/[^?]* | /[^?@]* | (?:\[[0-9a-fA-F:.]+\]|[\w.-]*) (?::\d{1,5})? (?:/\d*)? )
        (?:\?([^@]*))?""",
    re.VERBOSE,
)
"""scheme, credentials, place, options: the place is a socket's path, or host, port and database."""


def check_url(url: str) -> None:
    """Raise `UsageError` unless `url` names a server in a form that `connect` understands."""
    try:
        parts = urlsplit(url)
        port = parts.port
        options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    except ValueError:  # its text may repeat a part of the password
        raise _bad_url(url, _ESCAPE) from None
    if parts.scheme not in _OPTIONS:
        raise _bad_url(url, "it must begin with redis://, rediss:// or unix://")
    # A socket's path may hold an @, but after credentials it would rather be the end of a password.
    at_in_path = "@" in parts.path and (parts.scheme != "unix" or bool(parts.netloc))
    if parts.fragment or "@" in parts.query or at_in_path:
        raise _bad_url(url, _ESCAPE)
    if port == 0:
        raise _bad_url(url, "a port is a number from 1 to 65535")
    if not options.keys() <= _OPTIONS[parts.scheme]:  # not named: it may be a part of the password
        raise _bad_url(url, "its options can be " + ", ".join(sorted(_OPTIONS[parts.scheme])))
    _check_path(url, parts.scheme, parts.hostname, unquote(parts.path))
    if not options.get("db", "0").isdecimal():
        raise _bad_url(url, "its db must be a number")


def _check_path(url: str, scheme: str, host: str | None, path: str) -> None:
    if scheme != "unix":
        if not path.strip("/").isdecimal() and path.strip("/"):
            raise _bad_url(url, "after the host comes nothing, or / and the number of a database")
    elif host or not path.startswith("/") or path == "/":
        raise _bad_url(url, "a socket has an absolute path: unix:///run/redis.sock")
    elif len(path.encode()) > _LONGEST_SOCKET_PATH:
        raise _bad_url(
            url, f"the path of a socket may have {_LONGEST_SOCKET_PATH} bytes, got {len(path.encode())}"
        )


def _bad_url(url: str, why: str) -> UsageError:
    return UsageError(f"cannot use the Redis URL {safe_url(url)}: {why}")


def safe_url(url: str) -> str:
    """Return `url` fit to be shown: user and password become ***, and so does every option but `db`.

    Works on anything that somebody may have typed, a password with unescaped characters included: whatever
    does not look like a place is not shown.
    """
    found = _SHOWABLE.fullmatch(url)
    if found is None:
        scheme = url.partition("://")[0]
        return f"{scheme}://***" if scheme in _OPTIONS else "***"
    scheme, secret, place, options = found.groups()
    shown = (scheme or "") + ("***@" if secret is not None else "") + place
    if options is not None:
        shown += "?" + "&".join(_showable_option(option) for option in re.split("[&;]", options))
    return "".join(character if character.isprintable() else "?" for character in shown)


def _showable_option(option: str) -> str:
    name = option.partition("=")[0]
    if re.fullmatch(r"db=\d+", option):
        return option
    return f"{name}=***" if name in _OPTIONS["rediss"] else "***"
