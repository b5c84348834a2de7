"""Evol-Instruct (Xu et al. 2023): instructions made harder, or turned into others of their kind, round by round.

In: starting instructions (seed tasks, or the prompts of `import`). Out: rows of all generations, each with its answer.
An evolution that failed is turned away with its reason, and its instruction goes into the next round as it was.
Children are like their parents by design, so nothing here is held to the novelty rule; curate's judges may do that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from yearling.generate.answer import Row, answer
from yearling.generate.birth import SPREAD, Birth
from yearling.generate.draft import MIN_WORDS, Draft, dice
from yearling.generate.variety import Traits
from yearling.ledger import Reply
from yearling.measure.english import CLOSED
from yearling.measure.text import fold, unicode_tokens, word_count
from yearling.record import Message, digest, record_id
from yearling.teachers.ask import answer_request

DEPTH = ("constraint", "deepen", "concrete", "reasoning", "input")
OPERATIONS = (*DEPTH, "breadth")  # drawn with equal chance
PROMPTS = ("evolve", *(f"evolve-{name}" for name in (*OPERATIONS, "equal")))
# Data to work on, for the operation that complicates the input.
FORMS = ("a small table", "JSON", "XML", "lines of Python", "SQL", "a shell session", "HTML", "a formula with numbers")

TOP_P = 0.95  # of the published code
MAX_TOKENS = 512  # of an evolved instruction; a longer one is unfinished
EQUAL_TOKENS = 16
MOST_ADDED = 40  # words; the teacher is asked for 10 to 20
MOST_ADDED_INPUT = 140  # with the 80 words of data that it is asked for
SHORT_ANSWER = 80  # words: a shorter one that says sorry shows that the teacher could not do it

_LEAKS = re.compile(
    r"</?(?:prompt|first|second)>|#[^#\n]{0,30}prompt[^#\n]{0,10}#|10 to 20 words|\bno title, no quotes\b"
    r"|\b(?:given|rewritten|created|original|evolved|old|new) prompts?\b",
    re.I,
)
_VERDICT = re.compile(r"\b(?:different|not equal|unequal|equal)\b", re.I)
_CLASSES = ("D", "P", "DP", "I", "IR", "C", "W", "X", "PX", "XV", "T", "R")
# Words that say nothing alone, without apostrophes; "no" and its like are answers.
STOP_WORDS = frozenset(
    word.replace("'", "")
    for name in _CLASSES
    for word in CLOSED[name].split()
    if word not in ("no", "none", "nobody", "nothing")
)


@dataclass(frozen=True)
class _Family:
    """A starting instruction on its way: its text in the pool by now, and the drafts that were kept so far."""

    start: Draft
    now: str
    kept: tuple[Draft, ...] = ()


Found = Mapping[int, Draft]  # drafts of a round, by the place of their family


def starts(birth: Birth, numbers: range) -> list[Draft]:
    """The starting instructions numbered so, in an order that only the recipe's seed and their names decide."""
    everyone = _pool(birth)
    birth.exhausted = numbers.stop >= len(everyone)
    return everyone[numbers.start : numbers.stop]


def _pool(birth: Birth) -> list[Draft]:
    if any(source.answer for source in birth.recipe.import_):
        found = [
            Draft(r.prompt, "", r.origin.key, r.origin.calls, parents=r.origin.parents, shown=r.origin.source,
                  before=r.messages[:-1], licence=r.origin.licence)
            for r in birth.prompts
        ]  # fmt: skip
    else:
        found = [Draft(s.instruction, s.input, f"seed:{s.id}", (), shown=s.id) for s in birth.seeds]
    first = {fold(draft.prompt): draft for draft in reversed(found)}
    return sorted(first.values(), key=lambda draft: digest([birth.settings.seed, draft.key]))


def evolve(birth: Birth, drafts: Sequence[Draft]) -> list[Row]:
    """Rows of the starting instructions and of what became of them, family by family, oldest first."""
    families = [_Family(start, start.prompt) for start in _single(birth, drafts)]
    if birth.settings.evolve.keep_start:
        answered = _answered(birth, {i: family.start for i, family in enumerate(families)})
        families = [replace(f, kept=(answered[i],) if i in answered else ()) for i, f in enumerate(families)]
    said = {fold(next(m.content for m in r.messages if m.role == "user")) for r in birth.records}
    said |= {fold(family.now) for family in families}
    for number in range(1, birth.settings.evolve.rounds + 1):
        candidates = _gaining(birth, families, _evolved(birth, families, number, said))
        evolved = _answered(birth, candidates)
        said |= {fold(draft.instruction) for draft in evolved.values()}
        families = [
            replace(f, now=evolved[i].instruction, kept=(*f.kept, evolved[i])) if i in evolved else f
            for i, f in enumerate(families)
        ]
    rows = iter(answer(birth, [draft for family in families for draft in family.kept]))
    return [row for family in families for row in _related(family, [next(rows) for _ in family.kept])]


