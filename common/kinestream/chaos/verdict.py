"""What must hold when everything has settled, as pure functions: from evidence to the promises it breaks.

Each check returns one line for each broken promise, with the camera, run and frame that show it. The promises
are those of docs/reliability.md, for a Redis that lost nothing. Not for: gathering (see `evidence.py`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from kinestream.ledger import COUNTS, Ledger

Name = tuple[str, int]
"""A camera and one of its runs."""

_END = "end"
_OUTCOMES = {"every-frame": {"ok"}, "live": {"ok", "dropped", "stale"}}
"""What may become of the frames of a healthy source; a lane that is complete loses nothing."""

GROWTH = 1.25
GROWTH_BYTES = 32 * 2**20
"""What memory may grow by from the first third to the last: both together, as allocators take their time."""


@dataclass(frozen=True, slots=True)
class Told:
    """What one record says; `seq` to `last` are its frames, and for an `end` the number of frames."""

    camera: str
    run: int
    seq: int
    last: int
    status: str
    cause: str = ""
    committed_ms: int = 0


@dataclass(frozen=True, slots=True)
class Sample:
    """Bytes of memory at one moment: of Redis besides results, and of the largest process of each kind."""

    at_s: float
    bytes: Mapping[str, int]


@dataclass(slots=True)
class Evidence:
    """All that the verdict is made from.

    `commits` is every record in the order of commit. `ordered` are the subscribers that asked for the order
    of frames, by name. `poison` are the frames that must fail. `incidents` are promises found broken on the
    way.
    """

    lanes: Mapping[str, str]
    commits: Sequence[Told] = ()
    ordered: Mapping[str, Sequence[Told]] = field(default_factory=dict)
    ledgers: Sequence[Ledger] = ()
    poison: Mapping[Name, set[int]] = field(default_factory=dict)
    samples: Sequence[Sample] = ()
    incidents: Sequence[str] = ()


def broken_promises(evidence: Evidence) -> list[str]:
    """Return one line for each broken promise; none if all is well."""
    found = [*evidence.incidents]
    found += check_ledgers(evidence.ledgers, evidence.commits)
    found += check_once(evidence.ledgers, evidence.commits)
    for name, told in evidence.ordered.items():
        found += check_order(name, told, evidence.commits)
    found += check_outcomes(evidence.commits, evidence.lanes, evidence.poison)
    found += check_memory(evidence.samples)
    return found


def check_ledgers(ledgers: Iterable[Ledger], commits: Iterable[Told]) -> Iterator[str]:
    """Every run is over, its sum balances with nothing in flight, and its counters say what was published."""
    published: defaultdict[Name, Counter[str]] = defaultdict(Counter)
    for told in commits:
        if told.status != _END:
            published[told.camera, told.run][told.status] += told.last - told.seq + 1
    known = set()
    for ledger in ledgers:
        name = ledger.camera, ledger.run
        known.add(name)
        if ledger.state != "ended":
            yield f"{_shown(name)} is {ledger.state}, not ended"
        if ledger.in_flight or ledger.held:
            yield f"{_shown(name)} has {ledger.in_flight} frames in flight, {ledger.held} of them held"
        if not ledger.balanced:
            yield f"{_shown(name)} produced {ledger.produced} frames and accounts for {ledger.accounted}"
        for status in COUNTS:
            counted, told_of = getattr(ledger, status), published[name][status]
            if counted != told_of:
                yield f"{_shown(name)}: the ledger counts {counted} {status}, {told_of} were published"
    for name in sorted({(told.camera, told.run) for told in commits} - known):
        yield f"{_shown(name)} has records and no ledger"


def check_once(ledgers: Iterable[Ledger], commits: Iterable[Told]) -> Iterator[str]:
    """Every frame of every run has exactly one record, and every run one `end` with its number of frames."""
    seqs: defaultdict[Name, Counter[int]] = defaultdict(Counter)
    ends: defaultdict[Name, list[int]] = defaultdict(list)
    for told in commits:
        name = told.camera, told.run
        if told.status == _END:
            ends[name].append(told.seq)
        else:
            seqs[name].update(range(told.seq, told.last + 1))
    for ledger in ledgers:
        name = ledger.camera, ledger.run
        for seq in range(ledger.produced):
            if seqs[name][seq] == 0:
                yield f"{_shown(name)}: frame {seq} has no record"
        for seq, times in sorted(seqs[name].items()):
            if seq >= ledger.produced:
                yield f"{_shown(name)}: frame {seq} has a record, of {ledger.produced} frames produced"
            elif times > 1:
                yield f"{_shown(name)}: frame {seq} was published {times} times"
        if ends[name] != [ledger.produced]:
            yield f"{_shown(name)}: one end of {ledger.produced} frames is wanted, got {ends[name]}"


def check_order(subscriber: str, told: Iterable[Told], commits: Iterable[Told]) -> Iterator[str]:
    """A subscriber was given exactly what was published, once, each camera in the order of its frames."""
    wanted, given = _by_camera(commits), _by_camera(told)
    for camera in sorted({*wanted, *given}):
        right, got = sorted(wanted[camera]), given[camera]
        if got == right:
            continue
        place = next((i for i, pair in enumerate(zip(got, right, strict=False)) if pair[0] != pair[1]), None)
        if place is None:
            place = min(len(got), len(right))
        yield (
            f"the subscriber {subscriber} was given {len(got)} of {len(right)} frames and ends of {camera}: "
            f"number {place} is {_item(got, place)}, should be {_item(right, place)}"
        )


def check_outcomes(
    commits: Iterable[Told], lanes: Mapping[str, str], poison: Mapping[Name, set[int]]
) -> Iterator[str]:
    """Poison fails and nothing else does; a lane that is complete loses nothing; nothing is `lost`."""
    failed: defaultdict[Name, set[int]] = defaultdict(set)
    for told in commits:
        name = told.camera, told.run
        if name in poison and told.status == "failed":
            failed[name].update(range(told.seq, told.last + 1))
        elif told.status != _END and told.status not in _OUTCOMES[lanes.get(told.camera, "live")]:
            yield f"{_shown(name)}: frame {told.seq} is {told.status}, {told.cause}"
    for name, seqs in poison.items():
        for seq in sorted(seqs - failed[name]):
            yield f"{_shown(name)}: frame {seq} is poison and did not fail"
        for seq in sorted(failed[name] - seqs):
            yield f"{_shown(name)}: frame {seq} failed beside poison"


def check_memory(samples: Sequence[Sample]) -> Iterator[str]:
    """The memory of no kind of process grows from the first third of the time to the last."""
    for kind, (before, after) in thirds(samples).items():
        if after > before * GROWTH + GROWTH_BYTES:
            yield f"memory of {kind} grew from {before / 2**20:.0f} to {after / 2**20:.0f} MiB"


def thirds(samples: Sequence[Sample]) -> dict[str, tuple[float, float]]:
    """Median bytes in the first and in the last third of the samples, by kind; a kind that is in both."""
    third = len(samples) // 3
    medians = []
    for part in (samples[:third], samples[len(samples) - third :]):
        seen: defaultdict[str, list[int]] = defaultdict(list)
        for sample in part:
            for kind, size in sample.bytes.items():
                seen[kind].append(size)
        medians.append({kind: median(sizes) for kind, sizes in seen.items()})
    first, last = medians
    return {kind: (first[kind], last[kind]) for kind in sorted(first) if kind in last}


def _by_camera(told: Iterable[Told]) -> defaultdict[str, list[tuple[int, int, bool, str]]]:
    """(run, seq, is end, status) of each frame and end, by camera, in the order given."""
    found: defaultdict[str, list[tuple[int, int, bool, str]]] = defaultdict(list)
    for one in told:
        ended = one.status == _END
        last = one.seq if ended else one.last
        found[one.camera] += [(one.run, seq, ended, one.status) for seq in range(one.seq, last + 1)]
    return found


def _item(items: Sequence[tuple[int, int, bool, str]], place: int) -> str:
    if place >= len(items):
        return "nothing"
    run, seq, _, status = items[place]
    return f"{status} {run}-{seq}"


def _shown(name: Name) -> str:
    return f"{name[0]} run {name[1]}"
