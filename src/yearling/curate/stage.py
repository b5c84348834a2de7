"""The curate stage: every judge speaks on every record, and what it said is kept.

In: `records/` of a run, the recipe's curate section. Out: `verdicts/<judge>/verdicts.parquet`, and
`verdicts/<judge>.json` with its key and counts; a judge whose key stands is not asked again.
Deletes no record, and does not write the accepted ones anywhere: they are a view (`measure/accepted.py`).
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from yearling.curate import engine
from yearling.curate.corpus import Corpus, Flags, Opinions, open_corpus, read_opinions, write_opinions
from yearling.curate.families import places, places_known
from yearling.curate.judges import JUDGES, RowJudge, SetJudge, knob_of
from yearling.curate.reading import TEXTS, read_all
from yearling.errors import UserError
from yearling.measure.accepted import kept
from yearling.progress import progress
from yearling.recipe import Recipe
from yearling.record import digest
from yearling.run_folder import Run, read_json, write_json

READING_TAKES = 60.0  # of a hundred parts of the time, about
READING = 2  # version of the reading step's files

# What to change where a judge took too much.
KNOBS = {
    "shape": "curate.off: [shape] lets such rows through",
    "length": "curate.length holds the limits",
    "refusal": "curate.off: [refusal] lets such rows through; another teacher or generate.answer.system refuses less",
    "language": "curate.off: [language] lets answers in other languages through",
    "reach": "curate.off: [reach] lets such rows through",
    "personal": "curate.personal: mask keeps such rows, with those places masked",
    "toxic": "curate.off: [toxic] lets such rows through",
    "exact": "curate.off: [exact] keeps duplicates",
    "contamination": "curate.decontaminate names the test questions",
    "contradiction": "curate.off: [contradiction] keeps such rows",
    "near": "a higher curate.near.above lets closer rows through",
    "semantic": "a higher curate.semantic.above lets closer rows through",
    "novelty": "a higher curate.novelty lets closer prompts through",
    "outlier": "a lower curate.semantic.outlier lets rows farther off through",
    "harm": "curate.toxic: lexicon asks no teacher",
    "score": "a lower curate.judge.min_score lets more through",
    "select": "curate.select says how many rows are kept",
}


def run_curate(recipe: Recipe, run: Run, questions: Sequence[tuple[str, str]] = ()) -> dict[str, int]:
    """Judge all records; counts in, accepted, train, test, and for each judge those it was the first to fail.

    `questions` are those of `curate.decontaminate`: where each is from, and its text.

    Raises UserError where there is nothing to judge or nothing is left.
    """
    if recipe.curate is None:
        raise UserError(
            f"recipe {recipe.name} has no `curate:` section. Add `curate: {{}}` to judge with the defaults."
        )
    place = -1  # of the judge that speaks; the reading step comes before the first
    with progress(run, "curate", 100, "%") as advance:

        def told(rows: int, of: int) -> None:
            part = min(rows / of, 0.99) if of else 0.0
            advance(round(part * READING_TAKES if place < 0 else _percent(place + part), 1), rows=rows, of=of)

        corpus = open_corpus(run, [*questions, *own_questions(recipe)], told)
        engine.start(recipe.ray_address)
        by_hand = np.isin(corpus.ids.to_numpy(zero_copy_only=False), list(kept(run)))
        first = np.full(len(corpus), -1, np.int16)  # of the judges, the first that failed a record
        read = _read(recipe, corpus)
        with ThreadPoolExecutor(1) as aside:
            ready = _prepared(corpus, recipe, aside)
            for place, judge in enumerate(JUDGES):
                if judge.name in ready:
                    ready[judge.name].result()
                said = _judged(judge, corpus, first, recipe, read)
                first[said.failed & (first < 0) & ~by_hand] = place
                advance(round(_percent(place + 1), 1), judge=judge.name, accepted=int(np.count_nonzero(first < 0)))
    try:
        return _counts(corpus, first, recipe)
    finally:  # every verdict is written
        shutil.rmtree(corpus.work, ignore_errors=True)


def _prepared(corpus: Corpus, recipe: Recipe, aside: ThreadPoolExecutor) -> dict[str, Future[Any]]:
    """What judges can do before they are asked, under way, by their names; texts must have been read."""
    return {
        judge.name: aside.submit(judge.prepare, corpus, recipe)
        for judge in JUDGES
        if isinstance(judge, SetJudge) and judge.prepare and corpus.texts and knob_of(judge, recipe) is not None
    }


def _percent(judges: float) -> float:
    """How far curate is when so many judges have spoken."""
    return READING_TAKES + (100 - READING_TAKES) * judges / len(JUDGES)


def own_questions(recipe: Recipe) -> list[tuple[str, str]]:
    """The questions that the recipe's own exam will ask beside the test split."""
    asked = recipe.eval.questions if recipe.eval else ()
    return [("eval.questions", question) for question in asked]