def _single(birth: Birth, drafts: Sequence[Draft]) -> list[Draft]:
    """Those that stand alone, each with its system turn; what goes on from a conversation cannot be rewritten alone."""
    found = []
    for draft in drafts:
        if any(turn.role != "system" for turn in draft.before):
            birth.reject(draft.key, "goes on from a conversation", draft.prompt)
            continue
        system = birth.lists.draw(birth.settings.seed, _number(draft.prompt, 0)).system
        if draft.before or not system:
            found.append(draft)
        else:
            found.append(replace(draft, before=(Message("system", system),), traits=Traits(system=system)))
    return found


def _number(text: str, number: int) -> int:
    """What stands for the number of a call in all that is drawn: the text and the round decide it, nothing else."""
    return int(digest([text, number])[:12], 16) % SPREAD


def operation(birth: Birth, text: str, number: int) -> str:
    """The operation of an instruction in a round."""
    return dice(birth.settings.seed, digest([text, number])).choice(OPERATIONS)


def _evolved(birth: Birth, families: Sequence[_Family], number: int, said: set[str]) -> Found:
    """Each instruction of the pool evolved once, where nothing is plainly wrong with the result."""
    drawn = [birth.lists.draw(birth.settings.seed, _number(family.now, number)) for family in families]
    # the round is the sample index: a failed instruction may meet the same operation again, and another answer
    asked = birth.ask([(_request(birth, f.now, number, t), number) for f, t in zip(families, drawn, strict=True)])
    found: dict[int, Draft] = {}
    for i, (family, traits, (call, reply)) in enumerate(zip(families, drawn, asked, strict=True)):
        name, text = operation(birth, family.now, number), bare(reply.text)
        reason = failure(family.now, text, name, reply.finish)
        shown = _example(birth, name)
        if reason is None and shown and fold(text) == fold(shown[1]):
            reason = "copies the example"
        if reason is None and fold(text) in said | {fold(draft.instruction) for draft in found.values()}:
            reason = "the same as another instruction"
        if reason:
            birth.reject(call.key, reason, text)
            continue
        start = family.start
        found[i] = replace(
            start, instruction=text, input="", key=call.key, calls=(call.key,), cost_usd=reply.cost_usd,
            shown=f"{start.shown}, round {number}: {name}", traits=traits,
        )  # fmt: skip
    return found


def _request(birth: Birth, text: str, number: int, traits: Traits) -> dict[str, Any]:
    """The request that evolves an instruction; the example of the operation goes before it as a turn of its own."""
    name = operation(birth, text, number)
    form = dice(birth.settings.seed, digest([text, number, "form"])).choice(FORMS)

    def said(how: str, prompt: str, drawn: str) -> str:
        return birth.words.say("evolve", how=how, prompt=prompt, language=birth.language, traits=drawn)

    turns = []
    if shown := _example(birth, name):
        turns = [("user", said(_how(birth, name, FORMS[0])[0], shown[0], "")), ("assistant", shown[1])]
    turns.append(("user", said(_how(birth, name, form)[0], text, f"\n- It is {traits.text}." if traits.text else "")))
    return {
        "messages": [{"role": role, "content": content} for role, content in turns],
        "max_tokens": MAX_TOKENS,
        "temperature": birth.settings.temperature,
        "top_p": TOP_P,
        "seed": birth.sampler_seed(_number(text, number)),
    }


def _how(birth: Birth, name: str, form: str) -> tuple[str, str, str]:
    """How an operation works, and its example before and after, "" where its file has none."""
    text = birth.words.say(f"evolve-{name}", **({"form": form} if name == "input" else {}))
    found = re.fullmatch(r"(.*?)\n+Before:[ ]*(.*?)\nAfter:[ ]*(.*)", text, re.S)
    return (found[1], found[2].strip(), found[3].strip()) if found else (text, "", "")


def _example(birth: Birth, name: str) -> tuple[str, str] | None:
    """An operation's example, before and after; the shipped ones are English and of no use to other languages."""
    _, before, after = _how(birth, name, FORMS[0])
    known = birth.english or f"evolve-{name}.txt" in birth.words.own
    return (before, after) if after and known else None


def bare(text: str) -> str:
    """What a teacher wrote, out of the quotes or marks that it put around the whole."""
    text = text.strip()
    if marked := re.fullmatch(r"<prompt>(.*)</prompt>", text, re.S):
        text = marked[1].strip()
    if quoted := re.fullmatch(r'"([^"]*)"|“([^“”]*)”', text):
        text = (quoted[1] or quoted[2] or "").strip()
    return text


