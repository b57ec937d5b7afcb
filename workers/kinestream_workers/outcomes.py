"""The records that a worker publishes about a frame: ok, stale, failed, or dropped under load. Not for: how
they are published.
"""

from __future__ import annotations

import traceback
from dataclasses import replace

from kinestream.errors import MessageError
from kinestream.held import Held, Outcome
from kinestream.messages import Frame, Person, PoseResult

UNDECODABLE = "undecodable"
"""Cause: the message or its image cannot be read; another attempt would end the same way."""

ENGINE_FAILED = "engine-failed"
"""Cause: the engine failed on this frame, alone, as often as it was tried."""

UNPREPARED = "unprepared"
"""Cause: decoding ended with an error that no frame should cause, as often as it was tried."""

GIVEN_UP = "given-up"
"""Cause: delivered again and again, and no worker lived to tell the outcome."""

TOO_OLD = "too-old"
"""Cause: a live frame waited for so long that nobody wants to see it any more."""

LOAD = "load"
"""Cause: more live frames came than can be served within the latency target, and this one was late
already.
"""

_FACTS = ("captured_us", "media_time_s", "width", "height", "origin", "clock")


def ok(
    held: Held,
    frame: Frame,
    people: tuple[Person, ...],
    *,
    model: str,
    skeleton: str,
    worker: str,
    batch: int,
    timings: dict[str, float],
) -> Outcome:
    """The poses of a frame; no people if nobody is there. `timings` are milliseconds."""
    return Outcome(
        held,
        PoseResult(
            camera=held.camera,
            run=held.run,
            seq=held.seq,
            status="ok",
            captured_us=frame.captured_us,
            media_time_s=frame.media_time_s,
            width=frame.width,
            height=frame.height,
            people=people,
            model=model,
            skeleton=skeleton,
            worker=worker,
            batch=batch,
            deliveries=held.deliveries,
            timings={name: round(ms, 3) for name, ms in timings.items()},
            origin=frame.origin,
            clock=frame.clock,
        ),
    )


def late(held: Held, *, worker: str) -> Outcome:
    """A live frame that could not make the latency target any more, and was never fetched.

    What is known of it stands in the record that its producer made beforehand.
    """
    result = _without_poses(held, None, "dropped", LOAD, worker)
    try:
        beforehand = PoseResult.unpack(held.packed)
    except MessageError:  # another maker's mistake; the name comes from the stream
        return Outcome(held, result)
    facts = {name: getattr(beforehand, name) for name in _FACTS}
    return Outcome(held, replace(result, **facts))


def stale(held: Held, frame: Frame, *, worker: str) -> Outcome:
    """A live frame past its age limit."""
    return Outcome(held, _without_poses(held, frame, "stale", TOO_OLD, worker))


def failed(
    held: Held, frame: Frame | None, cause: str, error: BaseException, *, worker: str, model: str
) -> Outcome:
    """A frame that is given up on; it goes to the dead letters with the error and its traceback."""
    return Outcome(
        held,
        replace(_without_poses(held, frame, "failed", cause, worker), model=model),
        error=f"{type(error).__name__}: {error}",
        traceback="".join(traceback.format_exception(error)),
    )


def _without_poses(held: Held, frame: Frame | None, status: str, cause: str, worker: str) -> PoseResult:
    """The name comes from the stream, so that it is right even if the message is garbage."""
    return PoseResult(
        camera=held.camera,
        run=held.run,
        seq=held.seq,
        status=status,  # type: ignore[arg-type]
        cause=cause,
        worker=worker,
        deliveries=held.deliveries,
        captured_us=frame.captured_us if frame else None,
        media_time_s=frame.media_time_s if frame else None,
        width=frame.width if frame else None,
        height=frame.height if frame else None,
        timings={"queued": round(held.queued_ms, 3)},
        origin=frame.origin if frame else "",
        clock=frame.clock if frame else "",
    )
