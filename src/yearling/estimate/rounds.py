"""The rest of a run's rounds, played many times over with what was seen.

In: what is known of the plan, and how fast calls are. Out: calls, tokens and seconds still to come, one row a play.
The rounds are as large as the run's own rules say. Likely plays draw from what was seen as it is; uncertain ones weigh
it anew each time (the Bayesian bootstrap, Rubin 1981), and allow for a failure that so few calls need not have shown.
Seeds are fixed: the same ledger gives the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from yearling.estimate.evidence import Known, Unit
from yearling.estimate.pace import Pace
from yearling.generate.stage import answers_wanted, draft_requests, gives_up
from yearling.recipe import Generate

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]

LIKELY, UNCERTAIN = 200, 400  # plays
SEED = 1
FAILURE = 0.5  # how much an unseen failure weighs beside each unit that was seen
CALLS, PROMPT, COMPLETION, REASONING, ALONE, SHARED, ROWS = range(7)  # columns of a play
WIDTH = 7
_SECONDS, _LONGEST, _STEPS, _GAVE = range(4, 8)  # columns of a unit beside the first four


@dataclass(frozen=True)
class Plays:
    """Plays of one stage, a row each; and the share of the likely ones in which the run gives up."""

    likely: Numbers
    uncertain: Numbers
    gives_up: float = 0.0


def table(units: Sequence[Unit]) -> Numbers:
    """Units as numbers, a row each."""
    import numpy as np

    rows = []
    for unit in units:
        replies = unit.replies
        seconds = [reply.seconds for reply in replies]
        tokens = [(r.prompt_tokens, r.completion_tokens, r.reasoning_tokens) for r in replies]
        sums = [sum(column) for column in zip(*tokens, strict=True)] or [0, 0, 0]
        rows.append([len(replies), *sums, sum(seconds), max(seconds, default=0.0), len(unit.steps), unit.gave])
    return np.array(rows, dtype=np.float64).reshape(-1, 8)


class Urn:
    """Units to draw from: as they were seen, or weighed anew."""

    def __init__(self, units: Numbers, random: np.random.Generator, anew: bool) -> None:
        import numpy as np

        self._random, weights = random, np.ones(len(units))
        good = units[units[:, _GAVE] > 0]
        if anew and units[:, CALLS].any():
            failure = units[units[:, COMPLETION].argmax()].copy()
            failure[_GAVE] = 0
            units, weights = np.vstack([units, failure]), np.append(weights, FAILURE)
        elif not anew and len(good):
            # n units for k good ones overstate how many one takes, by n / k on average; (n + 1) / (k + 1) hardly do
            units, weights = np.vstack([units, good.mean(axis=0)]), np.append(weights, 1.0)
        self._units = units
        self._weights = random.dirichlet(weights) if anew else weights / weights.sum()

    def draw(self, count: int, pace: Pace) -> tuple[Numbers, int]:
        """What so many units take when they are asked together, and what they give."""
        import numpy as np

        if not count:
            return np.zeros(WIDTH), 0
        counts = self._random.multinomial(count, self._weights)
        sums = counts @ self._units
        longest, steps = self._units[counts > 0, _LONGEST].max(), sums[_STEPS] / count
        took = np.zeros(WIDTH)
        took[:ALONE] = sums[:ALONE]
        took[ALONE] = pace.alone(int(sums[CALLS]), sums[_SECONDS], longest, steps)
        took[SHARED] = pace.shared(sums[_SECONDS])
        return took, round(sums[_GAVE])


def play_all(known: Known, made: Generate, pace: Pace) -> Plays:
    """Plays of the generate stage from where the ledger ends."""
    import numpy as np

    drafts, answers = table(known.drafts), table(known.answers)

    def many(count: int, anew: bool, random: np.random.Generator) -> tuple[Numbers, float]:
        plays, ends = [], 0
        for _ in range(count):
            urns = Urn(drafts, random, anew), Urn(answers, random, anew)
            took, gave_up = play(known, made, [lambda n, urn=urn: urn.draw(n, pace) for urn in urns])  # type: ignore[misc]
            plays.append(took)
            ends += gave_up
        return np.array(plays), ends / count

    likely, share = many(LIKELY, False, np.random.default_rng(SEED))
    uncertain, _ = many(UNCERTAIN, True, np.random.default_rng(SEED))
    return Plays(likely, uncertain, share)


def play(known: Known, made: Generate, draws: Sequence[Callable[[int], tuple[Numbers, int]]]) -> tuple[Numbers, bool]:
    """One play: what it takes, and whether the run gives up; `draws` are of requests for drafts, and of answers."""
    import numpy as np

    total, gave_up = np.zeros(WIDTH), False
    calls, asked, born, waiting = known.calls, known.asked, known.born, known.waiting
    size, drafted, done, rows = known.size, known.drafted, known.done, known.rows  # of the round under way
    while born < made.num and (size or waiting or known.supply is None or calls < known.supply):
        if gave_up := gives_up(made, calls):
            break
        if not size and not waiting:
            size = draft_requests(made, calls, born)
            size = size if known.supply is None else min(size, known.supply - calls)
        took, gave = draws[0](size - drafted)
        total += took
        waiting += gave
        due = max(done, min(waiting, answers_wanted(made, asked, born)))
        took, gave = draws[1](due - done)
        total += took
        calls, asked, born, waiting = calls + size, asked + due, born + rows + gave, waiting - due
        size = drafted = done = rows = 0
    total[ROWS] = min(born, made.num)
    return total, gave_up
