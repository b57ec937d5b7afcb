"""Metrics as Prometheus reads them, and the health pages, from a process that a test runs.

Not for: what must be in them; that is in the tests.
"""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from pipeline import Command

TIMEOUT_S = 10.0

_NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def get(url: str) -> tuple[int, str]:
    """Status and text of a page; raises `OSError` if nobody answers."""
    try:
        with _NO_PROXY.open(url, timeout=TIMEOUT_S) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@dataclass(frozen=True)
class Scrape:
    """One answer of `/metrics`."""

    text: str
    families: dict[str, Metric]

    @classmethod
    def of(cls, url: str) -> Scrape:
        status, text = get(f"{url}/metrics")
        assert status == 200, text
        return cls(text, {family.name: family for family in text_string_to_metric_families(text)})

    @property
    def names(self) -> set[str]:
        """What queries may name; those of a histogram with their endings."""
        return {sample.name for family in self.families.values() for sample in family.samples}

    def sum(self, name: str, **labels: str) -> float:
        """The sum of the samples with this name and these labels, of which there must be one at least."""
        found = self._values(name, labels)
        assert found, f"no {name} with {labels}"
        return sum(found)

    def has(self, name: str, **labels: str) -> bool:
        """Whether there are such samples by now, and any but zero."""
        return any(self._values(name, labels))

    def says(self, name: str, value: float, **labels: str) -> bool:
        """Whether there are such samples by now, with this sum."""
        found = self._values(name, labels)
        return bool(found) and sum(found) == value

    def _values(self, name: str, labels: dict[str, str]) -> list[float]:
        return [
            sample.value
            for family in self.families.values()
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]

    def counters(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        """All that must only grow: counters, and the parts of histograms."""
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in self.families.values()
            if family.type in ("counter", "histogram")
            for sample in family.samples
        }


class Served:
    """A command that serves metrics on a port of its own choice."""

    def __init__(self, folder: Path, *words: str | Path) -> None:
        self.command = Command(folder / f"{words[0]}.txt", *words, "--metrics-port", "0")

    @property
    def url(self) -> str:
        """Where it serves, once it has said so."""
        self.command.wait_to_say("/metrics\n")
        found = re.search(r"metrics at (\S+)/metrics", self.command.said)
        assert found
        return found[1]

    def page(self, name: str) -> tuple[int, str]:
        """`healthz` or `readyz`, without the end of the line."""
        status, text = get(f"{self.url}/{name}")
        assert text.endswith("\n") and text.count("\n") == 1
        return status, text.rstrip()

    def wait_until_ready(self) -> None:
        self.command.wait_until(lambda: self.page("readyz") == (200, "ready"), "it is ready")

    def scrape(self) -> Scrape:
        return Scrape.of(self.url)

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *_: object) -> None:
        self.command.__exit__()


def told(collector: Any) -> Scrape:
    """What a collector has to say, through Prometheus's format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    text = generate_latest(registry).decode()
    return Scrape(text, {family.name: family for family in text_string_to_metric_families(text)})
