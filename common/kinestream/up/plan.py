"""What a file may say, and what it says: cameras, workers, jobs, recordings, and their Redis, checked whole.

Everything that is wrong is found at once. Not for: reading the file (`document.py`), nor running anything
(`parts.py`).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from kinestream.cameraspec import FIELDS, CameraSpec
from kinestream.errors import SpecError, UsageError
from kinestream.keys import check_camera
from kinestream.placeholders import fill_secrets
from kinestream.redisurl import check_url
from kinestream.up.document import ConfigError, Document, Place, Problem
from kinestream.up.options import Option, number, shown, switch, text, texts, whole

SECTIONS = ("redis", "cameras", "workers", "jobs", "recordings")

IGNORED_PREFIX = "x-"
"""Of names at the top that are nobody's: a place for YAML's anchors, as in compose files."""

CAMERA_FIELDS = tuple(name for name in FIELDS if name not in ("name", "producer"))
"""A camera's name is its key, and its producer is the one that `up` starts."""

WORKERS: Mapping[str, Option] = {
    "count": whole("How many of them to run.", 1, 64),
    "model": text("A name of `kinestream models list`, or a file.", flag="--model"),
    "engine": text("Engine of the model, such as rtmo.", flag="--engine"),
    "runtime": text("What runs an ONNX file: onnxruntime or openvino.", flag="--runtime"),
    "precision": text("What it is computed in: fp32, fp16 or bf16.", flag="--precision"),
    "device": text("Where to infer: auto, cpu, cuda, tensorrt, …", flag="--device"),
    "require_device": switch("End if the device does not come up.", flag="--require-device"),
    "threads": whole("Threads of one inference on a CPU.", 1, flag="--threads"),
    "target_p95_ms": replace(
        number("Latency target, milliseconds.", 0, above=True, flag="--target-p95"), unit="ms"
    ),
    "max_batch": whole("Frames inferred together, at most.", 1, 256, flag="--max-batch"),
    "max_wait_ms": number("How long a frame waits for others.", 0, 10_000, flag="--max-wait-ms"),
    "max_age_ms": number("Age limit of live frames, milliseconds.", 0, flag="--max-age-ms"),
    "lease_ms": whole("Lease of a held frame, the same for all.", 100, flag="--lease-ms"),
    "engine_timeout_s": number(
        "An engine that is at one batch for longer hangs.", 1, flag="--engine-timeout-s"
    ),
}
JOBS: Mapping[str, Option] = {
    "videos": text("Read only videos in this folder.", flag="--videos"),
    "outputs": text("Where results go, a folder a job.", flag="--outputs"),
    "allow_hosts": texts("Hosts from which videos may be read.", flag="--allow-host"),
    "max_jobs": whole("Jobs done at the same time.", 1, 64, flag="--max-jobs"),
    "keep": text("How long results are kept, such as 7d.", flag="--keep"),
}
RECORDING: Mapping[str, Option] = {
    "cameras": texts("Cameras of this file, or others; without it all of this file."),
    "output": text("Folder, in which each recording gets a folder of its own."),
    "video": switch("Write annotated.mp4 as well."),
    "until_end": switch("End when every camera's run is over."),
}
REDIS: Mapping[str, Option] = {
    "data": text("Keep what is in the server in this folder.", flag="--data"),
    "maxmemory": text("Most memory that the server may use, such as 2gb.", flag="--maxmemory"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One `kinestream record`."""

    name: str
    cameras: tuple[str, ...]
    output: str
    video: bool = True
    until_end: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a file says. `workers` has one map of options for each kind, `count` included.

    `redis_url` is as it is written, with placeholders; None is a server of `up`'s own, with the options
    `redis`.
    """

    redis_url: str | None = None
    redis: Mapping[str, Any] = field(default_factory=dict)
    cameras: tuple[CameraSpec, ...] = ()
    workers: tuple[Mapping[str, Any], ...] = ()
    jobs: Mapping[str, Any] | None = None
    recordings: tuple[Recording, ...] = ()

    @property
    def worker_count(self) -> int:
        return sum(kind.get("count", 1) for kind in self.workers)

    def __str__(self) -> str:
        counts = [
            (len(self.cameras), "camera"),
            (self.worker_count, "worker"),
            (len(self.recordings), "recording"),
        ]
        told = [f"{count} {what}{'s' * (count != 1)}" for count, what in counts]
        return ", ".join([*told, "jobs" if self.jobs is not None else "no jobs"])


def make_plan(document: Document, *, producer: str) -> Plan:
    """Check what a file says; its cameras are `producer`'s. Raises `ConfigError` with all that is wrong."""
    checking = _Checking(document, producer)
    plan = checking.plan()
    if checking.problems:
        raise ConfigError(checking.problems)
    return plan


def missing_secrets(document: Document, plan: Plan) -> list[Problem]:
    """Placeholders of the file that cannot be filled in here."""
    wanted: list[tuple[Place, str]] = [
        (("cameras", spec.name, "source"), spec.source) for spec in plan.cameras
    ]
    if plan.redis_url is not None:
        wanted.append((("redis",), plan.redis_url))
    problems = []
    for place, written in wanted:
        try:
            fill_secrets(written)
        except UsageError as error:
            problems.append(document.problem(place, str(error).replace(", which the source needs,", "")))
    return problems


class _Checking:
    """Goes through a document; `problems` is what was found."""

    def __init__(self, document: Document, producer: str) -> None:
        self.problems: list[Problem] = []
        self._document = document
        self._producer = producer

    def plan(self) -> Plan:
        top = self._document.value
        if not isinstance(top, dict) or not top:
            self._wrong((), f"a file of cameras has {_listed(SECTIONS)} at its top, got {shown(top)}")
            return Plan()
        self._unknown((), (name for name in top if not name.startswith(IGNORED_PREFIX)), SECTIONS)
        url, redis = self._redis(top.get("redis"))
        cameras = self._cameras(top.get("cameras", {}))
        plan = Plan(
            redis_url=url,
            redis=redis,
            cameras=cameras,
            workers=self._workers(top.get("workers", [])),
            jobs=self._jobs(top.get("jobs", False)),
            recordings=self._recordings(top.get("recordings", {}), [spec.name for spec in cameras]),
        )
        if not self.problems and plan == Plan(redis_url=url, redis=redis):
            self._wrong((), "there is nothing to run: it has no cameras, workers, jobs or recordings")
        return plan

    def _wrong(self, place: Place, text: str) -> None:
        self.problems.append(self._document.problem(place, text))

    def _unknown(self, place: Place, names: Iterable[str], known: Sequence[str]) -> None:
        for name in names:
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                hint = f"did you mean {near[0]}?" if near else f"there are {_listed(known)}"
                self._wrong((*place, name), f"no such option; {hint}")

    def _map(self, place: Place, value: Any) -> dict[str, Any]:
        if isinstance(value, dict):
            return value
        self._wrong(place, f"must be a map, got {shown(value)}")
        return {}

    def _options(self, place: Place, value: Any, options: Mapping[str, Option]) -> dict[str, Any]:
        """The options of a map that are right."""
        given = self._map(place, value)
        self._unknown(place, given, tuple(options))
        right = {}
        for name, one in given.items():
            if name not in options:
                continue
            if why := options[name].wrong(one):
                self._wrong((*place, name), why)
            else:
                right[name] = one
        return right

    def _redis(self, value: Any) -> tuple[str | None, dict[str, Any]]:
        if value is None:
            return None, {}
        if not isinstance(value, str):
            return None, self._options(("redis",), value, REDIS)
        if not value.startswith(("redis://", "rediss://", "unix://")):
            self._wrong(
                ("redis",), "must be a URL, redis://, rediss:// or unix://, or a map of data and maxmemory"
            )
        elif "${" not in value:
            try:
                check_url(value)
            except UsageError as error:
                self._wrong(("redis",), str(error))
        return value, {}

    def _cameras(self, value: Any) -> tuple[CameraSpec, ...]:
        found = []
        for name, said in self._map(("cameras",), value).items():
            place = ("cameras", name)
            given = said if isinstance(said, dict) else {"source": said}
            if type(given.get("source")) is int:  # a webcam, as one would type it
                given = given | {"source": str(given["source"])}
            if not isinstance(said, dict) and not isinstance(given["source"], str):
                self._wrong(place, f"must be a source, or a map with one, got {shown(said)}")
                continue
            self._unknown(place, given, CAMERA_FIELDS)
            plain = {key: one for key, one in given.items() if key in CAMERA_FIELDS}
            if plain.get("source") is None:
                plain["source"] = "missing"
                self._wrong(place, "needs a source")
            try:
                found.append(CameraSpec.from_plain(plain | {"name": name, "producer": self._producer}))
            except SpecError as error:
                for one in error.errors:
                    whole_place = one.field == "name" or not isinstance(said, dict)
                    where = place if whole_place else (*place, one.field)
                    self._wrong(where, one.text)
        return tuple(found)

    def _workers(self, value: Any) -> tuple[dict[str, Any], ...]:
        if type(value) is int:
            value = {"count": value}
        several = isinstance(value, list)
        kinds = value if isinstance(value, list) else [value]
        found: list[dict[str, Any]] = []
        for index, kind in enumerate(kinds):
            place: Place = ("workers", index) if several else ("workers",)
            found.append(self._options(place, kind, WORKERS))
            lease = found[-1].get("lease_ms")
            if lease != found[0].get("lease_ms"):
                self._wrong((*place, "lease_ms"), "must be the same for all workers")
        return tuple(found)

    def _jobs(self, value: Any) -> dict[str, Any] | None:
        if value is False:
            return None
        return {} if value is True or value is None else self._options(("jobs",), value, JOBS)

    def _recordings(self, value: Any, cameras: Sequence[str]) -> tuple[Recording, ...]:
        found = []
        for name, said in self._map(("recordings",), value).items():
            place = ("recordings", name)
            given = self._options(place, said, RECORDING)
            chosen = given.get("cameras", cameras)
            for index, camera in enumerate(chosen):
                try:
                    check_camera(camera)
                except UsageError as error:
                    self._wrong((*place, "cameras", index), str(error))
            if isinstance(said, dict) and "output" not in said:
                self._wrong(place, "needs an output, the folder to write to")
            elif not chosen and not self.problems:
                self._wrong(place, "needs cameras: this file has none of its own")
            else:
                output = given.pop("output", "")
                found.append(Recording(**given | {"name": name, "cameras": tuple(chosen), "output": output}))
        return tuple(found)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + f" and {names[-1]}"