def _read(recipe: Recipe, corpus: Corpus) -> Mapping[str, Opinions]:
    """The reading step for the row judges whose key does not stand: what they say."""
    stale = [j.name for j in JUDGES if isinstance(j, RowJudge) and not _stands(j, corpus, recipe, None)]
    asked = [j for j in JUDGES if j.name in stale and knob_of(j, recipe) is not None]
    return _reading(corpus, [j.name for j in asked], recipe) if stale else {}


def _reading(corpus: Corpus, judges: list[str], recipe: Recipe) -> dict[str, Opinions]:
    """The reading step, whose files are also the texts of judges that compare."""
    versions = [[j.name, j.version, knob_of(j, recipe)] for j in JUDGES if j.name in judges]
    return read_all(corpus, judges, recipe, digest([READING, TEXTS, versions, corpus.digest]))


def _judged(
    judge: RowJudge | SetJudge, corpus: Corpus, first: Any, recipe: Recipe, read: Mapping[str, Opinions]
) -> Opinions:
    """The judge's opinions, from its table where its key stands, and written where they changed."""
    gone: Flags = first >= 0
    if isinstance(judge, RowJudge) or knob_of(judge, recipe) is None:
        gone = np.zeros(len(corpus), bool)
    folder = corpus.run.verdicts / judge.name
    stored = read_opinions(folder, corpus.ids) if _stands(judge, corpus, recipe, ~gone) else None
    corpus.run.event("judge", judge=judge.name, asked=stored is None)
    said = stored if stored is not None else _ask(judge, corpus, ~gone, recipe, read)
    before = said.reasons.copy() if stored is not None else None
    for place in np.flatnonzero(gone):
        said.reasons[place] = f"failed {JUDGES[first[place]].name}"
    # Which judge failed a record first may change while the survivors, and so the key, do not.
    if before is None or (before != said.reasons).any():
        note = _note(judge, corpus.run)
        note.unlink(missing_ok=True)  # so that a kill between the two files never pairs this table with an old key
        write_opinions(said, corpus.ids, folder / "verdicts.parquet")
        key = _key(judge, corpus, recipe, ~gone)
        write_json(note, {"judge": judge.name, "version": judge.version, **key, **said.tally()})
    return said


def _ask(
    judge: RowJudge | SetJudge, corpus: Corpus, standing: Flags, recipe: Recipe, read: Mapping[str, Opinions]
) -> Opinions:
    if knob_of(judge, recipe) is None:
        said = Opinions(len(corpus))
        said.skip(np.ones(len(corpus), bool), "switched off")
    elif isinstance(judge, RowJudge):
        said = read[judge.name] if judge.name in read else _reading(corpus, [judge.name], recipe)[judge.name]
    else:
        if not corpus.texts:
            _reading(corpus, [], recipe)
        said = judge.say(corpus, standing, recipe)
        said.skip(~standing, "")
    return said


def _note(judge: RowJudge | SetJudge, run: Run) -> Any:
    return run.verdicts / f"{judge.name}.json"


def _key(judge: RowJudge | SetJudge, corpus: Corpus, recipe: Recipe, standing: Flags | None) -> dict[str, Any]:
    compares = isinstance(judge, SetJudge) and standing is not None
    parts = {
        "settings": knob_of(judge, recipe),
        "records": corpus.digest,
        "standing": digest(np.packbits(standing).tobytes().hex()) if compares and standing is not None else None,
    }
    return {"key": digest([judge.name, judge.version, parts]), **parts}


def _stands(judge: RowJudge | SetJudge, corpus: Corpus, recipe: Recipe, standing: Flags | None) -> bool:
    """Whether what the judge said last is what it would say now."""
    note, table = _note(judge, corpus.run), corpus.run.verdicts / judge.name / "verdicts.parquet"
    known = note.exists() and table.exists()
    return known and read_json(note).get("key") == _key(judge, corpus, recipe, standing)["key"]


def _counts(corpus: Corpus, first: Any, recipe: Recipe) -> dict[str, int]:
    assert recipe.curate is not None
    took = {judge.name: int(np.count_nonzero(first == place)) for place, judge in enumerate(JUDGES)}
    chosen = np.flatnonzero(first < 0)
    if not len(chosen):
        most = max(took, key=lambda name: took[name])
        each = ", ".join(f"{name} {count}" for name, count in took.items() if count)
        raise UserError(
            f"curate accepted none of {len(corpus)} records; failed by {each}. "
            f"{KNOBS[most]}; `yearling trace <id>` shows why one failed."
        )
    if not corpus.texts and not places_known(corpus):
        _reading(corpus, [], recipe)
    test = int(np.count_nonzero(places(corpus)[chosen] < recipe.curate.test))
    counts = {"in": len(corpus), "accepted": len(chosen), "train": len(chosen) - test, "test": test}
    return counts | {f"failed_{name}": count for name, count in took.items()}
