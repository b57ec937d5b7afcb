"""The two messages of Kinestream: `Frame` on the way in, `PoseResult` on the way out.

Both are msgpack maps with spelled-out field names and a major version, so that any language with a stock
msgpack library can read and write them: no extension types, no integer of 2^53 or more. Unknown fields are
ignored; a field that has a default here may be left out or be null. `docs/protocol.md` tells the same to
other languages.

Pixels: (0, 0) is the corner of the first pixel, pixel centres lie at +0.5, always in the source image. The
constructors check, so that a message that exists can be packed and read back: `MessageError` if not.

Not for: how messages travel (see `delivery.py`), nor for decoding images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from kinestream import fields
from kinestream.errors import MessageError, UsageError
from kinestream.imageheader import encoded_size
from kinestream.keys import check_camera
from kinestream.packing import arguments, check_version, pack_map, packed_fields, plain, unpack_map
from kinestream.skeletons import SKELETONS

VERSION = 1
"""The major version of both messages; a reader refuses a newer one and accepts every older one."""

MAX_FRAME_BYTES = 32 * 2**20
"""One packed frame; a 12-megapixel JPEG of best quality has about 10 MB."""

MAX_DATA_BYTES = MAX_FRAME_BYTES - 64 * 2**10
"""The encoded image of a frame; what is left holds the other fields, those of later versions included."""

MAX_RESULT_BYTES = 4 * 2**20
"""One packed result; 256 people of 256 keypoints have 1.8 MB."""

MAX_PIXELS = 50_000_000
"""Pixels of one image, read from its header before anything is allocated; 8K video has 33 million."""

ANY_CAMERA = "*"
"""The camera of a `missing` record that stands for records of unknown cameras; no camera has this name."""

MAX_PEOPLE = 256
MAX_KEYPOINTS = 256
MAX_TIMINGS = 32

_FRAME_LISTS = 64  # a frame has two; the rest is room for fields of later versions
_RESULT_LISTS = MAX_PEOPLE * (MAX_KEYPOINTS + 3) + _FRAME_LISTS
_ROUNDING = 1e-6  # pixels by which a view of broken numbers may overlap the source's edge

Codec = Literal["jpeg", "png", "raw"]
Lane = Literal["live", "every-frame"]
Status = Literal["ok", "dropped", "stale", "failed", "lost", "end", "missing"]

CODECS: tuple[Codec, ...] = ("jpeg", "png", "raw")
LANES: tuple[Lane, ...] = ("live", "every-frame")
STATUSES: tuple[Status, ...] = ("ok", "dropped", "stale", "failed", "lost", "end", "missing")


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One encoded image of a camera.

    `captured_us` is wall clock in microseconds, `media_time_s` the position in a file or None, `width` and
    `height` the size of the source image in pixels. `view` (x, y, w, h) is the rectangle of the source that
    the encoded image shows, which may be cropped or resized; with codec `raw` (BGR bytes, rows top-down) it
    is not resized. An image is taken as it is stored: an EXIF orientation does not count. `origin` names the
    frame, as camera/run-seq, that this one was made from when it was put back to work. `clock` says what
    `captured_us` is by: `camera` (its own clock), `arrival`, `file`, `made` (a test card's), or nobody said.
    """

    camera: str
    run: int
    seq: int
    captured_us: int
    width: int
    height: int
    view: tuple[float, float, float, float]
    codec: Codec
    data: bytes = field(repr=False)
    lane: Lane
    media_time_s: float | None = None
    encoded_ms: float = 0.0
    origin: str = ""
    clock: str = ""
    _encoded_size: tuple[int, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check every field and the image's header; nothing is decoded. Raises `MessageError`."""
        _check_camera(self.camera)
        fields.integer("run", self.run, low=1)
        fields.integer("seq", self.seq)
        fields.integer("captured_us", self.captured_us)
        fields.integer("width", self.width, low=1)
        fields.integer("height", self.height, low=1)
        _set(self, "view", fields.numbers("view", self.view, 4))
        fields.choice("codec", self.codec, CODECS)
        fields.binary("data", self.data, max_bytes=MAX_DATA_BYTES)
        fields.choice("lane", self.lane, LANES)
        _set(self, "media_time_s", fields.optional_number("media_time_s", self.media_time_s))
        _set(self, "encoded_ms", fields.number("encoded_ms", self.encoded_ms))
        fields.text("origin", self.origin)
        fields.text("clock", self.clock)
        if self.width * self.height > MAX_PIXELS:
            raise MessageError(f"a source may have {MAX_PIXELS} pixels, got {self.width}x{self.height}")
        x, y, w, h = self.view
        right, bottom = self.width + _ROUNDING, self.height + _ROUNDING
        if x < 0 or y < 0 or w <= 0 or h <= 0 or x + w > right or y + h > bottom:
            raise MessageError(f"view {list(self.view)} does not lie inside {self.width}x{self.height}")
        columns, rows = self._read_size()
        _set(self, "_encoded_size", (columns, rows))
        if columns * rows > MAX_PIXELS:
            raise MessageError(f"an image may have {MAX_PIXELS} pixels, this one claims {columns}x{rows}")

    def encoded_size(self) -> tuple[int, int]:
        """Width and height of the encoded image in pixels, from its header alone."""
        return self._encoded_size

    def _read_size(self) -> tuple[int, int]:
        if self.codec != "raw":
            return encoded_size(self.codec, self.data)
        columns, rows = int(self.view[2]), int(self.view[3])
        if (columns, rows) != self.view[2:] or len(self.data) != 3 * columns * rows:
            raise MessageError(
                f"a raw image of {self.view[2]:g}x{self.view[3]:g} has 3 bytes a pixel, got {len(self.data)}"
            )
        return columns, rows

    def pack(self) -> bytes:
        """Return the message as msgpack bytes."""
        return pack_map({"version": VERSION} | plain(self, _FRAME_FIELDS))

    @classmethod
    def unpack(cls, packed: bytes) -> Frame:
        """Read a message; raises `MessageError` for bytes that are not a valid frame within the limits."""
        message = unpack_map(packed, max_bytes=MAX_FRAME_BYTES, max_lists=_FRAME_LISTS)
        check_version(message, VERSION)
        return cls(**arguments(message, _FRAME_FIELDS))


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """One person: `box` (x1, y1, x2, y2) in source pixels, `score` 0 to 1, each keypoint (x, y, score)."""

    box: tuple[float, float, float, float]
    score: float
    keypoints: fields.Points

    def __post_init__(self) -> None:
        """Check every field; raises `MessageError`."""
        _set(self, "box", fields.numbers("box", self.box, 4))
        _set(self, "score", fields.number("score", self.score))
        _set(self, "keypoints", fields.points("keypoints", self.keypoints, max_count=MAX_KEYPOINTS))


@dataclass(frozen=True, slots=True, kw_only=True)
class PoseResult:
    """What became of one frame, or of frames `seq` to `seq_to` (inclusive) where a record stands for several.

    status   what it says
    ok       inferred: `people` are the poses, none when nobody is there
    dropped  given up on by the producer or by a full live lane; `cause` says why
    stale    a live frame that was too old to be worth inferring
    failed   undecodable, or the engine failed on it; the frame itself is among the dead letters
    lost     Redis lost it
    end      the run is over: `seq` is its number of frames; what has not come from `lost_from` on never will
    missing  made by `subscribe`, never sent: records were trimmed, or did not come in time

    `timings` are milliseconds: encoded, queued, decoded, waited, inferred. `batch` is the number of frames
    that were inferred together, `deliveries` how often this one was given to a worker, `origin` and `clock`
    are those of the frame. `cursor` and `committed_ms` (Redis's clock) are filled in by `subscribe` and not
    packed.
    """

    camera: str
    run: int
    seq: int
    status: Status
    seq_to: int | None = None
    captured_us: int | None = None
    media_time_s: float | None = None
    width: int | None = None
    height: int | None = None
    cause: str = ""
    model: str = ""
    skeleton: str = ""
    people: tuple[Person, ...] = ()
    timings: dict[str, float] = field(default_factory=dict)
    worker: str = ""
    batch: int = 0
    deliveries: int = 0
    lost_from: int | None = None
    origin: str = ""
    clock: str = ""
    cursor: str = field(default="", compare=False)
    committed_ms: int | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        """Check every field, and that they do not contradict one another; raises `MessageError`."""
        if (self.status, self.camera) != ("missing", ANY_CAMERA):
            _check_camera(self.camera)
        fields.integer("run", self.run, low=1)
        fields.integer("seq", self.seq)
        fields.choice("status", self.status, STATUSES)
        fields.optional_integer("seq_to", self.seq_to, low=self.seq)
        fields.optional_integer("captured_us", self.captured_us)
        _set(self, "media_time_s", fields.optional_number("media_time_s", self.media_time_s))
        fields.optional_integer("width", self.width, low=1)
        fields.optional_integer("height", self.height, low=1)
        for name in ("cause", "model", "skeleton", "worker", "origin", "clock"):
            fields.text(name, getattr(self, name))
        _set(self, "people", _check_people(self.people, self.skeleton))
        _set(self, "timings", fields.named_numbers("timings", self.timings, max_count=MAX_TIMINGS))
        fields.integer("batch", self.batch)
        fields.integer("deliveries", self.deliveries)
        fields.optional_integer("lost_from", self.lost_from)
        if self.people and self.status != "ok":
            raise MessageError(f"only an ok result has people, this one is {self.status}")
        if self.seq_to is not None and self.status in ("ok", "end"):
            raise MessageError(f"a record of status {self.status} has no seq_to")
        if self.lost_from is not None and self.status != "end":
            raise MessageError(f"only an end has lost_from, this record is {self.status}")

    @property
    def frames(self) -> int:
        """How many frames this record accounts for; an `end` accounts for none."""
        return 0 if self.status == "end" else self.last - self.seq + 1

    @property
    def last(self) -> int:
        """The last seq that this record stands for."""
        return self.seq if self.seq_to is None else self.seq_to

    def as_dict(self) -> dict[str, Any]:
        """The message as plain dicts and lists, as it is packed and as JSON lines show it."""
        people = [plain(person, _PERSON_FIELDS) for person in self.people]
        return {"version": VERSION} | plain(self, _RESULT_FIELDS) | {"people": people}

    def pack(self) -> bytes:
        """Return the message as msgpack bytes."""
        return pack_map(self.as_dict())

    @classmethod
    def unpack(cls, packed: bytes) -> PoseResult:
        """Read a message; raises `MessageError` for bytes that are not a valid result within the limits."""
        return cls.from_dict(unpack_map(packed, max_bytes=MAX_RESULT_BYTES, max_lists=_RESULT_LISTS))

    @classmethod
    def from_dict(cls, message: Mapping[str, Any]) -> PoseResult:
        """Read what `as_dict` gave, e.g. one parsed JSON line; the same checks and errors as `unpack`."""
        check_version(message, VERSION)
        given = arguments(message, _RESULT_FIELDS)
        people = fields.items("people", given.get("people", ()), max_count=MAX_PEOPLE)
        return cls(**given | {"people": tuple(_person(i, person) for i, person in enumerate(people))})


def packed_drop(frame: Frame, cause: str) -> bytes:
    """The packed record which says that this frame was dropped; made for every frame, and needed for few.

    What it tells was checked when the frame was made, so it is not checked again.
    """
    told = {name: getattr(frame, name) for name in _TOLD_OF_DROPPED}
    return pack_map({"version": VERSION, "status": "dropped", "cause": cause} | told)


def _person(index: int, message: Mapping[str, Any]) -> Person:
    try:
        return Person(**arguments(message, _PERSON_FIELDS))
    except MessageError as error:
        raise MessageError(f"people[{index}]: {error}") from error


def _check_people(people: Any, skeleton: str) -> tuple[Person, ...]:
    known = SKELETONS.get(skeleton)
    for person in fields.items("people", people, max_count=MAX_PEOPLE):
        if not isinstance(person, Person):
            raise fields.wrong("people", "a tuple of Person", person)
        if known and len(person.keypoints) != len(known.names):
            raise MessageError(f"{skeleton} has {len(known.names)} keypoints, got {len(person.keypoints)}")
    return tuple(people)


def _check_camera(name: str) -> None:
    try:
        check_camera(fields.text("camera", name))
    except UsageError as error:
        raise MessageError(str(error)) from error


def _set(message: Frame | Person | PoseResult, name: str, value: object) -> None:
    # In no other way can a frozen dataclass give a field its plain form.
    object.__setattr__(message, name, value)


_FRAME_FIELDS = packed_fields(Frame)
_TOLD_OF_DROPPED = (
    "camera",
    "run",
    "seq",
    "captured_us",
    "media_time_s",
    "width",
    "height",
    "origin",
    "clock",
)
_PERSON_FIELDS = packed_fields(Person)
_RESULT_FIELDS = packed_fields(PoseResult)
