"""The generate stage: rounds of calls until enough rows are born.

In: the recipe and the ledger. Out: `records/generate-*.parquet`, and `rejected/generate.parquet` with reasons.
A round's calls depend on the seed, their numbers and finished rounds only, so a killed run asks the same again
and finds it answered: the stage simply starts over, and everything it has paid for comes from the ledger.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple
from typing import Any

from yearling.errors import UserError
from yearling.generate import alpaca, documents, evolve, instances, magpie, self_instruct
from yearling.generate.answer import Row, answer, borrowed
from yearling.generate.birth import Birth, Told
from yearling.generate.draft import Draft
from yearling.generate.seeds import Seed, load_seeds
from yearling.generate.variety import read_lists
from yearling.ledger import Ledger
from yearling.measure.novelty import NoveltyIndex
from yearling.progress import progress, say
from yearling.recipe import Generate, Method, Recipe
from yearling.record import Origin, Record, digest, read_records, write_records, write_table
from yearling.run_folder import Run, folder_digest
from yearling.teachers.ask import Asker
from yearling.teachers.teacher import open_teacher
from yearling.teachers.words import Words

SMALLEST_ROUND, LARGEST_ROUND = 8, 1024
LEAST_YIELD = 0.25  # the least share of good ones that is believed, of instructions and of answers
FIRST_YIELD = 0.5  # the share assumed before anything is known

Drafting = Callable[[Birth, range], list[Draft]]
Answering = Callable[[Birth, Sequence[Draft]], list[Row]]
# How each method writes instructions, and the prompts it says; those that answer in their own way are below.
DRAFTING: dict[Method, tuple[Drafting, tuple[str, ...]]] = {
    "magpie": (magpie.drafts, ()),
    "alpaca": (alpaca.drafts, ("alpaca",)),
    "self-instruct": (self_instruct.drafts, (*self_instruct.PROMPTS, *instances.PROMPTS)),
    "answer": (borrowed, ()),
    "evolve": (evolve.starts, evolve.PROMPTS),
    "documents": (documents.drafts, ("documents", "documents-example")),
}
ANSWERING: dict[Method, Answering] = {"evolve": evolve.evolve, "self-instruct": instances.answer}
SEEDED: tuple[Method, ...] = ("alpaca", "self-instruct", "evolve")
# Held to rules of their own instead of those for new instructions: what people wrote, what must be like its parent,
# what is about a passage, and what is judged block by block.
SIEVED: tuple[Method, ...] = ("answer", "evolve", "documents", "self-instruct")


def run_generate(recipe: Recipe, run: Run) -> tuple[dict[str, int], dict[str, Any]]:
    """Ask until `generate.num` rows are born; counts and results for the manifest.

    Raises UserError when the teacher yields too few rows within the allowed attempts.
    """
    assert recipe.generate is not None
    num = recipe.generate.num
    with progress(run, "generate", num, "rows") as advance:

        def told(birth: Birth) -> None:
            done = min(len(birth.records) + birth.finished, num)
            advance(done, flying=lambda: flying(birth), **facts(birth))

        with open_birth(recipe, run, told) as birth:
            told(birth)
            while len(birth.records) < num and not (birth.exhausted and not birth.waiting):
                _check_attempts(birth)
                play_round(birth)
                told(birth)
            return _write(birth, run)


@contextmanager
def open_birth(recipe: Recipe, run: Run, told: Told, asking: type[Asker] = Asker) -> Iterator[Birth]:
    """The stage before its first round: teacher started, ledger open, lists and seeds read."""
    settings = recipe.generate
    assert settings is not None and recipe.teacher is not None
    seeds = load_seeds(settings.seeds) if settings.method in SEEDED else []
    words, lists = Words(settings.variety.prompts), read_lists(settings.variety)
    prompts = sorted(read_records(run.path / "prompts"), key=lambda record: record.origin.sequence)
    index = _index(recipe, seeds)
    with (
        Ledger(run.ledger, run.name, recipe.budget) as ledger,
        open_teacher(recipe.teacher) as teacher,
        asking(teacher, ledger, "generate", recipe.teacher.reasoning.keep) as asker,
    ):
        yield Birth(recipe, settings, asker, words, lists, seeds, index, told, prompts, ledger.spent())


def afresh(birth: Birth) -> Birth:
    """The same stage before its first round again."""
    index = _index(birth.recipe, birth.seeds)
    return Birth(
        birth.recipe, birth.settings, birth.asker, birth.words, birth.lists, birth.seeds, index, birth.told,
        birth.prompts, birth.before,
    )  # fmt: skip


def _index(recipe: Recipe, seeds: Sequence[Seed]) -> NoveltyIndex:
    index = NoveltyIndex(0.7 if recipe.curate is None else (recipe.curate.novelty or 1.0))
    for seed in seeds:
        index.add(seed.instruction, seed.id)
    return index


def digest_inputs(recipe: Recipe, run: Run) -> dict[str, str]:
    """What decides the stage's calls beside the recipe: digests of seeds, lists, words, documents, borrowed prompts."""
    settings = recipe.generate
    assert settings is not None
    words, lists = Words(settings.variety.prompts), read_lists(settings.variety)
    found = {name: digest(words.text(name)) for name in DRAFTING[settings.method][1]}
    found |= {"own " + name: value for name, value in words.own.items()}
    if settings.answer.turns > 1 and settings.method != "magpie":
        found["follow"] = digest(words.text("follow"))
    if settings.method in SEEDED:
        found["seeds"] = digest([astuple(seed) for seed in load_seeds(settings.seeds)])
    if lists.personas or lists.systems:
        found["lists"] = digest([lists.personas, lists.systems])
    if settings.documents and settings.method == "documents":
        found["documents"] = documents.digest_documents(settings.documents.path)
    if (run.path / "prompts").is_dir():
        found["prompts"] = folder_digest(run.path / "prompts")
    return found


