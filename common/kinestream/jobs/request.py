"""What can be asked of a job, and when two requests are one.

Pure. Not for: whether the video is there (see `folders.py`), nor for doing it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import PurePosixPath
from typing import Any, Literal, Self, get_args
from urllib.parse import unquote, urlsplit

from kinestream.errors import UsageError
from kinestream.keys import check_camera
from kinestream.placeholders import secret_in

Output = Literal["jsonl", "csv", "video"]
OUTPUTS: tuple[Output, ...] = get_args(Output)
FILES: dict[Output, str] = {"jsonl": "poses.jsonl", "csv": "poses.csv", "video": "annotated.mp4"}
"""The name of each output in the job's folder."""

_ID_DIGITS = 10
"""Of a hash: enough for a million videos, and short enough to be typed."""

_NAME_LENGTH = 40
"""Of what is left of the video's name in the id, which is a camera's name too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOptions:
    """How a video is analysed, and what is made of the poses.

    every       take every Nth frame
    max_side    shrink frames to this many pixels on the long side; poses stay in pixels of the video
    outputs     `jsonl` one record a frame, `csv` one row a person, `video` the skeletons drawn
    min_score   leave people with a lower score out of the csv and the video; jsonl has all
    """

    every: int = 1
    max_side: int | None = None
    outputs: tuple[Output, ...] = ("jsonl",)
    min_score: float = 0.0

    def __post_init__(self) -> None:
        """Raise `UsageError` for what cannot be."""
        if type(self.every) is not int or self.every < 1:
            raise UsageError(f"every must be a whole number of at least 1, got {self.every!r}")
        if self.max_side is not None and (type(self.max_side) is not int or self.max_side < 16):
            raise UsageError(f"max_side must be a whole number of at least 16, got {self.max_side!r}")
        unknown = [name for name in self.outputs if name not in OUTPUTS]
        if unknown or isinstance(self.outputs, str) or not self.outputs:
            raise UsageError(f"outputs are some of {', '.join(OUTPUTS)}, got {self.outputs!r}")
        if type(self.min_score) not in (int, float) or not 0 <= self.min_score <= 1:
            raise UsageError(f"min_score is from 0 to 1, got {self.min_score!r}")

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Self:
        """Read what `as_json` wrote; fields of a newer version are left out."""
        known = {field.name for field in fields(cls)}
        chosen = {name: value for name, value in plain.items() if name in known}
        return cls(**{**chosen, "outputs": _in_order(chosen.get("outputs", ("jsonl",)))})

    def as_json(self) -> str:
        """One text for what is the same, since jobs are told apart by it."""
        return json.dumps({**asdict(self), "min_score": float(self.min_score)})


def _in_order(outputs: Sequence[Output]) -> tuple[Output, ...]:
    """Without repeats, in the order of `OUTPUTS`; what is unknown stays, to be refused by name."""
    return tuple(sorted(set(outputs), key=lambda name: (name not in OUTPUTS, [*OUTPUTS, name].index(name))))


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """One job as it was handed in.

    `kind` is `video`: analyse `video`, a path or a URL; or `export`: make outputs of the poses that the job
    `of` has found. `version` tells two videos of one name apart (size and time of change; empty for a URL).
    """

    kind: Literal["video", "export"]
    video: str
    options: JobOptions
    of: str = ""
    version: str = ""

    def __post_init__(self) -> None:
        """Raise `UsageError` for what nobody can do."""
        if not self.video or not self.video.isprintable() or len(self.video) > 1024:
            raise UsageError(f"a video is a path or URL of at most 1024 characters, got {self.video[:80]!r}")
        if is_url(self.video):
            if "video" in self.options.outputs:
                raise UsageError(
                    "a video behind a URL is read once, as it comes: it cannot be drawn on, so leave out "
                    "the output video"
                )
            secret = "a URL with a password" if "@" in urlsplit(self.video).netloc else secret_in(self.video)
            if secret:
                raise UsageError(f"{secret} would be stored for everybody to read: leave it out")

    def job_id(self, salt: str = "") -> str:
        """The name of this job, which is its camera's too: the same for the same request, unless `salt`ed."""
        facts = [self.kind, self.video, self.version, self.of, self.options.as_json(), salt]
        digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:_ID_DIGITS]
        path = unquote(urlsplit(self.video).path) if is_url(self.video) else self.video
        stem = re.sub(r"[^A-Za-z0-9_.-]+", "-", PurePosixPath(path).stem)[:_NAME_LENGTH].strip("-_.")
        return check_camera(f"{stem or 'video'}-{digest}")


def is_url(video: str) -> bool:
    """Whether it is behind a URL, and not a path."""
    return video.startswith(("http://", "https://"))
