"""Every error that Kinestream raises on purpose, grouped by who can mend it.

Not for: bugs. Those keep their own type and their traceback.

    KinestreamError
      UsageError                  the person at the keyboard: a wrong option, path, URL
        SourceError               … a camera or file that cannot be opened or read
        ModelError                … a model file that is missing, or is not what the engine expects
        SpecError                 … what was said about a camera, with every field that is wrong
      MessageError                whoever packed these bytes: a broken, hostile or oversized message
        UnsupportedVersion        … or a newer Kinestream than this one: upgrade this one
      RedisUnavailable            the operator: no server there, or none that may be used
      DeliveryError               nobody: the pipeline moved on, and the caller must follow
        Fenced                    … another producer has begun a newer run of this camera
        RunLost                   … Redis came back with less than it had acknowledged
      EngineError                 the operator: the model, its runtime or its device failed
      JobFailed                   whoever handed the job in, or the operator: its text says why
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


class KinestreamError(Exception):
    """Base of all errors raised on purpose; its text is one line fit for a user."""


class UsageError(KinestreamError):
    """What was asked for cannot be done; the command ends with exit code 2."""


class SourceError(UsageError):
    """A source (file, camera, URL) is unknown, missing or undecodable."""


class ModelError(UsageError):
    """A model file is missing, unreadable, or does not follow the engine's contract."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one field of something, and its name."""

    field: str
    text: str

    def __str__(self) -> str:
        return f"{self.field}: {self.text}"


class SpecError(UsageError):
    """What was said about a camera cannot be; `errors` has every field that is wrong."""

    def __init__(self, name: str, errors: Iterable[FieldError]) -> None:
        self.errors = tuple(errors)
        shown = "; ".join(map(str, self.errors))
        super().__init__(f"camera {name if len(name) <= 80 else name[:80] + '…'!r}: {shown}")


class MessageError(KinestreamError):
    """Bytes are not a valid message, or break one of its limits."""


class UnsupportedVersion(MessageError):
    """A message of a newer major version: not poison, but a reason to upgrade this process."""


class RedisUnavailable(KinestreamError):
    """No Redis server answered, or none can be started here."""


class DeliveryError(KinestreamError):
    """The delivery scripts refused a step."""


class Fenced(DeliveryError):
    """A newer run of this camera has begun, so this producer must stop."""


class RunLost(DeliveryError):
    """Redis knows less of this run than it had acknowledged: the producer begins a new run.

    `known` is the number of frames that Redis remembers.
    """

    def __init__(self, camera: str, run: int, acknowledged: int, known: int) -> None:
        super().__init__(
            f"{camera}: Redis acknowledged {acknowledged} frames of run {run} and remembers {known}"
        )
        self.known = known


class EngineError(KinestreamError):
    """The inference engine failed."""


class JobFailed(KinestreamError):
    """A job ended without its results: it failed, or it was aborted."""
