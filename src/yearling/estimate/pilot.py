"""The few calls that an estimate asks for: the first that the run will make, so that the run finds them answered.

In: the generate stage before its first round. Out: answers in the ledger, reserved and settled like all others.
Half of them go to instructions where each call writes one, fewer where each writes several: what is left to chance is
in the answers. Nothing is asked beyond the run's own first round.
"""

from __future__ import annotations

import math

from yearling.estimate.evidence import Known, NotAllowedError, Sparing
from yearling.generate.birth import Birth
from yearling.generate.stage import LARGEST_ROUND, afresh, answers_wanted, draft_requests, give_answers, write_drafts
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
        while asker.allowance and not (birth.exhausted and not birth.waiting):
            before = birth.calls, birth.asked
            drafts, chosen = sizes(made, asker.allowance)
            if len(birth.waiting) < chosen:
                write_drafts(birth, min(drafts, requests - birth.calls))
            give_answers(birth, min(chosen, answers - birth.asked))
            if (birth.calls, birth.asked) == before:
                break
    except NotAllowedError:
        return  # what an answer of several calls lacks, the run asks


def sizes(made: Generate, calls: int) -> tuple[int, int]:
    """Requests for drafts, and drafts to be answered, on which so many calls are best spent."""
    an_answer = calls_an_answer(made)
    if made.method in ("answer", "evolve"):  # drafts are there
        return (max(1, calls // an_answer),) * 2
    if made.method == "documents" or (made.method == "alpaca" and made.alpaca.together):  # answers come with them
        return calls, LARGEST_ROUND
    several = {"alpaca": made.alpaca.per_call, "self-instruct": made.self_instruct.per_call}
    drafts = math.ceil(calls / (1 + min(several.get(made.method, 1), MOST_ANSWERS) * an_answer))
    return drafts, max(1, (calls - drafts) // an_answer)


def calls_an_answer(made: Generate) -> int:
    """Calls that answering one draft takes at most, where nothing is asked twice."""
    own = {"evolve": made.evolve.keep_start + 3 * made.evolve.rounds, "self-instruct": 2}
    return own.get(made.method, 1) + 2 * (made.answer.turns - 1)
