"""What each judge finds of the planted faults: no judge below the floor, and the document says what is so."""

from __future__ import annotations

from pathlib import Path

import pytest
from planted.score import DOCUMENT, judged, scores, written


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    return judged(Path(tmp_path_factory.mktemp("planted")))


def test_no_judge_is_below_the_floor(failed: dict[str, set[str]]) -> None:
    low = {
        pair: (one.recall, one.precision)
        for pair, one in scores(failed).items()
        if one.recall < 0.7 or one.precision < 0.9
    }
    assert not low


def test_the_document_is_up_to_date(failed: dict[str, set[str]]) -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert text == written(text, failed), "run `make docs`"
