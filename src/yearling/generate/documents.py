"""Question and answer pairs that are grounded in passages of the user's own documents.

In: the passages, asked about one by one, and numbers of calls. Out: drafts with their answers, the passage and its
source; a pair that its passage does not bear out, or that cannot be understood without it, is turned away.
The test of grounding compares words and numbers: it knows no synonyms, and needs answers in the passage's language.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from rapidfuzz.distance import Prefix

from yearling.errors import UserError
from yearling.generate.birth import SPREAD, Birth
from yearling.generate.draft import Draft, fault
from yearling.generate.evolve import content_words
from yearling.generate.passages import Passage, read_passages
from yearling.generate.variety import Traits
from yearling.ledger import Reply
from yearling.measure.text import fold
from yearling.recipe import Documents
from yearling.record import Message, digest, file_digest

STATED = 0.6  # the share of an answer's own words that must occur in the passage; of its numbers, all
TOKENS_A_QUESTION = 60
TOKENS_AN_ANSWER = 200  # at most; answer.max_tokens may say fewer

_MARKUP = r"[*#_ \t]*"
_LABEL = re.compile(
    rf"^{_MARKUP}(?:\d{{1,3}}[.)]{_MARKUP})?(question|answer|q|a)[ \t]*\d{{0,3}}{_MARKUP}:{_MARKUP}", re.I | re.M
)
_THING = r"(?:passage|text|document|article|paragraph|excerpt|context|source|reading)s?"
_POINTS = re.compile(
    rf"\b(?:the|this|that|these|those|given|above|provided|following|your)\s+(?:\w+\s+)?{_THING}\b"
    rf"|\b(?:mentioned|described|given|shown|listed|stated|told|said)\s+(?:above|here|below|earlier)\b"
    r"|\baccording to (?:it|this|the above)\b"
    r"|\b(?:im|dem|diesem|der|dieser)\s+(?:Text|Textes|Abschnitt|Dokument|Auszug|Passage)\b"
    r"|\b(?:le|ce|du|au)\s+(?:texte|passage|document|paragraphe|extrait)\b"
    r"|\b(?:el|este|del|al)\s+(?:texto|pasaje|documento|párrafo|fragmento)\b",
    re.I,
)
_FIGURE = re.compile(r"\d+(?:[.,:]\d+)*")
_GROUP = re.compile(r"[.,](?=\d{3}(?!\d))")  # 1,200 and 1200 are one number
_SPELT = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")

Pair = tuple[str, str]
# What the teacher is told of those who will answer: with the passage before them, or without.
OPEN = "Whoever answers has the passage before them."
CLOSED_BOOK = (
    'Whoever answers has not seen the passage: a question names what it is about, and never says "the passage" or '
    '"the text". Neither does the answer.'
)


def drafts(birth: Birth, numbers: range) -> list[Draft]:
    """The drafts of passages numbered so, in an order that only the recipe's seed and the passages decide."""
    if birth.settings.answer.turns > 1:
        raise UserError("generate.answer.turns: what follows a pair would not be grounded; documents takes turns: 1.")
    passages = _passages(birth)
    birth.exhausted = numbers.stop >= len(passages)
    chosen = passages[numbers.start : numbers.stop]
    drawn = [birth.lists.draw(birth.settings.seed, _number(passage)) for passage in chosen]
    requests = [(_request(birth, passage, traits), 0) for passage, traits in zip(chosen, drawn, strict=True)]
    found: list[Draft] = []
    if birth.structured:
        asked = birth.ask_json(requests, schema(_settings(birth).pairs))
        for passage, traits, (calls, reply, value) in zip(chosen, drawn, asked, strict=True):
            pairs = _pairs(value) if value is not None else []
            found += _kept(birth, tuple(call.key for call in calls), reply, pairs, (passage, traits))
        return found
    for passage, traits, (call, reply) in zip(chosen, drawn, birth.ask(requests), strict=True):
        pairs = parse(reply.text)
        if not pairs:
            birth.reject(call.key, "no pair in the reply", reply.text)
        found += _kept(birth, (call.key,), reply, pairs, (passage, traits))
    return found


