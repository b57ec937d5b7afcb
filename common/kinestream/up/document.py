"""A file of settings, YAML or TOML, as plain values that know in which line they stand.

Not for: what may stand in it (see `plan.py`).
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kinestream.errors import UsageError

Place = tuple[str | int, ...]
"""Where a value stands: the keys and indices on the way to it."""

_MAX_BYTES = 2**20
_MERGE = "tag:yaml.org,2002:merge"
_MAX_NODES = 20_000
"""Of a YAML file, aliases written out: a few lines of them can stand for billions of values."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong in a file; line 0 is no line in particular."""

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}" if self.line else f"{self.file}: {self.text}"


class ConfigError(UsageError):
    """A file cannot be used; `problems` has everything that is wrong, in the order of the lines."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = sorted(problems, key=lambda problem: problem.line)
        super().__init__("; ".join(map(str, self.problems)))


@dataclass(frozen=True, slots=True)
class Document:
    """What a file says, as dicts, lists and scalars."""

    file: str
    value: Any
    lines: Mapping[Place, int] = field(default_factory=dict)

    def line(self, place: Place) -> int:
        """The line of a value, or of the nearest thing around it that has one."""
        for length in range(len(place), -1, -1):
            if place[:length] in self.lines:
                return self.lines[place[:length]]
        return 0

    def problem(self, place: Place, text: str) -> Problem:
        """A problem with the value that stands there; `text` goes on after its name, or after a colon."""
        name = shown_place(place)
        between = " " if re.match(r"(must|is|has|needs)\b", text) else ": "
        return Problem(self.file, self.line(place), f"{name}{between}{text}" if name else text)


def shown_place(place: Place) -> str:
    """E.g. `workers[1].count`."""
    words = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in place)
    return "".join(words).removeprefix(".")


def read_document(path: Path) -> Document:
    """Read a file whose name ends in .yaml, .yml or .toml. Raises `ConfigError`."""
    file = str(path)
    try:
        with path.open("rb") as opened:
            data = opened.read(_MAX_BYTES + 1)
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise ConfigError([Problem(file, 0, f"cannot be read: {error.strerror}")]) from None
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ConfigError([Problem(file, line, "this is no UTF-8 text")]) from None
    if len(data) > _MAX_BYTES:
        raise ConfigError([Problem(file, 0, f"has more than {_MAX_BYTES} bytes")])
    match path.suffix.lower():
        case ".yaml" | ".yml":
            return _read_yaml(file, text)
        case ".toml":
            return _read_toml(file, text)
        case other:
            raise ConfigError([Problem(file, 0, f"ends in .yaml, .yml or .toml, got {other or 'no ending'}")])


def _read_yaml(file: str, text: str) -> Document:
    import yaml

    try:
        loader = yaml.SafeLoader(text)
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise ConfigError([Problem(file, line, f"no character of YAML: {chr(error.character)!r}")]) from None
    try:
        root = loader.get_single_node()
        reading = _YamlReading(file, loader)
        value = None if root is None else reading.value(root, ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ConfigError(
            [Problem(file, mark.line + 1 if mark else 0, error.problem or "is no YAML")]
        ) from None
    finally:
        loader.dispose()
    if reading.problems:
        raise ConfigError(reading.problems)
    return Document(file, value, reading.lines)


class _YamlReading:
    """Makes plain values of YAML's nodes, which know their lines; `problems` is what it stumbled over."""

    def __init__(self, file: str, loader: Any) -> None:
        self.lines: dict[Place, int] = {}
        self.problems: list[Problem] = []
        self._file = file
        self._loader = loader
        self._nodes = 0
        self._open: list[Any] = []

    def value(self, node: Any, place: Place) -> Any:
        """The plain value of a node; what is wrong becomes None."""
        import yaml

        self.lines.setdefault(place, node.start_mark.line + 1)
        self._nodes += 1
        if self._nodes > _MAX_NODES or any(node is one for one in self._open):
            if not self.problems or "aliases" not in self.problems[-1].text:
                self._complain(node, "the aliases here stand for too many values")
            return None
        self._open.append(node)
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, place)
            if isinstance(node, yaml.SequenceNode):
                return [self.value(one, (*place, index)) for index, one in enumerate(node.value)]
            return self._scalar(node)
        finally:
            self._open.pop()

    def _scalar(self, node: Any) -> Any:
        try:
            return self._loader.construct_object(node)
        except ValueError as error:  # such as a 13th month
            self._complain(node, f"{node.value!r} is no value: {error}")
            return None

    def _mapping(self, node: Any, place: Place) -> dict[str, Any]:
        import yaml

        values: dict[str, Any] = {}
        base = self._merged([one for key, one in node.value if key.tag == _MERGE], place)
        for key_node, value_node in node.value:
            if key_node.tag == _MERGE:
                continue
            key = self._scalar(key_node) if isinstance(key_node, yaml.ScalarNode) else None
            if not isinstance(key, str):
                self._complain(key_node, f"a name must be text, got {key_node.value!s:.40}: put it in quotes")
                continue
            here = (*place, key)
            if key in values:
                first = self.lines[here]
                self._complain(key_node, f"{shown_place(here)} is here a second time, first in line {first}")
                continue
            self.lines[here] = key_node.start_mark.line + 1
            values[key] = self.value(value_node, here)
        return base | values

    def _merged(self, nodes: Sequence[Any], place: Place) -> dict[str, Any]:
        """What << takes in from other maps, the first of them first."""
        import yaml

        values: dict[str, Any] = {}
        for node in nodes:
            for one in node.value if isinstance(node, yaml.SequenceNode) else [node]:
                other = self.value(one, place)
                if isinstance(other, dict):
                    values = other | values
                else:
                    self._complain(one, "<< takes in a map, or a list of maps")
        return values

    def _complain(self, node: Any, text: str) -> None:
        self.problems.append(Problem(self._file, node.start_mark.line + 1, text))


