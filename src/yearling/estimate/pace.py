"""How long calls take when as many fly as will.

In: the seconds of calls that were answered, and when. Out: seconds for so many more of them, as two models see it.
An endpoint elsewhere answers each call in its own time, however many fly; on this machine calls share the cores, so
that the pilot's pace holds, and more of them at once are little quicker.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

BURST_S = 1.0  # a longer silence parts two bursts of calls
Flight = tuple[float, float]  # when a call began and ended


@dataclass(frozen=True)
class Pace:
    """What was seen of a teacher's pace."""

    most: int  # calls that may fly at once
    flew: float  # calls that flew at once, on average, while any did
    between: float  # seconds from one call's end to the next one's begin, beyond the calls themselves

    def alone(self, calls: int, seconds: float, longest: float, steps: float) -> float:
        """Seconds for calls asked in so many steps, where none slows another; at the end of a step some wait."""
        if not calls:
            return 0.0
        at_once = min(self.most, max(1.0, calls / max(1.0, steps)))
        return (seconds + calls * self.between) / at_once + steps * (1 - 1 / at_once) * longest / 2

    def shared(self, seconds: float) -> float:
        """Seconds for calls that share what there is, as those did that were seen."""
        return seconds / self.flew


def pace_of(flights: Sequence[Flight], most: int) -> Pace:
    """The pace of calls that were answered."""
    busy = sum(end - begin for begin, end in flights)
    bursts = list(_bursts(flights))
    flew = busy / max(1e-9, sum(_covered(burst) for burst in bursts))
    plain = Pace(most, max(1.0, flew), 0.0)
    late = sum(
        _length(b) - plain.alone(len(b), sum(e - s for s, e in b), max(e - s for s, e in b), 1.0) for b in bursts
    )
    waves = sum(max(1.0, len(b) / most) for b in bursts)
    return Pace(most, plain.flew, max(0.0, late / waves) if waves else 0.0)


def _bursts(flights: Iterable[Flight]) -> Iterable[list[Flight]]:
    burst: list[Flight] = []
    last = 0.0
    for flight in sorted(flights):
        if burst and flight[0] > last + BURST_S:
            yield burst
            burst = []
        burst.append(flight)
        last = max(last, flight[1])
    if burst:
        yield burst


def _length(burst: Sequence[Flight]) -> float:
    return max(end for _, end in burst) - burst[0][0]


def _covered(burst: Sequence[Flight]) -> float:
    """Seconds in which at least one call flew."""
    ends = itertools.accumulate((end for _, end in burst), max)
    silent = sum(max(0.0, later[0] - end) for end, later in zip(ends, burst[1:], strict=False))
    return _length(burst) - silent
