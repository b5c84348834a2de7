"""The judge of leaks: rows that hold a question which the student will be examined on.

In: a corpus, which of its records still stand, the recipe's test share, the questions of its files and its exam. Out:
opinions; the score is the share of the question that was found.
Rows of the test split are an exam themselves: for them only the other questions count.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from yearling.curate import engine
from yearling.curate.corpus import Corpus, Flags, Opinions, id_digest
from yearling.curate.families import places
from yearling.curate.reading import BETWEEN
from yearling.curate.semantic import questions_asked
from yearling.curate.vectors import vectors_of
from yearling.measure.contamination import Leak, Leaks
from yearling.measure.embeddings import embed
from yearling.recipe import Recipe, Semantic

if TYPE_CHECKING:
    import pyarrow as pa

OWN, OTHER = "own", "other"  # the run's test split, and every other exam


def judge_contamination(corpus: Corpus, standing: Flags, recipe: Recipe) -> Opinions:
    """Fail training rows that hold a question of the test split, and all rows that hold one of another exam."""
    assert recipe.curate is not None
    said, test = Opinions(len(corpus)), places(corpus) < recipe.curate.test
    prompts = corpus.in_order(corpus.texts, "prompt")["prompt"]
    held_out = np.flatnonzero(test & standing)
    ids = corpus.ids.take(held_out).to_pylist()
    # what was found of other questions before a kill is not what is asked for now
    folder = corpus.work / f"leaks-{id_digest([*ids, *(text for pair in corpus.questions for text in pair)])[:16]}"
    folder.mkdir(parents=True, exist_ok=True)
    Leaks.build(zip(ids, prompts.take(held_out).to_pylist(), strict=True)).save(folder / f"{OWN}.npz")
    Leaks.build(corpus.questions).save(folder / f"{OTHER}.npz")
    worker, columns = (searcher, folder.resolve()), ("id", "asked", "answered")
    files = engine.map_files(corpus.texts, columns, worker, _schema(), folder / "found", corpus.told)
    found = corpus.in_order(files, *_schema().names[1:])
    for kind, counts in ((OWN, standing & ~test), (OTHER, standing)):
        names, shares = found[f"{kind}.name"], found[f"{kind}.share"].to_numpy()
        for place in np.flatnonzero(counts & (shares > 0)):
            of = f"test row {names[place]}" if kind == OWN else str(names[place])
            said.fail(int(place), f"holds a question of the exam: {of}", float(shares[place]))
    if recipe.curate.semantic.exam is not None:
        _by_meaning(corpus, standing, test, recipe.curate.semantic, said)
    return said


def _by_meaning(corpus: Corpus, standing: Flags, test: Flags, settings: Semantic, said: Opinions) -> None:
    """Fail the same rows for questions in other words; the cosine of prompt and question is the score."""
    assert settings.exam is not None
    prompts, vectors = corpus.in_order(corpus.texts, "prompt")["prompt"], vectors_of(corpus, settings.model, True)
    held_out, texts = np.flatnonzero(test & standing), [text for _, text in corpus.questions]
    exams: list[tuple[Flags, list[str], list[str], Any]] = [
        (
            standing & ~test,
            [f"test row {corpus.ids[place]}" for place in held_out.tolist()],
            prompts.take(held_out).to_pylist(),
            vectors[held_out],
        ),
        (standing, [name for name, _ in corpus.questions], texts, embed(texts, settings.model)),
    ]
    for asked, names, questions, others in exams:
        where = np.flatnonzero(asked & ~said.failed)
        if not len(questions) or not len(where):
            continue
        found = questions_asked(prompts.take(where).to_pylist(), vectors[where], questions, others, settings.exam)
        for row in np.flatnonzero(found.of >= 0):
            score = float(found.score[row])
            said.fail(int(where[row]), f"asks in other words a question of the exam: {names[found.of[row]]}", score)


def _schema() -> pa.Schema:
    import pyarrow as pa

    columns = [("id", pa.string())]
    for kind in (OWN, OTHER):
        columns += [(f"{kind}.name", pa.string()), (f"{kind}.share", pa.float64())]
    return pa.schema(columns)


def searcher(folder: Path) -> engine.Work:
    """The worker of the step: the question that each row holds, of both kinds of exam."""
    sets = [Leaks.load(folder / f"{kind}.npz") for kind in (OWN, OTHER)]

    def work(ids: pa.Array, asked: pa.Array, answered: pa.Array) -> pa.StructArray:
        import pyarrow as pa
        import pyarrow.compute as pc

        text = pa.large_string()
        said = pc.binary_join_element_wise(asked.cast(text), answered.cast(text), pa.scalar(BETWEEN, text))
        rows = pc.split_pattern(said, " ")
        tokens, edges = rows.flatten(), rows.offsets.to_numpy() - rows.offsets[0].as_py()
        breaks = np.flatnonzero(pc.equal(tokens, BETWEEN.strip(" ")).to_numpy(zero_copy_only=False))
        starts, ends = (np.sort(np.concatenate(both)) for both in ((edges[:-1], breaks + 1), (edges[1:], breaks)))
        firsts = np.searchsorted(starts, edges)  # of each row, its first turn
        columns: list[list[Any]] = []
        for exam in sets:
            leaks = exam.leaks_in_columns(tokens, starts, ends)
            found: list[Leak | None] = [None] * len(rows)
            for turn in reversed([turn for turn, leak in enumerate(leaks) if leak]):
                found[np.searchsorted(firsts, turn, "right") - 1] = leaks[turn]
            columns += [leak.name if leak else None for leak in found], [leak.share if leak else 0.0 for leak in found]
        schema = _schema()
        arrays = [pa.array(column, field.type) for column, field in zip(columns, list(schema)[1:], strict=True)]
        return pa.StructArray.from_arrays([ids.cast(pa.string()), *arrays], schema.names)

    return work