def failure(parent: str, text: str, name: str, finish: str = "stop") -> str | None:
    """What is plainly wrong with an evolved instruction, or None."""
    if finish != "stop":
        return "blocked by the provider" if finish == "content_filter" else "unfinished instruction"
    if not text:
        return "empty instruction"
    copied = next((m[0] for m in _LEAKS.finditer(text) if m[0].lower() not in parent.lower()), None)
    if copied:
        return f"copies the evolving prompt ({copied})"
    if fold(text) == fold(parent):
        return "no information gain (a copy)"
    if word_count(text) < MIN_WORDS and text.isascii():
        return "instruction too short"
    added, most = word_count(text) - word_count(parent), MOST_ADDED_INPUT if name == "input" else MOST_ADDED
    return f"grew too much ({added} words, {most} are allowed)" if added > most else None


def _gaining(birth: Birth, families: Sequence[_Family], drafts: Found) -> Found:
    """Those that the teacher, shown the instruction before and after, does not call equal."""
    requests = []
    for i, draft in drafts.items():
        text = birth.words.say("evolve-equal", first=families[i].now, second=draft.instruction)
        body = {
            "messages": [{"role": "user", "content": text}],
            "max_tokens": EQUAL_TOKENS,
            "temperature": 0.0,
            "seed": birth.settings.seed,
        }
        requests.append((body, 0))
    found = {}
    for (i, draft), (call, reply) in zip(drafts.items(), birth.ask(requests), strict=True):
        if calls_equal(reply.text):
            birth.reject(call.key, "no information gain (the teacher finds both equal)", draft.instruction)
        else:
            found[i] = _with(draft, call.key, reply)
    return found


def calls_equal(text: str) -> bool:
    """Whether a teacher's verdict is "equal"; one that says neither word is none."""
    said = _VERDICT.search(text)
    return said is not None and said[0].lower() == "equal"


def _answered(birth: Birth, drafts: Found) -> Found:
    """Those with a finished answer that shows no inability, and the answer with them."""
    settings = birth.settings

    def seen(reply: Reply) -> None:
        birth.finished += reply.finish == "stop"

    talks = [(*draft.before, Message("user", draft.prompt)) for draft in drafts.values()]
    bodies = [[{"role": m.role, "content": m.content} for m in talk] for talk in talks]
    asked = birth.ask([(answer_request(settings, body, settings.answer.max_tokens), 0) for body in bodies], seen)
    found = {}
    for (i, draft), (call, reply) in zip(drafts.items(), asked, strict=True):
        if reason := inability(draft.prompt, reply.text, reply.finish):
            birth.reject(call.key, reason, draft.prompt)
        else:
            found[i] = replace(_with(draft, call.key, reply), output=reply.text.strip())
    return found


def inability(prompt: str, text: str, finish: str = "stop") -> str | None:
    """Why an answer shows that the teacher could not do it, or None; asked for an apology, it may say sorry."""
    if finish != "stop":
        blocked = finish == "content_filter"
        return "blocked by the provider" if blocked else f"unfinished answer ({finish or 'no reason given'})"
    if not text.strip():
        return "empty answer"
    apology = re.search(r"sorry|apolog", prompt, re.I)
    if "sorry" in text.lower() and word_count(text) < SHORT_ANSWER and not apology:
        return "inability in the answer (sorry)"
    if not content_words(text):
        return "inability in the answer (only punctuation and stop words)"
    return None


def content_words(text: str) -> list[str]:
    """The words of a text that are no stop words of English."""
    return [word for word in unicode_tokens(text.replace("'", "").replace("’", "")) if word not in STOP_WORDS]


def _with(draft: Draft, call: str, reply: Reply) -> Draft:
    known = draft.cost_usd is not None and reply.cost_usd is not None
    cost = draft.cost_usd + reply.cost_usd if known else None  # type: ignore[operator]
    return replace(draft, calls=(*draft.calls, call), cost_usd=cost)


def _related(family: _Family, rows: Sequence[Row]) -> list[Row]:
    """Rows of one family, each with its parents: the rows before it, nearest first, and what stands for the family.

    That is the start's folded prompt, which is also the root of a record with the start's prompt (see accepted.roots):
    so all are one family, whether the start became a row, was imported beside them, or neither.
    """
    known: list[str] = []
    found = []
    above = family.start.parents or (fold(family.start.prompt),)
    for row in rows:
        is_start = row.draft.key == family.start.key
        parents = family.start.parents if is_start else (*reversed(known), *above)
        found.append(replace(row, draft=replace(row.draft, parents=parents)))
        known.append(record_id(row.messages, row.draft.key))
    return found
