"""Self-Instruct (Wang et al. 2022), its later stages: is it a classification task, then instances, then what is valid.

In: drafts without an answer. Out: one row for each instance kept; what is turned away is kept with its reason.
Classification tasks are asked label first, so that the teacher does not write inputs of one label only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from yearling.generate.answer import Row
from yearling.generate.birth import Birth
from yearling.generate.draft import Draft, dice
from yearling.generate.seeds import Seed, load_seeds
from yearling.ledger import Reply
from yearling.recipe import Answers
from yearling.record import Message

PROMPTS = ("classify", "instances", "labels")
# The source's numbers: demonstrations of each question, and settings of the request.
YES, NO, LABELLED, PLAIN = 12, 19, 16, 11
WORD_TOKENS, CHAT_WORD_TOKENS = 3, 8  # a chat may begin with a mark or a line break
LABEL_TOKENS, PLAIN_TOKENS = 300, 350
PRESENCE_PENALTY = 1.5
MOST_LABELS = 5
_YES = re.compile(r"(?:\W|_|classification:)*yes\b", re.I)
_M = r"[*#_ \t]*"
_EXAMPLE = re.compile(rf"^{_M}example{_M}\d{{0,3}}{_M}[.):]?{_M}(?=\n|\Z|(?:input|output)\b)", re.I | re.M)
_INPUT = re.compile(rf"^{_M}input{_M}\d{{0,3}}{_M}:{_M}", re.I | re.M)
_OUTPUT = re.compile(rf"^{_M}output{_M}\d{{0,3}}{_M}:{_M}", re.I | re.M)
_LABEL = re.compile(rf"^{_M}class label{_M}\d{{0,3}}{_M}:{_M}", re.I | re.M)
_NOTHING = re.compile(r"[\W_]*(none|n/?a|no ?input)?[\W_]*", re.I)


class Instance(NamedTuple):
    """One instance of an instruction; `place` is its number in the reply."""

    place: int
    input: str
    output: str


class Asked(NamedTuple):
    """What was asked about a draft: its calls, its bill, the last reply, and the instances in it."""

    calls: tuple[str, ...]
    cost_usd: float | None
    reply: Reply
    found: list[Instance] | None


def answer(birth: Birth, drafts: Sequence[Draft]) -> list[Row]:
    """A row for each instance of the drafts that is kept, in the order of the drafts and of their replies."""
    tested = classify(birth, drafts)
    asked: dict[str, Asked] = {}
    for labelled in (True, False):
        chosen = [draft for draft in tested if bool(draft.kind) == labelled]
        asked |= zip((draft.key for draft in chosen), _write(birth, chosen, labelled), strict=True)
    return [row for draft in tested for row in _rows(birth, draft, asked[draft.key])]


def classify(birth: Birth, drafts: Sequence[Draft]) -> list[Draft]:
    """The drafts, each with the call that told whether it is a classification task, and its kind."""
    shown = "\n\n".join(
        f"Task: {_line(seed.instruction)}\nClassification: {'Yes' if seed.classification else 'No'}"
        for seed in questions(birth)
    )
    completion = birth.settings.self_instruct.completion
    requests = []
    for draft in drafts:
        text = birth.words.say("classify", demonstrations=shown, instruction=_line(draft.instruction))
        body = {"temperature": 0.0, "max_tokens": WORD_TOKENS if completion else CHAT_WORD_TOKENS}
        requests.append(({**_said(birth, text, ["\n", "Task"]), **body}, 0))
    tested = []
    for draft, (call, reply) in zip(drafts, birth.ask(requests), strict=True):
        kind = "classification" if _YES.match(reply.text) else ""  # no answer counts as no
        cost = _sum(draft.cost_usd, reply.cost_usd)
        tested.append(replace(draft, calls=(*draft.calls, call.key), cost_usd=cost, kind=kind))
    return tested


def questions(birth: Birth) -> list[Seed]:
    """The seeds shown with the question whether a task is classification: the same for every draft."""
    chance = dice(birth.settings.seed, "classify")
    kinds = [[seed for seed in birth.seeds if seed.classification == yes] for yes in (True, False)]
    picked = [
        [kind[place] for place in chance.sample(range(len(kind)), min(most, len(kind)))]
        for kind, most in zip(kinds, (YES, NO), strict=True)
    ]
    chosen = [*picked[0], *picked[1]]
    chance.shuffle(chosen)
    return chosen


def demonstrations(birth: Birth, labelled: bool) -> list[Seed]:
    """The seeds shown with instances: the same for every draft. Those with several instances come first.

    A seed file that has none of the kind is helped out by the shipped one: the form must be shown.
    """
    chance = dice(birth.settings.seed, f"instances:{labelled}")
    fitting = _answered(birth.seeds, labelled) or _answered(load_seeds(None), labelled)
    if labelled:  # a label without a text shows nothing, unless there is no better one
        fitting = [seed for seed in fitting if seed.input] or fitting
    order = sorted(chance.sample(range(len(fitting)), len(fitting)), key=lambda place: not fitting[place].more)
    chosen = [fitting[place] for place in order[: LABELLED if labelled else PLAIN]]
    chance.shuffle(chosen)
    return chosen


def _answered(seeds: Sequence[Seed], labelled: bool) -> list[Seed]:
    return [seed for seed in seeds if seed.classification == labelled and seed.output]


def _write(birth: Birth, drafts: Sequence[Draft], labelled: bool) -> list[Asked]:
    structured = birth.structured and not birth.settings.self_instruct.completion
    shown = "\n\n".join(_shown(seed, labelled, structured) for seed in demonstrations(birth, labelled))
    requests = [(request(birth, draft, shown), 0) for draft in drafts]
    if structured:
        told = birth.ask_json(requests, _schema(labelled), cut=_schema(labelled, whole=False))
        found = [
            (tuple(call.key for call in calls), reply, _pairs(value, labelled) if value else None)
            for calls, reply, value in told
        ]
    else:
        read = parse_labels if labelled else parse
        found = [((call.key,), reply, read(reply.text)) for call, reply in birth.ask(requests)]
    return [
        Asked((*draft.calls, *calls), _sum(draft.cost_usd, reply.cost_usd), reply, pairs)
        for draft, (calls, reply, pairs) in zip(drafts, found, strict=True)
    ]


def request(birth: Birth, draft: Draft, shown: str) -> dict[str, Any]:
    """The request for the instances of a draft: demonstrations first, so that an endpoint may keep what it read."""
    made, labelled = birth.settings.self_instruct, bool(draft.kind)
    name = "labels" if labelled else "instances"
    text = birth.words.say(
        name, demonstrations=shown, instruction=_line(draft.instruction), form=_form(birth, labelled),
        language=birth.language,
    ).rstrip()  # fmt: skip
    limit, own = LABEL_TOKENS if labelled else PLAIN_TOKENS, birth.settings.answer.max_tokens
    system = "\n\n".join(part for part in (draft.traits.system, birth.settings.answer.system) if part)
    return {
        **_said(birth, text + "\n" if made.completion else text, ["\nExample 6", "\nTask:"], system),
        "max_tokens": own if own > max(limit, Answers().max_tokens) else limit,
        "temperature": 0.0,
        "presence_penalty": PRESENCE_PENALTY,
    }


def _form(birth: Birth, labelled: bool) -> str:
    made = birth.settings.self_instruct
    if made.completion:
        return ""
    way = "as JSON in the same form, and nothing else" if birth.structured else "in the same form"
    if labelled:
        return f"Now write for this task one instance for each label, of {MOST_LABELS} labels at most, {way}."
    most = "one example" if made.instances == 1 else f"{made.instances} different examples, or one if it has no input,"
    return f"Now write for this task {most} {way}."


def _said(birth: Birth, text: str, stop: list[str], system: str = "") -> dict[str, Any]:
    """The words of a request: raw, with the source's stops, or as a user's turn."""
    seed = birth.settings.seed
    if birth.settings.self_instruct.completion:
        return {"prompt": text, "stop": stop, "seed": seed}
    turns = [{"role": "system", "content": system}] if system else []
    return {"messages": [*turns, {"role": "user", "content": text}], "seed": seed}


def _shown(seed: Seed, labelled: bool, structured: bool) -> str:
    task = f"Task: {_line(seed.instruction)}"
    if structured:
        pairs = [{"input": given, _output(labelled): output} for given, output in seed.instances]
        listed = [dict(reversed(pair.items())) if labelled else pair for pair in pairs]
        return f"{task}\n{json.dumps({'instances': listed}, ensure_ascii=False)}"
    if labelled:
        return "\n".join([task, *(f"Class label: {output}\nInput: {given}" for given, output in seed.instances)])
    if not seed.input and not seed.more:
        return f"{task}\nOutput: {seed.output}"
    examples = enumerate(seed.instances, 1)
    return "\n".join([task, *(f"Example {n}\nInput: {given}\nOutput: {output}" for n, (given, output) in examples)])


def _output(labelled: bool) -> str:
    return "label" if labelled else "output"


def _schema(labelled: bool, whole: bool = True) -> dict[str, Any]:
    """The schema of a reply, whose first field is written first; one that was cut off may lack fields at its end."""
    names = [_output(labelled), "input"] if labelled else ["input", _output(labelled)]
    fields = {name: {"type": "string"} for name in names}
    required = names if whole else []
    one = {"type": "object", "properties": fields, "required": required, "additionalProperties": False}
    several = {"instances": {"type": "array", "items": one}}
    return {"type": "object", "properties": several, "required": ["instances"], "additionalProperties": False}


def _pairs(value: dict[str, Any], labelled: bool) -> list[Instance]:
    texts = [(one.get("input", ""), one.get(_output(labelled), "")) for one in value["instances"]]
    return [Instance(n, _given(given), output.strip()) for n, (given, output) in enumerate(texts)]


def _given(text: str) -> str:
    """An input as it goes into a prompt: "" where the teacher said that there is none."""
    return "" if _NOTHING.fullmatch(text) else text.strip()


def _line(text: str) -> str:
    return " ".join(text.split())


def parse(text: str) -> list[Instance]:
    """The instances of a reply that writes inputs first; none where neither an example nor an output is marked."""
    if _EXAMPLE.search(text):
        pieces = [piece for piece in _EXAMPLE.split(text)[1:] if piece.strip()]
    else:
        pieces = [text] if _OUTPUT.search(text) else []
    return [Instance(n, *_fields(piece)) for n, piece in enumerate(pieces)]


def _fields(piece: str) -> tuple[str, str]:
    """Input and output of an example; what follows under a second label belongs to no instance."""
    parts = _OUTPUT.split(piece, maxsplit=2)
    given, output = (parts[0], parts[1]) if len(parts) > 1 else ("", parts[0])
    return _given(_INPUT.sub("", given.strip(), count=1)), _INPUT.split(output, maxsplit=1)[0].strip()


def parse_labels(text: str) -> list[Instance]:
    """The instances of a reply that writes labels first: a label is one line, the rest is the input."""
    found = []
    for n, piece in enumerate(_LABEL.split(text)[1:]):
        label, _, given = piece.strip().partition("\n")
        found.append(Instance(n, _given(_INPUT.sub("", given.strip(), count=1)), label.strip(" *_\t\r")))
    return found


def sift(found: Sequence[Instance], labelled: bool = False) -> tuple[list[Instance], list[tuple[str, Instance]]]:
    """The valid instances of one instruction in their order, and the others, each with what is wrong with it."""
    whole: list[Instance] = []
    dropped: list[tuple[str, Instance]] = []
    for one in found:
        reason = _invalid(one)
        if reason:
            dropped.append((reason, one))
        else:
            whole.append(one)
    outputs: dict[str, str] = {}
    # a label that comes with no input contradicts the next one as well; in other tasks several outputs may be right
    compared = [one for one in whole if one.input or labelled]
    if any(outputs.setdefault(one.input, one.output) != one.output for one in compared):
        return [], [*dropped, *(("contradicts another instance", one) for one in whole)]
    kept: list[Instance] = []
    for one in whole:
        if any((one.input, one.output) == (other.input, other.output) for other in kept):
            dropped.append(("the same instance twice", one))
        else:
            kept.append(one)
    return kept, dropped


def _invalid(one: Instance) -> str | None:
    if not one.output:
        return "empty output"
    if one.input == one.output:
        return "input equals output"
    if one.input.endswith(":") or one.output.endswith(":"):
        return "ends in a colon"
    return None


def _rows(birth: Birth, draft: Draft, asked: Asked) -> list[Row]:
    """A row for each instance of a draft that is kept; several are one family, under the key of the draft."""
    kept = _kept(birth, draft, asked)
    family = (draft.key,) if len(kept) > 1 else ()
    cost = asked.cost_usd / len(kept) if asked.cost_usd is not None and kept else asked.cost_usd
    rows = []
    for one in kept:
        born = replace(
            draft, input=one.input, output=one.output, key=f"{draft.key}/{one.place}",
            calls=asked.calls, parents=family, cost_usd=cost,
        )  # fmt: skip
        turns = (*draft.before, Message("user", born.prompt), Message("assistant", one.output))
        rows.append(Row(born, turns, asked.calls, cost))
    return rows


def _kept(birth: Birth, draft: Draft, asked: Asked) -> list[Instance]:
    """The valid instances, so many of them as are wanted, chosen by the dice."""
    call, reply, most = asked.calls[-1], asked.reply, birth.settings.self_instruct.instances
    if asked.found is None:  # told already
        return []
    if reply.finish == "content_filter":
        birth.reject(call, "blocked by the provider", draft.instruction)
        return []
    if not asked.found:
        birth.reject(call, "no instance in the reply", f"{draft.instruction}\n\n{reply.text}")
        return []
    cut = reply.finish == "length"
    kept, dropped = sift(asked.found[:-1] if cut else asked.found, bool(draft.kind))
    dropped += [("unfinished instance", asked.found[-1])] if cut else []
    chosen = sorted(dice(birth.settings.seed, draft.key).sample(range(len(kept)), min(most, len(kept))))
    dropped += [("more instances than wanted", one) for n, one in enumerate(kept) if n not in chosen]
    for reason, one in dropped:
        birth.reject(call, reason, "\n\n".join(part for part in (draft.instruction, *one[1:]) if part))
    return [kept[n] for n in chosen]


def _sum(left: float | None, right: float | None) -> float | None:
    return None if left is None or right is None else left + right
