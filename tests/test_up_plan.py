"""Files of cameras: what they mean, everything that is wrong in one go, the schema, and the command lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from click.testing import CliRunner

from kinestream.cli import run
from kinestream.commands.config import config
from kinestream.up.document import ConfigError, read_document
from kinestream.up.parts import parts_of, redis_part
from kinestream.up.plan import CAMERA_FIELDS, Plan, make_plan
from kinestream.up.schema import CAMERA, json_schema

PAGE = Path(__file__).parent.parent / "docs" / "up.md"

GOOD = """\
redis: redis://:${KS_TEST_SECRET}@10.0.0.5:6379/1
x-any: &slow {max_fps: 5}
cameras:
  webcam: 0
  film: jump.mp4
  gym:
    <<: *slow
    source: rtsp://viewer:${KS_TEST_SECRET}@10.0.0.7/1
    lane: live
    every: 2
    max_side: 640
    quality: 80
    region: [[0, 0], [640, 0], [640, 480]]
    rotate: 270
    priority: 9
    max_age_ms: 500
    clock_offset_ms: -3.5
    realtime: true
    reconnect: true
    timeout_s: 5
    paused: true
workers:
  - count: 2
    model: rtmo-s
    target_p95_ms: 120
    max_batch: 8
    require_device: true
    device: cuda
  - {model: rtmo-m, threads: 3}
jobs: {outputs: out, allow_hosts: [a.example, b.example], max_jobs: 2}
recordings:
  all: {output: recordings}
  gym: {output: gym/, cameras: [gym, elsewhere], video: false, until_end: true}
"""

WRONG = """\
redis: http://localhost
cameras:
  gym:
    source: rtsp://viewer:hunter2@10.0.0.7/1
    rotate: 45
    regoin: 0,0,10,10
    region: 0,0,10,10
  hall:
    every: 0
  "a b": 0
  roof: [1]
workers:
  - {count: 0, modle: rtmo-s, lease_ms: 200}
  - {lease_ms: 300, threads: true}
jobs: {max_jobs: many}
recordings:
  match: {cameras: []}
  two: {cameras: [gym], output: "${HOME}/x", video: maybe}