def facts(birth: Birth) -> dict[str, Any]:
    """Where the stage stands, for people and for the event log: numbers; the cost is what was settled or lost."""
    tally, before = birth.tally, birth.before
    lost = birth.asker.ledger.spent().lost_usd - before.lost_usd
    unknown = before.unknown or tally.sent_usd is None
    return {
        "rejected": len(birth.rejected),
        "reasons": dict(birth.reasons.most_common(5)),
        "cached": tally.calls - tally.sent,
        **flying(birth),
        "tokens": tally.tokens,
        "cost_usd": None if unknown else before.usd + (tally.sent_usd or 0.0) + lost,
        "budget_usd": birth.recipe.budget.max_cost_usd,
    }


def flying(birth: Birth) -> dict[str, int]:
    """Calls in flight, and how many may be."""
    limit = birth.asker.limit
    if limit is None:
        return {"in_flight": 0, "limit": birth.asker.teacher.concurrency}
    return {"in_flight": limit.flying, "limit": max(1, int(limit.now))}


def play_round(birth: Birth) -> None:
    """New instructions where none wait, then as many answers as are likely to be needed.

    Rows are born in the order of their drafts, so what is asked for a smaller `num` is the beginning of a larger one.
    """
    if not birth.waiting:
        write_drafts(birth, draft_requests(birth.settings, birth.calls, len(birth.records)))
    give_answers(birth, answers_wanted(birth.settings, birth.asked, len(birth.records)))


def write_drafts(birth: Birth, size: int) -> None:
    """Make the next `size` numbered requests for instructions; those worth an answer wait for one."""
    drafting, _ = DRAFTING[birth.settings.method]
    drafts = drafting(birth, range(birth.calls, birth.calls + size))
    birth.calls += size
    kept = drafts if birth.settings.method in SIEVED else [d for d in drafts if birth.worth_an_answer(d)]
    birth.waiting += kept


def give_answers(birth: Birth, count: int) -> None:
    """Answer the next `count` drafts that wait; the finished ones become records."""
    chosen, birth.waiting = birth.waiting[:count], birth.waiting[count:]
    birth.asked += len(chosen)
    rows = ANSWERING.get(birth.settings.method, answer)(birth, chosen)
    birth.records += [_record(birth, row, len(birth.records) + n) for n, row in enumerate(rows)]


