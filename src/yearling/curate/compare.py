"""The judges that compare records with one another.

In: a corpus and which of its records still stand. Out: opinions; those that do not stand are left out.
Of records that are alike, the first born is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from yearling.curate.choose import cover
from yearling.curate.contradiction import contradictions
from yearling.curate.corpus import Corpus, Flags, Opinions
from yearling.curate.families import places
from yearling.curate.near import near_duplicates
from yearling.curate.semantic import semantic_duplicates
from yearling.curate.vectors import vectors_of
from yearling.measure.embeddings import LANGUAGES
from yearling.measure.neighbours import company
from yearling.measure.novelty import NoveltyIndex
from yearling.recipe import Curate, Recipe

TOLD = 1000  # records between two reports of progress


def _curate(recipe: Recipe) -> Curate:
    assert recipe.curate is not None
    return recipe.curate


def judge_exact(corpus: Corpus, standing: Flags, recipe: Recipe) -> Opinions:
    """Fail a record whose turns, folded, are those of an earlier one; system turns do not count."""
    said = Opinions(len(corpus))
    twins = corpus.in_order(corpus.texts, "twin")["twin"].combine_chunks()
    where = np.flatnonzero(standing)
    digests = np.array(twins.take(where).to_pylist(), "S16")
    _, first, group = np.unique(digests, return_index=True, return_inverse=True)
    for place, kept in zip(where.tolist(), where[first[group]].tolist(), strict=True):
        if place != kept:
            said.fail(place, f"the same text as {corpus.ids[kept]}")
    return said


def judge_contradiction(corpus: Corpus, standing: Flags, recipe: Recipe) -> Opinions:
    """Fail both of two records that ask the same and cannot both be right."""
    said = Opinions(len(corpus))
    groups = _same_question(corpus, standing)
    members = np.concatenate(groups) if groups else np.empty(0, np.int64)
    texts = corpus.in_order(corpus.texts, "prompt", "completion").take(members)
    rows = iter(zip(members.tolist(), *(column.to_pylist() for column in texts.columns), strict=True))
    for group in groups:
        for one, other, reason in contradictions(list(islice(rows, len(group)))):
            for place, against in ((one, other), (other, one)):
                said.fail(place, f"contradicts {corpus.ids[against]}: {reason}")
    return said


def _same_question(corpus: Corpus, standing: Flags) -> list[npt.NDArray[Any]]:
    """Places of the records whose users say the same as another's, group by group."""
    import pyarrow as pa
    import pyarrow.compute as pc

    where = np.flatnonzero(standing)
    texts = corpus.in_order(corpus.texts, "folded", "asked").take(where)
    # the last turn with its signs, as "C" and "C++" are two; of those before it the words
    said = pc.binary_join_element_wise(texts["folded"], texts["asked"], pa.scalar("\x1f", texts["asked"].type))
    codes = said.combine_chunks().dictionary_encode().indices.to_numpy()
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    ends = np.append(starts[1:], len(order))
    shared = ends - starts > 1
    edges = zip(starts[shared].tolist(), ends[shared].tolist(), strict=True)
    return [where[order[start:end]] for start, end in edges]


def judge_near(corpus: Corpus, standing: Flags, recipe: Recipe) -> Opinions:
    """Fail all but the first born of rows that share most word pairs; that share is the score."""
    said = Opinions(len(corpus))
    for place, kept, score in near_duplicates(corpus, standing, _curate(recipe).near):
        said.fail(place, f"nearly the same as {corpus.ids[kept]} ({score:.2f} of the word pairs)", score)
    return said


def judge_novelty(corpus: Corpus, standing: Flags, recipe: Recipe) -> Opinions:
    """Fail a prompt whose ROUGE-L F to an earlier prompt of another family is above the threshold; that is the score.

    A family may be alike: instances of one instruction, questions about one passage, a prompt and what it evolved to.
    """
    said = Opinions(len(corpus))
    threshold = _curate(recipe).novelty
    assert threshold is not None
    imported = standing & (corpus.methods == "import")
    said.skip(imported, "imported rows are not held to the novelty rule")
    if imported.sum() == standing.sum():
        return said
    index, family = NoveltyIndex(threshold), places(corpus)
    prompts = corpus.in_order(corpus.texts, "prompt")["prompt"]
    for place in np.flatnonzero(standing).tolist():
        prompt = prompts[place].as_py()
        match = None if imported[place] else index.nearest(prompt)
        if match is None or family[int(match.id)] == family[place]:
            index.add(prompt, str(place))
        else:
            said.fail(place, f"ROUGE-L {match.score:.2f} to {corpus.ids[int(match.id)]}", match.score)
        if place % TOLD == 0:
            corpus.told(place, len(corpus))
    return said


def judge_semantic(corpus: Corpus, standing: Flags, recipe: Recipe) -> Opinions:
    """Fail paraphrases of an earlier row; the cosine is the score."""
    settings, said = _curate(recipe).semantic, Opinions(len(corpus))
    assert settings.above is not None
    where = np.flatnonzero(standing)
    texts = corpus.in_order(corpus.texts, "prompt", "completion").take(where)
    prompts, answers = (_Texts(column) for column in texts.columns)
    vectors = vectors_of(corpus, settings.model)[where]
    found = semantic_duplicates(prompts, answers, vectors, settings.above, LANGUAGES.get(settings.model))
    for row in np.flatnonzero(found.of >= 0):
        score = float(found.score[row])
        said.fail(int(where[row]), f"says the same as {corpus.ids[where[found.of[row]]]} (cosine {score:.2f})", score)
    return said


def judge_outlier(corpus: Corpus, standing: Flags, recipe: Recipe) -> Opinions:
    """Fail what is like no other row; the mean cosine to the nearest of a sample is the score."""
    settings, said = _curate(recipe).semantic, Opinions(len(corpus))
    assert settings.outlier is not None
    where = np.flatnonzero(standing)
    said.scores[where] = company(vectors_of(corpus, settings.model)[where])
    for place in where[said.scores[where] < settings.outlier].tolist():
        score = float(said.scores[place])
        said.fail(place, f"unlike all others (mean cosine {score:.2f} to the nearest)", score)
    return said


def judge_select(corpus: Corpus, standing: Flags, recipe: Recipe) -> Opinions:
    """Fail all but as many rows as are wanted, those that cover the most."""
    said, where, wanted = Opinions(len(corpus)), np.flatnonzero(standing), _curate(recipe).select
    assert wanted is not None
    chosen = cover(vectors_of(corpus, _curate(recipe).semantic.model)[where], wanted)
    for place in np.setdiff1d(where, where[chosen]).tolist():
        said.fail(place, f"not among the {wanted} rows that cover the most")
    return said


class _Texts(Sequence[str]):
    """A column of texts, made into Python values when they are looked at."""

    def __init__(self, column: Any) -> None:
        self._column = column

    def __len__(self) -> int:
        return len(self._column)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[str]: ...
    def __getitem__(self, place: int | slice) -> str | Sequence[str]:
        return self._column[place].as_py() if isinstance(place, int) else _Texts(self._column[place])