cams: {}
"""

TOLD = """\
1: redis must be a URL, redis://, rediss:// or unix://, or a map of data and maxmemory
4: cameras.gym.source: a password is not stored: write ${NAME} in its place and set the variable NAME where
5: cameras.gym.rotate must be 0, 90, 180 or 270, got 45
6: cameras.gym.regoin: no such option; did you mean region?
7: cameras.gym.region: a region must be at least 16x16 pixels, got 0,0,10,10
8: cameras.hall needs a source
9: cameras.hall.every must be a whole number from 1 to 1000000000, got 0
10: cameras.a b: a camera name is 1 to 64 of A-Z a-z 0-9 _ . - and starts with a letter or digit, got 'a b'
11: cameras.roof must be a source, or a map with one, got a list of 1
13: workers[0].modle: no such option; did you mean model?
13: workers[0].count must be a whole number from 1 to 64, got 0
14: workers[1].threads must be a whole number of at least 1, got true
14: workers[1].lease_ms must be the same for all workers
15: jobs.max_jobs must be a whole number from 1 to 64, got 'many'
17: recordings.match.cameras must be a list of at least one name, got a list of 0
17: recordings.match needs an output, the folder to write to
18: recordings.two.output must have no ${…}: that is for a camera's source and for redis
18: recordings.two.video must be true or false, got 'maybe'
19: cams: no such option; did you mean cameras?
"""


def plan_of(tmp_path: Path, text: str, name: str = "cameras.yaml") -> Plan:
    path = tmp_path / name
    path.write_text(text)
    return make_plan(read_document(path), producer="up-test")


def told(tmp_path: Path, text: str, name: str = "cameras.yaml") -> list[str]:
    with pytest.raises(ConfigError) as caught:
        plan_of(tmp_path, text, name)
    return [str(problem).removeprefix(f"{tmp_path / name}:").strip() for problem in caught.value.problems]


def test_what_a_file_means(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, GOOD)
    webcam, film, gym = plan.cameras
    assert [(one.name, one.source, one.producer) for one in (webcam, film)] == [
        ("webcam", "0", "up-test"),
        ("film", "jump.mp4", "up-test"),
    ]
    assert (gym.max_fps, gym.region, gym.rotate, gym.priority) == (5, "0,0 640,0 640,480", 270, 9)
    assert set(gym.to_plain()) == {"name", "producer", *CAMERA_FIELDS}, "or the example misses an option"
    assert str(plan) == "3 cameras, 3 workers, 2 recordings, jobs"


def test_the_example_of_the_readme(tmp_path: Path) -> None:
    readme = (PAGE.parent.parent / "README.md").read_text(encoding="utf-8")
    assert str(plan_of(tmp_path, readme.partition("```yaml\n")[2].partition("```")[0])) == (
        "2 cameras, 2 workers, 1 recording, no jobs"
    )


def test_the_command_lines(tmp_path: Path) -> None:
    lines = [
        " ".join(part.words()) for part in parts_of(plan_of(tmp_path, GOOD), producer="up-test", cores=8)
    ]
    first = (
        "worker --model rtmo-s --device cuda --require-device --threads 2 --target-p95 120ms --max-batch 8"
    )
    assert lines[:3] == [first, first, "worker --model rtmo-m --threads 3"]
    assert lines[3].startswith("record webcam film gym -o recordings/20")
    assert lines[4].startswith("record gym elsewhere -o gym/20")
    assert lines[4].endswith("Z --no-video --until-end")
    assert lines[5] == "jobs --outputs out --allow-host a.example --allow-host b.example --max-jobs 2"
    assert lines[6:] == ["producer --name up-test"]


def test_one_worker_has_all_cores_and_several_share_them(tmp_path: Path) -> None:
    def threads(text: str, cores: int) -> list[str]:
        parts = parts_of(plan_of(tmp_path, text), producer="up", cores=cores)
        return [" ".join(part.words()).partition("--threads ")[2] for part in parts]

    assert threads("workers: 1", 8) == [""]
    assert threads("workers: {}", 8) == [""]
    assert threads("workers: 3", 8) == ["2", "2", "2"]
    assert threads("workers: 3", 2) == ["1", "1", "1"]
    assert threads("workers: {count: 2, threads: 4}", 2) == ["4", "4"]


def test_a_server_of_its_own_has_its_options(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "redis: {data: keep, maxmemory: 2gb}\nworkers: 1")
    assert redis_part(plan).words() == ["redis", "--data", "keep", "--maxmemory", "2gb"]


def test_all_that_is_wrong_is_told_at_once_with_its_line(tmp_path: Path) -> None:
    found = told(tmp_path, WRONG)
    wanted = TOLD.splitlines()
    assert len(found) == len(wanted), "\n".join(found)
    for line, start in zip(found, wanted, strict=True):
        assert line.startswith(start)
    assert "hunter2" not in "".join(found)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "a file of cameras has redis, cameras, workers, jobs and recordings at its top, got nothing"),
        ("[1]", "1: a file of cameras has redis, cameras"),
        (
            "redis: redis://localhost",
            "1: there is nothing to run: it has no cameras, workers, jobs or recordings",
        ),
        ("cameras: 5", "1: cameras must be a map, got 5"),
        ("cameras: {a: }", "1: cameras.a must be a source, or a map with one, got nothing"),
        ("workers: 0", "1: workers.count must be a whole number from 1 to 64, got 0"),
        ("workers: [2]", "1: workers[0] must be a map, got 2"),
        ("jobs: 3", "1: jobs must be a map, got 3"),
        ("recordings: {a: {output: x}}", "1: recordings.a needs cameras: this file has none of its own"),
        (
            "redis: redis://:a#b@h\nworkers: 1",
            "1: redis: cannot use the Redis URL redis://***@h: it cannot be read",
        ),
    ],
)
def test_what_cannot_be(tmp_path: Path, text: str, says: str) -> None:
    (found,) = told(tmp_path, text)
    assert found.startswith(says)


def test_toml_says_the_same(tmp_path: Path) -> None:
    text = '[cameras.gym]\nsource = "0"\n\nrotate = 45\n[[workers]]\ncount = 1\n[[workers]]\n\ncount = 0\n'
    assert told(tmp_path, text, "cameras.toml") == [
        "4: cameras.gym.rotate must be 0, 90, 180 or 270, got 45",
        "9: workers[1].count must be a whole number from 1 to 64, got 0",
    ]


class TestSchema:
    def test_knows_every_option_of_a_camera(self) -> None:
        assert set(CAMERA) == set(CAMERA_FIELDS)

    def test_takes_what_is_right(self) -> None:
        jsonschema.Draft202012Validator.check_schema(json_schema())
        jsonschema.validate(yaml.safe_load(GOOD.replace("webcam: 0", "webcam: '0'")), json_schema())

    def test_finds_nearly_all_that_is_wrong(self, tmp_path: Path) -> None:
        """Each mistake by itself; only placeholders, passwords and sizes in texts are beyond a schema."""
        validator = jsonschema.Draft202012Validator(json_schema())
        wrong: dict[str, dict[str, Any]] = {
            name: {"cameras": {"a": {"source": "0", name: value}}}
            for name, value in {
                "lane": "fast",
                "max_fps": 0,
                "every": 0,
                "max_side": 15,
                "quality": 101,
                "region": [1, 2, 3],
                "rotate": 45,
                "priority": 10,
                "max_age_ms": 0,
                "clock_offset_ms": "3",
                "realtime": 1,
                "reconnect": "yes",
                "timeout_s": 0,
                "paused": 0,
                "fsp": 30,
            }.items()
        }
        wrong |= {
            "source": {"cameras": {"a": {"every": 1}}},
            "name": {"cameras": {"a b": "0"}},
            "workers": {"workers": {"count": 0}},
            "worker": {"workers": [{"modle": "x"}]},
            "jobs": {"jobs": {"max_jobs": 0}},
            "recording": {"recordings": {"a": {"cameras": ["b"]}}},
            "redis": {"redis": "http://localhost", "workers": 1},
            "top": {"cams": {}},
        }
        for name, document in wrong.items():
            assert not validator.is_valid(document), name
            assert told(tmp_path, yaml.safe_dump(document)), name


class TestCommand:
    def test_check_says_what_docs_say(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        page = PAGE.read_text(encoding="utf-8")
        text = page.partition("```yaml\n")[2].partition("```")[0]
        for right, wrong in (("rotate: 90", "rotate: 45"), ("region:", "regoin:"), ("count: 2", "count: 0")):
            text = text.replace(right, wrong, 1)
        (tmp_path / "cameras.yaml").write_text(text)
        monkeypatch.chdir(tmp_path)
        assert run(["config", "check", "cameras.yaml"]) == 2
        said = capsys.readouterr().err
        assert len(said.splitlines()) == 3
        assert f"```text\n{said}```" in page

    def test_check_says_what_a_file_is(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "good.yaml").write_text(GOOD)
        monkeypatch.setenv("KS_TEST_SECRET", "hunter2")
        assert run(["config", "check", str(tmp_path / "good.yaml")]) == 0
        assert capsys.readouterr().out == f"{tmp_path}/good.yaml: 3 cameras, 3 workers, 2 recordings, jobs\n"

    def test_check_notes_secrets_that_are_not_here_and_up_refuses_them(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "good.yaml"
        path.write_text(GOOD)
        monkeypatch.delenv("KS_TEST_SECRET", raising=False)
        missing = [
            f"{path}:1: redis: the variable KS_TEST_SECRET is not set here",
            f"{path}:8: cameras.gym.source: the variable KS_TEST_SECRET is not set here",
        ]
        assert run(["config", "check", str(path)]) == 0
        assert sorted(capsys.readouterr().out.splitlines()[:-1]) == [f"note: {line}" for line in missing]
        assert run(["up", str(path)]) == 2
        assert capsys.readouterr().err.splitlines() == missing

    @pytest.mark.parametrize("command", [["config", "check"], ["up"]])
    def test_a_broken_file_shows_every_error_and_starts_nothing(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str]
    ) -> None:
        path = tmp_path / "cameras.yaml"
        path.write_text(WRONG)
        assert run([*command, str(path)]) == 2
        said = capsys.readouterr()
        assert (said.out, len(said.err.splitlines())) == ("", len(TOLD.splitlines()))
        assert f"{path}:5: cameras.gym.rotate must be 0, 90, 180 or 270, got 45\n" in said.err

    def test_schema_is_json(self) -> None:
        result = CliRunner().invoke(config, ["schema"])
        assert json.loads(result.output) == json_schema()
