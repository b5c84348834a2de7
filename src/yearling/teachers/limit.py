"""How many calls an endpoint bears at once, learnt from what it says; and when to stop asking for a while.

In: how each call ended. Out: leave to send the next one.
Additive increase and multiplicative decrease, as congestion control does it (Chiu and Jain 1989): twice as many up to
the last known good number, then one more for each full round; three quarters after a refusal, once for each burst.
Does not know what a call is, and retries nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Literal

CUT = 0.75
TRIP = 10  # failures in a row that open the breaker
PAUSES_S = (15.0, 30.0, 60.0, 120.0, 240.0)  # then one call tries; after the last one the run ends, resumable
TOLD_S = 5.0  # a longer rest is told

Outcome = Literal["ok", "throttled", "failed"]


class Bell:
    """Wakes all who wait for a change."""

    def __init__(self) -> None:
        self._event, self._hearing = asyncio.Event(), 0

    def ring(self) -> None:
        """Something has changed."""
        if self._hearing:  # most rings are heard by nobody
            self._event.set()
            self._event, self._hearing = asyncio.Event(), 0

    async def heard(self, seconds: float | None = None) -> None:
        """Wait for the next change, or that long."""
        self._hearing += 1
        try:
            await asyncio.wait_for(self._event.wait(), seconds)
        except TimeoutError:
            return


class Limit:
    """Leave to send, for one model at one endpoint; `now` is how many calls may fly, at most `most`."""

    def __init__(self, most: int, tell: Callable[[str], None]) -> None:
        self.now, self.flying = float(most), 0
        self.broken = ""  # why nothing more is to be sent, once that is so
        self._most, self._tell, self._bell = float(most), tell, Bell()
        self._known = float(most)  # up to here more calls are tried quickly
        self._last_cut = self._closed_until = 0.0
        self._failures = self._pauses = 0

    async def enter(self) -> float:
        """Wait for leave to send; the time at which it was given, for `leave`."""
        while not self.broken:
            now = time.monotonic()
            if now >= self._closed_until and self.flying < max(1, int(self.now)):
                break
            await self._bell.heard(max(0.01, self._closed_until - now) if now < self._closed_until else None)
        self.flying += 1
        return time.monotonic()

    def leave(self, began: float, outcome: Outcome, wait: float | None = None, why: str = "") -> bool:
        """A call has ended; whether it is one of an outage, which no try of its own should pay for."""
        self.flying -= 1
        now = time.monotonic()
        outage = False
        if outcome == "ok":
            self._failures = self._pauses = 0
            self.now = min(self._most, self.now + (1.0 if self.now < self._known else 1.0 / self.now))
        else:
            news = began >= self._last_cut  # sent since the last cut or pause
            counted = news or outcome == "failed"  # the rest of a burst of refusals is no outage
            self._failures += counted
            if outcome == "throttled" and news:
                self.now = self._known = max(1.0, self.now * CUT)
                self._last_cut = now
            if wait is not None:
                if wait >= TOLD_S and now >= self._closed_until:
                    self._tell(f"the teacher asks for {wait:.0f} s of rest; waiting (Ctrl-C is safe)")
                self._closed_until = max(self._closed_until, now + wait)
            outage = self._failures >= TRIP
            if outage and (news or (counted and self._failures == TRIP)):
                self._pause(now, why)
        self._bell.ring()
        return outage

    def _pause(self, now: float, why: str) -> None:
        """Open the breaker; what was in flight by then does not open it again."""
        if self._pauses == len(PAUSES_S):
            self.broken = why
            return
        seconds = PAUSES_S[self._pauses]
        self._pauses += 1
        self._closed_until = max(self._closed_until, now + seconds)
        self._last_cut, self.now = self._closed_until, 1.0
        self._tell(
            f"the teacher fails: {why}. Pausing {seconds:.0f} s, then one call tries again "
            f"(pause {self._pauses} of {len(PAUSES_S)}; Ctrl-C is safe, the same command goes on)"
        )