def _settings(birth: Birth) -> Documents:
    assert birth.settings.documents is not None
    return birth.settings.documents


def _passages(birth: Birth) -> list[Passage]:
    made = _settings(birth)
    passages = _read(made.path, made.words, digest_documents(made.path))
    return sorted(passages, key=lambda passage: digest([birth.settings.seed, passage.key]))


@lru_cache(maxsize=1)
def _read(path: Path, words: int, state: str) -> list[Passage]:
    return read_passages(path, words)


def digest_documents(path: Path) -> str:
    """One digest for the names and bytes of a document or a folder of them; "" where there is none yet."""
    if not path.is_dir():
        return file_digest(path) if path.is_file() else ""
    files = sorted(p for p in path.rglob("*") if p.is_file())
    return digest([[p.relative_to(path).as_posix(), file_digest(p)] for p in files])


def _number(passage: Passage) -> int:
    """What stands for the number of a call in all that is drawn: the passage decides it, not its place."""
    return int(digest(passage.key)[:12], 16) % SPREAD


def schema(pairs: int) -> dict[str, Any]:
    """The JSON that is asked for."""
    fields = ["question", "answer"]
    pair = {
        "type": "object",
        "properties": {name: {"type": "string"} for name in fields},
        "required": fields,
        "additionalProperties": False,
    }
    many = {"type": "array", "items": pair}
    return {"type": "object", "properties": {"pairs": many}, "required": ["pairs"], "additionalProperties": False}


def _request(birth: Birth, passage: Passage, traits: Traits) -> dict[str, Any]:
    """The request about a passage; an example of a passage with its pairs goes before it as a turn of its own."""
    example = birth.words.text("documents-example")
    shown = parse(example)
    turns = [{"role": "user", "content": _question(birth, passage.text, _settings(birth).pairs, traits)}]
    # the shipped example is English and of no use to other languages
    if shown and (birth.english or "documents-example.txt" in birth.words.own):
        text = example[: _first_label(example)].strip()
        answer = _written(shown, birth.structured)
        turns = [
            {"role": "user", "content": _question(birth, text, len(shown), Traits())},
            {"role": "assistant", "content": answer},
            *turns,
        ]
    limit = min(birth.settings.answer.max_tokens, TOKENS_AN_ANSWER)
    return {
        "messages": turns,
        "max_tokens": _settings(birth).pairs * (TOKENS_A_QUESTION + limit),
        "temperature": birth.settings.temperature,
        "seed": birth.sampler_seed(_number(passage)),
    }


def _question(birth: Birth, passage: str, pairs: int, traits: Traits) -> str:
    structured, standing = birth.structured, OPEN if _settings(birth).with_passage else CLOSED_BOOK
    style = " ".join(part for part in (traits.system, birth.settings.answer.system) if part)
    return birth.words.say(
        "documents",
        passage=passage,
        pairs=pairs,
        form="Write JSON and nothing else." if structured else 'Each has a line "Question:" and a line "Answer:".',
        standing=standing,
        style=f"How the answers are written: {style}" if style else "An answer is one to three sentences.",
        language=birth.language,
        traits=f"\n- The questions are {traits.text}." if traits.text else "",
    )


def _written(pairs: Sequence[Pair], structured: bool) -> str:
    if structured:
        return json.dumps({"pairs": [{"question": q, "answer": a} for q, a in pairs]}, ensure_ascii=False)
    return "\n\n".join(f"Question: {question}\nAnswer: {answer}" for question, answer in pairs)


def _first_label(text: str) -> int:
    found = _LABEL.search(text)
    return found.start() if found else len(text)


def _pairs(value: Any) -> list[Pair]:
    items = value["pairs"] if isinstance(value["pairs"], list) else []
    found = [(item.get("question"), item.get("answer")) for item in items if isinstance(item, dict)]
    return [(_line(q), a.strip()) for q, a in found if isinstance(q, str) and isinstance(a, str)]