def _read_toml(file: str, text: str) -> Document:
    try:
        value = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.fullmatch(r"(.*) \(at (?:line (\d+), column \d+|end of document)\)", str(error))
        what, line = (found[1], int(found[2] or text.count("\n") + 1)) if found else (str(error), 0)
        raise ConfigError([Problem(file, line, what[:1].lower() + what[1:])]) from None
    return Document(file, value, {(): 1} | _toml_lines(text.splitlines()))


_TABLE = re.compile(r"\s*(\[\[?)(.+?)\]\]?\s*(?:#.*)?")
_KEY = re.compile(
    r"""\s*((?:"(?:[^"\\]|\\.)*"|'[^']*'|[\w-]+)(?:\s*\.\s*(?:"(?:[^"\\]|\\.)*"|'[^']*'|[\w-]+))*)\s*="""
)


def _toml_lines(lines: Sequence[str]) -> dict[Place, int]:
    """The lines of tables and keys of valid TOML; what stands in an inline table or a list has that one's."""
    found: dict[Place, int] = {}
    arrays: dict[Place, int] = {}  # arrays of tables: how many so far
    table: Place = ()
    number = 0
    while number < len(lines):
        line = lines[number]
        number += 1
        if header := _TABLE.fullmatch(line):
            table = _resolved((), _toml_key(header[2]), arrays, is_array=header[1] == "[[")
            found.setdefault(table, number)
            for length in range(1, len(table)):
                found.setdefault(table[:length], number)
        elif key := _KEY.match(line):
            place = _resolved(table, _toml_key(key[1]), arrays)
            for length in range(len(table) + 1, len(place) + 1):
                found.setdefault(place[:length], number)
            number = _end_of_value(lines, number)
    return found


def _toml_key(text: str) -> Place:
    """The parts of a dotted key."""
    value: Any = tomllib.loads(f"{text} = 0")
    parts: Place = ()
    while isinstance(value, dict):
        ((part, value),) = value.items()
        parts = (*parts, part)
    return parts


def _resolved(table: Place, key: Place, arrays: dict[Place, int], *, is_array: bool = False) -> Place:
    """Where a key of `table` stands, with the indices of the arrays of tables on the way."""
    place = table
    for step, part in enumerate(key):
        place = (*place, part)
        if is_array and step == len(key) - 1:
            arrays[place] = arrays.get(place, 0) + 1
        if place in arrays:
            place = (*place, arrays[place] - 1)
    return place


def _end_of_value(lines: Sequence[str], number: int) -> int:
    """How many lines are read when the value that begins in line `number` is over: it may have several."""
    for last in range(number, len(lines) + 1):
        try:
            tomllib.loads("\n".join(lines[number - 1 : last]))
        except tomllib.TOMLDecodeError:
            continue
        return last
    return number
