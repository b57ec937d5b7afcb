"""Files of settings: what they say, in which line each value stands, and what is no such file."""

from __future__ import annotations

from pathlib import Path

import pytest

from kinestream.up.document import ConfigError, Document, read_document

YAML = """\
# a comment
x-usual: &usual
  every: 2
  max_side: 640

cameras:
  gym:
    <<: *usual
    source: rtsp://10.0.0.7/1
    every: 3
    region:
      - [0, 0]
      - [100,
         0]
  "quoted name": {source: "0",
     rotate: 90}
workers: [{count: 1}, {count: 2}]
"""
TOML = """\
# a comment
redis = "redis://localhost"

[cameras.gym]
source = "rtsp://10.0.0.7/1"
region = [
  [0, 0],    # rotate = 1
  [100, 0],
]
rotate = 90

[cameras."quoted name"]
source = '''
several
rotate = 5
'''
every.other = 1

[[workers]]
count = 1

[[workers]]
count = 2
inline = { a = 1, b = [2] }

[workers.more]
deep = true
"""


def read(tmp_path: Path, name: str, text: str | bytes) -> Document:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_document(path)


def problems(tmp_path: Path, name: str, text: str | bytes) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, name, text)
    return [str(problem).removeprefix(f"{tmp_path}/") for problem in caught.value.problems]


def test_yaml_and_its_lines(tmp_path: Path) -> None:
    document = read(tmp_path, "cameras.yaml", YAML)
    assert document.value["cameras"] == {
        "gym": {
            "every": 3,
            "max_side": 640,
            "source": "rtsp://10.0.0.7/1",
            "region": [[0, 0], [100, 0]],
        },
        "quoted name": {"source": "0", "rotate": 90},
    }
    lines = {
        ("cameras",): 6,
        ("cameras", "gym"): 7,
        ("cameras", "gym", "source"): 9,
        ("cameras", "gym", "every"): 10,
        ("cameras", "gym", "region"): 11,
        ("cameras", "gym", "region", 1): 13,
        ("cameras", "gym", "region", 1, 1): 14,
        ("cameras", "quoted name", "source"): 15,
        ("cameras", "quoted name", "rotate"): 16,
        ("workers", 1, "count"): 17,
    }
    assert {place: document.line(place) for place in lines} == lines
    assert document.line(("cameras", "gym", "missing")) == 7, "the nearest thing around it"


def test_toml_and_its_lines(tmp_path: Path) -> None:
    document = read(tmp_path, "cameras.toml", TOML)
    lines = {
        ("redis",): 2,
        ("cameras",): 4,
        ("cameras", "gym"): 4,
        ("cameras", "gym", "source"): 5,
        ("cameras", "gym", "region"): 6,
        ("cameras", "gym", "region", 1): 6,
        ("cameras", "gym", "rotate"): 10,
        ("cameras", "quoted name"): 12,
        ("cameras", "quoted name", "source"): 13,
        ("cameras", "quoted name", "rotate"): 12,
        ("cameras", "quoted name", "every", "other"): 17,
        ("workers", 0, "count"): 20,
        ("workers", 1): 22,
        ("workers", 1, "count"): 23,
        ("workers", 1, "inline", "b"): 24,
        ("workers", 1, "more", "deep"): 27,
    }
    assert {place: document.line(place) for place in lines} == lines


def test_problems_name_the_place_and_its_line(tmp_path: Path) -> None:
    document = read(tmp_path, "cameras.yaml", YAML)
    place = ("workers", 1, "count")
    assert str(document.problem(place, "must be 3")).endswith("cameras.yaml:17: workers[1].count must be 3")
    assert str(document.problem(place, "no such option")).endswith(":17: workers[1].count: no such option")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: 1\nb:\n  c: [1\nd: 2\n", ["c.yaml:4: expected ',' or ']', but got ':'"]),
        ("a:\n\t- 1\n", ["c.yaml:2: found character '\\t' that cannot start any token"]),
        ("a: *nobody\n", ["c.yaml:1: found undefined alias 'nobody'"]),
        ("a: 1\n---\nb: 1\n", ["c.yaml:2: but found another document"]),
        ("a: !!python/name:os.system x\n", ["c.yaml:1: could not determine a constructor for the tag"]),
        ("gym: 1\nhall: 2\ngym: 3\n", ["c.yaml:3: gym is here a second time, first in line 1"]),
        (
            "a:\n  on: 1\n  no: 2\n",
            ["c.yaml:2: a name must be text, got on: ", "c.yaml:3: a name must"],
        ),
        ("a:\n  5: 1\n", ["c.yaml:2: a name must be text, got 5: put it in quotes"]),
        ("a: 2026-13-45\n", ["c.yaml:1: '2026-13-45' is no value: month must be in 1..12"]),
        ("a:\n  <<: 5\n", ["c.yaml:2: << takes in a map, or a list of maps"]),
        ("a: &a\n  b: *a\n", ["c.yaml:1: the aliases here stand for too many values"]),
        (b"a: 1\nb: \xff\n", ["c.yaml:2: this is no UTF-8 text"]),
        ("a: 1\nb: \x07\n", ["c.yaml:2: no character of YAML"]),
    ],
)
def test_what_is_no_yaml_is_told_with_its_line(tmp_path: Path, text: str | bytes, told: list[str]) -> None:
    found = problems(tmp_path, "c.yaml", text)
    assert len(found) == len(told)
    assert all(line.startswith(start) for line, start in zip(found, told, strict=True)), found


def test_aliases_that_stand_for_billions_are_refused_at_once(tmp_path: Path) -> None:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    (told,) = problems(tmp_path, "c.yaml", "\n".join(lines))
    assert "stand for too many values" in told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a = 1\nb = \n", "c.toml:2: invalid value"),
        ("[a]\nb = 1\n[a]\n", "c.toml:3: cannot declare ('a',) twice"),
        ("a = 1\n\nb = [1,\n", "c.toml:4: "),
    ],
)
def test_what_is_no_toml_is_told_with_its_line(tmp_path: Path, text: str, told: str) -> None:
    (found,) = problems(tmp_path, "c.toml", text)
    assert found.startswith(told)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read: No such file or directory"):
        read_document(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match=r"ends in \.yaml, \.yml or \.toml, got \.json"):
        read(tmp_path, "cameras.json", "{}")
    with pytest.raises(ConfigError, match="has more than 1048576 bytes"):
        read(tmp_path, "cameras.yaml", "#" * (2**20 + 1))
