"""Every error that Kinestream raises on purpose, grouped by who can mend it.

Not for: bugs. Those keep their own type and their traceback.

    KinestreamError
      UsageError                  the person at the keyboard: a wrong option, path, URL
        SourceError               … a camera or file that cannot be opened or read
        ModelError                … a model file that is missing, or is not what the engine expects
      MessageError                whoever packed these bytes: a broken, hostile or oversized message
        UnsupportedVersion        … or a newer Kinestream than this one: upgrade this one
      RedisUnavailable            the operator: no server there, or none that may be used
      DeliveryError               nobody: the pipeline moved on, and the caller must follow
        Fenced                    … another producer has begun a newer run of this camera
        RunLost                   … Redis came back with less than it had acknowledged
      EngineError                 the operator: the model, its runtime or its device failed
"""

from __future__ import annotations


class KinestreamError(Exception):
    """Base of all errors raised on purpose; its text is one line fit for a user."""


class UsageError(KinestreamError):
    """What was asked for cannot be done; the command ends with exit code 2."""


class SourceError(UsageError):
    """A source (file, camera, URL) is unknown, missing or undecodable."""


class ModelError(UsageError):
    """A model file is missing, unreadable, or does not follow the engine's contract."""


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
