"""Four processes with metrics at work on one server, and what they served: for tests of what is in it.

Not for: the promises; those are in the tests.
"""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass
from pathlib import Path

import frames
from kinestream.ledger import Ledger, read_ledgers
from kinestream.redis import connect
from kinestream.run import Run
from scraping import Scrape, Served

FRAMES = 90
ROOM = 64
"""Waiting frames of a complete source, see `Limits`."""

RECORDS = FRAMES + 1 + 2
"""With the one of the spoilt frame, and the ends of both runs."""


@dataclass
class Scraped:
    """Scrapes of the processes, without a worker (`full`) and at the end; the ledgers of the end."""

    full: dict[str, Scrape]
    done: dict[str, Scrape]
    ledgers: dict[str, Ledger]


async def spoil(url: str) -> None:
    """A camera with one frame that cannot be decoded."""
    async with connect(url) as redis:
        run = await Run.begin(redis, "spoilt", lane="every-frame")
        header, _ = frames.jpeg(128).split(b"\xff\xda")  # and no picture behind it
        assert await run.offer(frames.frame(run, 0, data=header)) == "ok"
        await run.finish()


async def ledgers(url: str) -> dict[str, Ledger]:
    async with connect(url) as redis:
        return {ledger.camera: ledger for ledger in await read_ledgers(redis)}


RECORDING = ["--no-video", "--from", "beginning", "--redis"]


def play(url: str, folder: Path) -> Scraped:
    """A camera fills its stream while nobody works, then a worker and a subscriber come."""
    source = f"testcard://?athletes=1&motion=walk&size=320x180&fps=30&seconds={FRAMES // 30}"
    with Served(folder, "metrics", "--redis", url) as exporter:
        exporter.wait_until_ready()
        asyncio.run(spoil(url))
        words = ["ingest", source, "--camera", "hall", "--lane", "every-frame", "--redis", url]
        with Served(folder, *words) as ingest:
            ingest.wait_until_ready()
            ingest.command.wait_until(
                lambda: ingest.scrape().says("kinestream_ingest_offered_frames_total", ROOM),
                "the stream is full",
            )
            exporter.command.wait_until(
                lambda: exporter.scrape().says("kinestream_camera_waiting_frames", ROOM, camera="hall"),
                "the exporter sees it",
            )
            exporter.command.wait_until(
                lambda: exporter.scrape().has("kinestream_camera_fps", camera="hall"),
                "the camera's producer has told how it is",
            )
            full = {"metrics": exporter.scrape(), "ingest": ingest.scrape()}
            words = ["worker", "--model", "testcard", "--threads", "1", "--redis", url]
            with (
                Served(folder, "watch", "--from", "beginning", "--redis", url) as watch,
                Served(folder, "record", "hall", "-o", folder / "recorded", *RECORDING, url) as record,
                Served(folder, *words) as worker,
            ):
                watch.wait_until_ready()
                record.wait_until_ready()
                worker.wait_until_ready()
                full |= {"worker": worker.scrape(), "watch": watch.scrape()}
                worker.command.wait_until(
                    lambda: worker.scrape().sum("kinestream_worker_frames_total") == FRAMES + 1,
                    "all frames are done",
                )
                assert ingest.command.wait() == 0, ingest.command.said
                exporter.command.wait_until(lambda: seen_all(exporter.scrape()), "the exporter has seen all")
                watch.command.wait_until(
                    lambda: watch.scrape().says("kinestream_watch_records_total", RECORDS),
                    "the subscriber has all records",
                )
                record.command.wait_until(
                    lambda: record.scrape().sum("kinestream_record_records_total") >= FRAMES,
                    "the recorder has all records",
                )
                done = {
                    "metrics": exporter.scrape(),
                    "record": record.scrape(),
                    "worker": worker.scrape(),
                    "watch": watch.scrape(),
                    "ingest": full["ingest"],
                }
                worker.command.signal(signal.SIGTERM)
                assert worker.command.wait() == 0, worker.command.said
        exporter.command.signal(signal.SIGTERM)
        assert exporter.command.wait() == 0, exporter.command.said
    return Scraped(full, done, asyncio.run(ledgers(url)))


def seen_all(scrape: Scrape) -> bool:
    return (
        scrape.says("kinestream_camera_frames_total", FRAMES, camera="hall")
        and scrape.says("kinestream_camera_run_open", 0)
        and scrape.says("kinestream_workers", 1)
    )