def draft_requests(made: Generate, calls: int, born: int) -> int:
    """Requests of the next round, after `calls` of them and `born` rows: what is likely to be needed, within bounds."""
    rows = {
        "alpaca": made.alpaca.per_call,
        "self-instruct": made.self_instruct.per_call,
        "evolve": made.evolve.rounds + made.evolve.keep_start,
        "documents": made.documents.pairs if made.documents else 1,
    }
    tasks = rows.get(made.method, 1)
    per_call = max(LEAST_YIELD, born / calls) if calls else FIRST_YIELD * tasks
    wanted = math.ceil((made.num - born) / per_call)
    largest = min(LARGEST_ROUND, max(64, made.num // 4))
    return max(1 if tasks > 1 else SMALLEST_ROUND, min(largest, wanted))


def answers_wanted(made: Generate, asked: int, born: int) -> int:
    """Drafts to be answered next, after `asked` of them and `born` rows."""
    believed = max(LEAST_YIELD, born / asked) if asked else FIRST_YIELD
    return max(SMALLEST_ROUND, math.ceil((made.num - born) / believed))


def gives_up(made: Generate, calls: int) -> bool:
    """Whether so many requests for drafts are all that the recipe allows."""
    return calls > made.num * made.attempts and calls >= 128


def _record(birth: Birth, row: Row, sequence: int) -> Record:
    teacher, draft = birth.asker.teacher, row.draft
    _, names = DRAFTING[birth.settings.method]
    said = [birth.words.text(name) for name in names]
    origin = Origin(
        method=birth.settings.method,
        key=draft.key,
        sequence=sequence,
        teacher=teacher.name,
        parents=draft.parents,
        licence=teacher.licence if draft.licence is None else f"{draft.licence}; answers: {teacher.licence}",
        cost_usd=row.cost_usd,
        calls=row.calls,
        prompt_digest=digest(said) if said else "",
        source=draft.shown,
        traits=draft.traits.text,
        passage=draft.passage,
    )
    return Record(row.messages, origin, kind=draft.kind)


def _check_attempts(birth: Birth) -> None:
    settings = birth.settings
    if not gives_up(settings, birth.calls):
        return
    why = ", ".join(f"{reason} {count}" for reason, count in birth.reasons.most_common(3))
    raise UserError(
        f"{len(birth.records)} of {settings.num} rows after {birth.calls} calls; rejected: {why}. "
        "Raise generate.answer.max_tokens, ask for shorter answers in generate.answer.system, "
        "or raise generate.attempts."
    )


def _write(birth: Birth, run: Run) -> tuple[dict[str, int], dict[str, Any]]:
    import pyarrow as pa

    num, tally, teacher = birth.settings.num, birth.tally, birth.asker.teacher
    records = birth.records[:num]
    if not records:
        why = ", ".join(f"{reason} {count}" for reason, count in birth.reasons.most_common(3))
        raise UserError(f"no row was born and there is nothing more to ask about; rejected: {why or 'nothing'}.")
    write_records(records, run.records / "generate-00000.parquet")
    text = pa.schema([("call", pa.string()), ("reason", pa.string()), ("text", pa.string())])
    write_table(birth.rejected, text, run.path / "rejected" / "generate.parquet")
    counts = {"rows": len(records), "calls": tally.calls, "sent": tally.sent, "rejected": len(birth.rejected)}
    fewer = f" of {num} wanted: there was nothing more to ask about" if len(records) < num else ""
    say(f"generate: {len(records)} rows{fewer} from {tally.calls} calls, {tally.sent} of them new")
    results = {
        "teacher": teacher.name,
        "licence": teacher.licence,
        "rejected": dict(birth.reasons.most_common()),
        "completion_tokens": tally.all_tokens,
        "cost_usd": tally.cost_usd,
    }
    return counts, results
