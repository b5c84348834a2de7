"""The few calls that an estimate asks for: the first that the run will make, so that the run finds them answered.

In: the generate stage before its first round. Out: answers in the ledger, reserved and settled like all others.
Half of them go to instructions where each call writes one, fewer where each writes several: what is left to chance is
in the answers. Nothing is asked beyond the run's own first round.
"""

from __future__ import annotations

import math

from yearling.estimate.evidence import Known, NotAllowedError, Sparing
from yearling.generate.birth import Birth
from yearling.generate.stage import afresh, answers_wanted, draft_requests, give_answers, write_drafts
from yearling.recipe import Generate

MOST_ANSWERS = 3  # for each request that writes several instructions


def missing(known: Known, most: int) -> int:
    """Calls still to be asked so that `most` are known, half of them answers."""
    if known.waiting and not known.answers:
        return max(most - len(known.heard), most // 2)
    return max(0, most - len(known.heard))


def ask_pilot(birth: Birth, asker: Sparing, most: int) -> None:
    """Ask at most so many calls that the ledger does not hold."""
    birth = afresh(birth)
    made = birth.settings
    asker.allowance = most
    requests, answers = draft_requests(made, 0, 0), answers_wanted(made, 0, 0)
    try:
        while asker.allowance and (birth.calls < requests or birth.waiting) and not _over(birth):
            before = birth.calls, birth.asked
            if birth.calls < requests and len(birth.waiting) < asker.allowance // 2:
                size = math.ceil(asker.allowance / (1 + min(instructions(made), MOST_ANSWERS)))
                write_drafts(birth, min(size, requests - birth.calls))
            chosen = max(1, asker.allowance // calls_an_answer(made))
            give_answers(birth, min(chosen, answers - birth.asked))
            if (birth.calls, birth.asked) == before:
                break
    except NotAllowedError:
        return  # what an answer of several calls lacks, the run asks


def _over(birth: Birth) -> bool:
    return birth.exhausted and not birth.waiting


def instructions(made: Generate) -> int:
    """New instructions that one request asks for."""
    several = {"alpaca": made.alpaca.per_call, "self-instruct": made.self_instruct.per_call}
    return several.get(made.method, 1)


def calls_an_answer(made: Generate) -> int:
    """Calls that answering one draft takes at most, where nothing is asked twice."""
    own = {"evolve": made.evolve.keep_start + 3 * made.evolve.rounds, "self-instruct": 2}
    return own.get(made.method, 1) + 2 * (made.answer.turns - 1)