def _line(text: str) -> str:
    return " ".join(text.split())


def parse(text: str) -> list[Pair]:
    """The pairs of a reply in lines: each question with the answer that follows it."""
    _, *rest = _LABEL.split(text)
    found: list[Pair] = []
    question = ""
    for label, body in zip(rest[::2], rest[1::2], strict=True):
        if label[0].lower() == "q":
            question = _line(body)
        elif question:
            found.append((question, re.sub(r"\n\s*(?:\d{1,3}[.)]|-{3,}|\*+)?\s*$", "", body.rstrip()).strip()))
            question = ""
    return found


def _kept(
    birth: Birth, calls: tuple[str, ...], reply: Reply, pairs: Sequence[Pair], about: tuple[Passage, Traits]
) -> list[Draft]:
    passage, traits = about
    with_passage = _settings(birth).with_passage
    whole = list(pairs)
    if reply.finish == "length" and whole:
        birth.reject(calls[-1], "unfinished answer (length)", whole.pop()[0])
    cost = reply.cost_usd / len(whole) if reply.cost_usd is not None and whole else reply.cost_usd
    found = []
    for n, (question, answer) in enumerate(whole):
        draft = Draft(
            question, passage.text if with_passage else "", f"{calls[-1]}/{n}", calls, (passage.key,), passage.source,
            output=answer, before=(Message("system", traits.system),) if traits.system else (), traits=traits,
            passage=passage.text, cost_usd=cost,
        )  # fmt: skip
        # a question about files or maps can be answered here: the passage says what they are
        reason = fault(draft, english=False) or ungrounded(question, answer, passage.text, with_passage)
        if reason is None and (match := birth.index.add_if_novel(question, draft.key)):
            reason = f"not novel (ROUGE-L {match.score:.2f})"
        if reason:
            birth.reject(calls[-1], reason, f"{question}\n{answer}")
        else:
            found.append(draft)
    return found


def ungrounded(question: str, answer: str, passage: str, with_passage: bool = False) -> str | None:
    """Why a pair cannot stand on its passage, or None."""
    if not answer:
        return "no answer in the reply"
    if fold(answer) == fold(question):
        return "the answer repeats the question"
    if not with_passage and (pointed := _pointed(question, passage) or _pointed(answer, passage)):
        return f"points at the passage ({pointed})"
    known = set(content_words(passage))
    if not any(_occurs(word, known) for word in content_words(question)):
        return "question is not about the passage"
    figures = _figures(answer)
    if invented := sorted(figures - _figures(passage) - _figures(question) - _spelt(known)):
        return f"answer is not grounded (the passage has no {invented[0]})"
    words = [word for word in content_words(_FIGURE.sub(" ", answer)) if word not in ("yes", "no")]
    own = [word for word in words if word not in set(content_words(question))] or words
    if not own and not figures:
        return "answer is not grounded (it says nothing that could be looked up)"
    found = len(figures) + sum(_occurs(word, known) for word in own)
    share = found / (len(figures) + len(own))
    return f"answer is not grounded ({share:.0%} of its words)" if share < STATED else None


def _pointed(text: str, passage: str) -> str | None:
    """The words that point at the passage; where it uses them itself, they speak of something else."""
    return next((m[0] for m in _POINTS.finditer(text) if fold(m[0]) not in fold(passage)), None)


def _occurs(word: str, known: set[str]) -> bool:
    """Whether a word, or another form of it (walk, walking), is among those of the passage."""
    return word in known or any(_alike(word, other) for other in known if other[0] == word[0])


def _alike(one: str, other: str) -> bool:
    common = Prefix.similarity(one, other)
    short, long = sorted((len(one), len(other)))
    return common >= max(3, short - 2) and long - common < common


def _figures(text: str) -> set[str]:
    return {_GROUP.sub("", number) for number in _FIGURE.findall(text)}


def _spelt(words: set[str]) -> set[str]:
    return {str(value) for value, word in enumerate(_SPELT) if word in words}
