"""Poses within one process: picture in, people out. No Redis, no worker, one camera.

    with RealTimePoseEstimator() as estimator:
        result = estimator.process_frame(cv2.imread("people.jpg"))
        print(result.keypoints.shape, result.scores.shape)

The same engines, models and devices as `kinestream worker`, by the same words. docs/in-process.md says when
this is enough. Not for: several cameras, nor for keeping every frame of a source: that is what the pipeline
is for.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import replace
from types import TracebackType
from typing import Self, TypedDict, Unpack

import numpy as np

from kinestream.drawing import DEFAULT_THRESHOLD, draw_people, write_line
from kinestream.errors import UsageError
from kinestream.messages import Person
from kinestream_workers.decoding import moved
from kinestream_workers.engines import EngineOptions, Image, open_engine, warm_up
from kinestream_workers.estimate import Estimate, arrays
from kinestream_workers.pictures import checked, shrunk

_log = logging.getLogger(__name__)

FPS_CALLS = 30
"""Calls that `Estimate.fps` looks back on: about a second of a camera, so it can be read, and yet follows."""

MIN_SIDE = 16
"""Pixels. The least that `max_side` may be, as for `kinestream ingest --max-side`."""


class Asked(TypedDict, total=False):
    """What a webcam may be asked for, see `kinestream.webcam.open_webcam`."""

    width: int
    height: int
    fps: float
    format: str


class RealTimePoseEstimator:
    """Finds people in pictures, one after the other. A context manager; `close` gives the model back.

    model, mode, engine, device, require_device, threads, runtime, precision
                what `kinestream worker` takes: a model's name or file, and where and how it shall run
    every       look at every Nth picture; those in between get the newest result again, marked `repeated`
    max_side    shrink pictures whose longer side has more pixels; results stay in pixels of the picture given

    The model is loaded and warmed up when this returns, so the first picture costs no more than the others.
    One call at a time: threads need an estimator each, or a lock.

    Raises `UsageError` for settings that cannot be, and what `open_engine` raises: `ModelError`,
    `EngineError`.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] = "auto",
        *,
        mode: str | None = None,
        device: str = "auto",
        require_device: bool = False,
        engine: str | None = None,
        threads: int | None = None,
        runtime: str = "onnxruntime",
        precision: str = "fp32",
        every: int = 1,
        max_side: int | None = None,
    ) -> None:
        if every < 1:
            raise UsageError(f"every must be at least 1, got {every}")
        if max_side is not None and max_side < MIN_SIDE:
            raise UsageError(f"max_side must be at least {MIN_SIDE} pixels, got {max_side}")
        self._every = every
        self._max_side = max_side
        self._calls = 0
        self._call_times_s: deque[float] = deque(maxlen=FPS_CALLS + 1)
        self._newest: Estimate | None = None
        self._closed = False
        options = EngineOptions(
            device=device,
            require_device=require_device,
            threads=threads,
            runtime=runtime,
            precision=precision,
        )
        self._engine = open_engine(model, options, engine=engine, mode=mode)
        try:
            cost_ms = warm_up(self._engine, 1)[1]
            self._memory = self._engine.new_batch(1)
        except BaseException:
            self.close()
            raise
        _log.info("%s, %.1f ms a picture", self._engine.description, cost_ms)

    @property
    def description(self) -> str:
        """One line: which model came up on what."""
        return self._engine.description

    def process_frame(self, image: Image, timestamp: float | None = None) -> Estimate:
        """Find the people in a picture: BGR, uint8 [rows, columns, 3], as OpenCV gives it.

        `timestamp` is when it was taken, in seconds since 1970; without it, that is now.

        Raises `ValueError` for what is no such picture, `EngineError` if the engine fails, `RuntimeError`
        after `close`.
        """
        if self._closed:
            raise RuntimeError("this estimator is closed")
        image = checked(image)
        if timestamp is None:
            timestamp = time.time()
        self._call_times_s.append(time.monotonic())
        turn, self._calls = self._calls % self._every, self._calls + 1
        if turn and self._newest:
            keypoints, scores = arrays(self._newest.people, self._newest.skeleton)
            return replace(self._newest, keypoints=keypoints, scores=scores, fps=self._fps(), repeated=True)
        rows, columns = image.shape[:2]
        people = self._people(image)
        keypoints, scores = arrays(people, self._engine.skeleton)
        self._newest = Estimate(
            timestamp=timestamp,
            keypoints=keypoints,
            scores=scores,
            people=people,
            skeleton=self._engine.skeleton,
            width=columns,
            height=rows,
            fps=self._fps(),
        )
        return self._newest

    def draw_skeleton(
        self, image: Image, result: Estimate, threshold: float = DEFAULT_THRESHOLD, *, in_place: bool = False
    ) -> Image:
        """Return the picture with people drawn on it: boxes, limbs, keypoints that score `threshold` or more.

        `image` may have another size than the picture that was processed, and is not changed unless
        `in_place`. Raises `ValueError` if it is no BGR picture.
        """
        drawn = np.array(checked(image))
        view = (0.0, 0.0, float(result.width), float(result.height))
        draw_people(drawn, result.people, result.skeleton, view=view, threshold=threshold)
        if not in_place:
            return drawn
        np.copyto(image, drawn)
        return image

    def webcam_results(
        self, device: int | str = 0, **asked: Unpack[Asked]
    ) -> Generator[tuple[Image, Estimate], None, None]:
        """Yield a webcam's pictures and the people in them, for ever; leaving the loop closes the webcam.

            for image, result in estimator.webcam_results():
                print(result.timestamp, len(result.people))

        `device` is its number or path; `width`, `height`, `fps` and `format` may be asked for, as
        `open_webcam` takes them. Pictures that come while another one is processed are left out, so that the
        next one is fresh. The webcam is opened when the first result is asked for.

        Raises `SourceError` if it cannot be opened, or is gone.
        """
        from kinestream.webcam import open_webcam
        from kinestream_workers.newest import Newest

        with open_webcam(device, **asked) as webcam, Newest(webcam) as newest:
            _log.info("%s", webcam.summary)
            while True:
                image, taken_s = newest.read()
                yield image, self.process_frame(image, timestamp=taken_s)

    def process_webcam(
        self,
        device: int | str = 0,
        *,
        show: bool = True,
        on_result: Callable[[Estimate], object] | None = None,
        threshold: float = DEFAULT_THRESHOLD,
        **asked: Unpack[Asked],
    ) -> None:
        """Show a webcam's people in a window until q or Esc is pressed, or the window is closed.

        Each result is given to `on_result` as well. With show=False there is no window, and it goes on until
        `on_result` raises, or Ctrl-C does; `webcam_results` is a loop of your own. `device` and what may be
        asked for are those of `webcam_results`.

        Raises `UsageError` if there is nothing to do or no display, and what `webcam_results` raises.
        """
        from kinestream_workers.window import Window

        if not show and on_result is None:
            raise UsageError("show=False needs on_result, or nobody gets the results")
        window = Window("Kinestream: q ends") if show else None
        try:
            with closing(self.webcam_results(device, **asked)) as results:
                for image, result in results:
                    if on_result:
                        on_result(result)
                    if window:
                        drawn = self.draw_skeleton(image, result, threshold)
                        write_line(drawn, f"{result.fps:.1f} fps  {len(result.people)} people")
                        if not window.show(drawn):
                            return
        finally:
            if window:
                window.close()

    def close(self) -> None:
        """Give the model back. Closing again does nothing."""
        if not self._closed:
            self._closed = True
            self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _people(self, image: Image) -> tuple[Person, ...]:
        """What the engine finds, in pixels of `image`, though it may be given a smaller one."""
        rows, columns = image.shape[:2]
        smaller = shrunk(image, self._max_side)
        self._engine.fill(self._memory, 0, smaller)
        (people,) = self._engine.infer(self._memory, [0])
        return moved(people, smaller.shape[1], smaller.shape[0], view=(0.0, 0.0, columns, rows))

    def _fps(self) -> float:
        times_s = self._call_times_s
        passed_s = times_s[-1] - times_s[0]
        return (len(times_s) - 1) / passed_s if passed_s > 0 else 0.0
