"""What is told of judgement adds up, holds rows as they are without trusting them, and a person can overrule it."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from yearling.curate import explain as explain_module
from yearling.curate.explain import edges_of, explain, keep, render_html, shares, tables
from yearling.curate.explained import Explanation, Heard, Histogram, Shown, bars, limit_places
from yearling.errors import UserError
from yearling.measure.accepted import KEPT, accepted, kept
from yearling.recipe import Recipe
from yearling.record import Message, Origin, Record, Verdict, write_records, write_verdicts
from yearling.run_folder import Run, read_json, write_json

ORDER = ("shape", "length", "toxic", "near", "novelty", "score")
LENGTH = {"min_prompt": 2, "max_prompt": 400, "min_completion": 1, "max_completion": 30}
RECIPE = Recipe.model_validate({"name": "bot", "curate": {}})
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def row(prompt: str, completion: str, sequence: int) -> Record:
    turns = Message("user", prompt), Message("assistant", completion)
    return Record(turns, Origin("import", f"k{sequence}", sequence))


def speak(run: Run, judge: str, verdicts: Sequence[Verdict], settings: Any = True) -> None:
    """A judge's table and note, as curate leaves them."""
    write_verdicts(verdicts, run.verdicts / judge / "verdicts.parquet")
    reasons = Counter(f"{v.state}: {re.sub(r'r1:[0-9a-f]+|[0-9.]+', '…', v.reason)}" for v in verdicts if v.reason)
    note = {"judge": judge, "version": 1, "key": "k", "settings": settings, "records": "r", "standing": None}
    states = dict(Counter(v.state for v in verdicts))
    write_json(run.verdicts / f"{judge}.json", note | {"states": states, "reasons": dict(reasons.most_common())})


ROWS = [
    row("Name a <script>alert(1)</script> colour", "Red & <b>blue</b>.", 0),
    row("Describe the sea", "", 1),  # shape
    row("Tell me a tale", "word " * 40, 2),  # length
    row("Tell me a short tale", "word " * 29, 3),
    row("Insult me", "You \x1b[31mfool\x07, <img src=x onerror=alert(2)>", 4),  # toxic
    row("Name a <script>alert(1)</script> colour!", "Red & <b>blue</b>", 5),  # near
    row("Count to three", "One, two, three.", 6),
]
IDS = [r.id for r in ROWS]


def said_by(fails: int, reason: str, scores: Sequence[float | None]) -> list[Verdict]:
    """Passes for all rows but one."""
    verdicts = [Verdict(id, "pass", "", score) for id, score in zip(IDS, scores, strict=True)]
    verdicts[fails] = Verdict(IDS[fails], "fail", reason, scores[fails])
    return verdicts


def judged(run: Run) -> Run:
    """All rows, in two parts out of order, and what six judges said of them."""
    write_records(ROWS[4:], run.records / "a.parquet")
    write_records(ROWS[:4][::-1], run.records / "b.parquet")
    lengths: list[float | None] = [3, 0, 40, 29, 5, 3, 3]
    insults: list[float | None] = [0.0, 0.0, 0.1, 0.0, 0.9, 0.0, 0.3]
    speak(run, "shape", said_by(1, "the completion is empty", [None] * 7))
    speak(run, "length", said_by(2, "the completion has too many words: 40", lengths), LENGTH)
    speak(run, "toxic", said_by(4, "insults", insults))
    gone = {1: "shape", 2: "length", 4: "toxic"}
    for judge, set_to in (("near", {"above": 0.6, "on": "both"}), ("novelty", 0.7)):
        verdicts = [
            Verdict(id, "skipped" if at in gone else "pass", f"failed {gone[at]}" if at in gone else "")
            for at, id in enumerate(IDS)
        ]
        if judge == "near":
            verdicts[5] = Verdict(IDS[5], "fail", f"nearly the same as {IDS[0]} (0.93 of the word pairs)", 0.93)
        speak(run, judge, verdicts[::-1], set_to)  # its order is not that of the others
        gone[5] = "near"
    speak(run, "score", [Verdict(id, "skipped", "switched off") for id in IDS], None)
    return run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    made = Run(tmp_path, "bot")
    made.create()
    return made


def told(explanation: Explanation, width: int = 80) -> str:
    console = Console(record=True, width=width, file=io.StringIO())
    console.print(tables(explanation))
    return console.export_text()


# -- the numbers


def test_counts_add_up_to_the_accepted_view(run: Run) -> None:
    x = explain(judged(run), ORDER)
    assert (x.run, x.records, x.kept_by_hand, x.kept) == ("bot", 7, 0, ())
    assert x.accepted == len(accepted(run, RECIPE)) == 3
    assert [judge.name for judge in x.judges] == list(ORDER)
    assert [(j.first, j.left) for j in x.judges] == [(1, 6), (1, 5), (1, 4), (1, 3), (0, 3), (0, 3)]
    assert sum(judge.first for judge in x.judges) == x.records - x.accepted
    assert all(judge.passed + judge.failed + judge.skipped == 7 for judge in x.judges)
    by_name = {judge.name: judge for judge in x.judges}
    assert (by_name["near"].failed, by_name["near"].skipped, by_name["near"].unheard) == (1, 3, 3)
    assert [judge.off for judge in x.judges] == [False] * 5 + [True]
    assert by_name["near"].reasons[0].text == "nearly the same as … (… of the word pairs)"


def test_a_judge_that_fails_what_an_earlier_one_failed_is_not_first(run: Run) -> None:
    judged(run)
    speak(
        run,
        "length",
        [
            Verdict(id, "fail" if at in (1, 2) else "pass", "few" if at in (1, 2) else "", 1.0)
            for at, id in enumerate(IDS)
        ],
        LENGTH,
    )
    by_name = {judge.name: judge for judge in explain(run, ORDER).judges}
    assert (by_name["length"].failed, by_name["length"].first) == (2, 1)


def test_dropped_rows_are_shown_with_what_took_them(run: Run) -> None:
    by_name = {judge.name: judge for judge in explain(judged(run), ORDER).judges}
    near = by_name["near"].dropped[0]
    assert (near.id, near.judge, near.score) == (IDS[5], "near", 0.93)
    assert near.turns == ROWS[5].messages and (near.other, near.other_turns) == (IDS[0], ROWS[0].messages)
    assert [r.id for r in by_name["shape"].dropped] == [IDS[1]] and by_name["shape"].dropped[0].score is None


def test_accepted_rows_next_to_a_limit_are_shown(run: Run) -> None:
    by_name = {judge.name: judge for judge in explain(judged(run), ORDER).judges}
    assert dict(by_name["length"].limits) == {"min_completion": 1, "max_completion": 30}
    assert [r.score for r in by_name["length"].close] == [29, 3, 3]
    assert {r.id for r in by_name["length"].close} == {IDS[0], IDS[3], IDS[6]}  # the near duplicate is not accepted
    assert by_name["toxic"].limits == (("fails from", 0.9),)  # no setting, but the verdicts show a border
    assert by_name["toxic"].close[0].id == IDS[6]
    assert by_name["near"].close == ()  # it scores only what it fails
    assert dict(by_name["near"].limits) == {"above": 0.6} and dict(by_name["novelty"].limits) == {"novelty": 0.7}


def test_scores_are_counted_by_state(run: Run) -> None:
    by_name = {judge.name: judge for judge in explain(judged(run), ORDER).judges}
    scores = by_name["length"].scores
    assert scores and (sum(scores.passed), sum(scores.failed)) == (6, 1)
    assert (scores.least, scores.most) == (0, 40) and scores.edges[0] <= 0 and scores.edges[-1] >= 40
    assert by_name["shape"].scores is None and by_name["score"].scores is None
    assert by_name["near"].scores and by_name["near"].scores.failed == (1,)


def test_the_explanation_is_plain_json_and_always_the_same(run: Run) -> None:
    first, again = explain(judged(run), ORDER), explain(run, ORDER)
    assert first == again
    plain = json.loads(json.dumps(first.plain(), allow_nan=False))
    assert plain["judges"][3]["dropped"][0]["turns"][0] == {"role": "user", "content": ROWS[5].prompt}


def test_a_judge_of_another_order_and_one_that_never_spoke(run: Run) -> None:
    speak(judged(run), "house", [Verdict(id, "fail", "no") for id in IDS])
    x = explain(run, ("select", *ORDER))
    assert [judge.name for judge in x.judges] == [*ORDER, "house"]
    assert x.judges[-1].first == 3 and x.accepted == len(accepted(run, RECIPE)) == 0


def test_what_was_not_judged_is_not_explained(run: Run) -> None:
    with pytest.raises(UserError, match="no records"):
        explain(run, ORDER)
    write_records(ROWS, run.records / "a.parquet")
    with pytest.raises(UserError, match="have not been judged"):
        explain(run, ORDER)
    judged(run)
    (run.verdicts / "near.json").unlink()
    with pytest.raises(UserError, match="stopped"):
        explain(run, ORDER)
    judged(run)
    write_records([row("Late", "Born.", 7)], run.records / "c.parquet")
    with pytest.raises(UserError, match="no verdict on 1 of 8"):
        explain(run, ORDER)


# -- many rows


def many(run: Run, count: int, size: int = 1) -> None:
    rows = [row(f"Question number {at}", "word " * size + str(at), at) for at in range(count)]
    write_records(rows, run.records / "a.parquet")
    speak(
        run,
        "shape",
        [Verdict(r.id, "fail" if at < 20 else "pass", "bad" if at < 20 else "") for at, r in enumerate(rows)],
    )
    speak(run, "length", [Verdict(r.id, "fail", "long", 9.0) for r in rows], LENGTH)


def test_a_page_holds_a_draw_of_many_dropped_rows(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explain_module, "EMBEDDED", 100)
    many(run, 300)
    x = explain(run, ORDER)
    assert [(j.first, len(j.dropped)) for j in x.judges] == [(20, 20), (280, 80)]
    drawn = [r.id for r in x.judges[1].dropped]
    assert drawn == sorted(drawn) and all(r.reason == "long" for r in x.judges[1].dropped)
    page = render_html(x)
    assert "100 of 300 dropped rows are on this page" in page and page.count("data-judge=") == 100


def test_a_page_does_not_grow_beyond_its_room(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explain_module, "ROOM", 8_000)
    many(run, 100, size=200)
    assert [len(j.dropped) for j in explain(run, ORDER).judges] == [4, 4]  # the examples are always there
    assert len(explain(run, ORDER).plain()["judges"][0]["dropped"]) == 4


def test_a_turn_that_no_browser_bears_is_cut_and_says_so(run: Run) -> None:
    write_records([row("Repeat", "ha " * 40_000, 0)], run.records / "a.parquet")
    speak(run, "shape", [Verdict(row("Repeat", "ha " * 40_000, 0).id, "fail", "loops")])
    page = render_html(explain(run, ORDER))
    assert "it has 120,000 characters" in page and len(page) < 80_000


@given(st.lists(st.integers(0, 50), max_size=8), st.integers(0, 100))
def test_room_is_shared(wants: list[int], room: int) -> None:
    given_ = shares(wants, room)
    assert all(0 <= got <= want for got, want in zip(given_, wants, strict=True))
    assert sum(given_) == min(room, sum(wants))
    hungry = [got for got, want in zip(given_, wants, strict=True) if got < want]
    assert not hungry or max(given_) - min(hungry) <= 1


@settings(max_examples=300)
@given(st.lists(st.one_of(st.floats(-1e6, 1e6), st.integers(0, 5).map(float)), min_size=1, max_size=50))
def test_edges_are_few_and_hold_nearly_all(values: list[float]) -> None:
    edges = edges_of(np.array(values))
    assert 2 <= len(edges) <= 23 and (np.diff(edges) > 0).all()
    near = 1e-8 * (edges[1] - edges[0])  # round edges are worth a little
    inside = [value for value in values if edges[0] - near <= value <= edges[-1] + near]
    assert len(inside) >= 0.95 * len(values)


def test_marks_have_a_bar_each() -> None:
    assert edges_of(np.array([1.0, 2.0, 5.0, 4.0])).tolist() == [1, 2, 3, 4, 5, 6]
    assert edges_of(np.array([0.6, 0.7, 0.95])).tolist()[:2] == [0.6, 0.62]
    assert edges_of(np.array([0.0])).tolist() == [0, 1]


# -- the page


class Page(HTMLParser):
    """Tags that are opened and closed in turn, attributes, and the texts of some."""

    VOID = ("meta", "link", "br", "input")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, Mapping[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_the_page_parses_and_trusts_no_row(run: Run) -> None:
    text = render_html(explain(judged(run), ORDER))
    page = Page(text)
    assert page.open == []
    assert [tag for tag, _ in page.tags].count("script") == 1 and "img" not in [tag for tag, _ in page.tags]
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert "&lt;script&gt;alert(1)" in text and "&lt;img src=x onerror" in text
    assert "\x1b" not in text and "\x07" not in text and "␛[31mfool␇" in text
    assert not re.search(r"(?:src|href)=\"(?!data:|#)|https?://|url\(|@import", text)
    rows = [attributes for tag, attributes in page.tags if tag == "details" and "data-judge" in attributes]
    assert {a["id"]: a["data-judge"] for a in rows} == dict(
        zip([IDS[at] for at in (1, 2, 4, 5)], ("shape", "length", "toxic", "near"), strict=True)
    )
    links = {(a["href"] or "")[1:] for tag, a in page.tags if tag == "a"}
    assert links <= {a["id"] for _, a in page.tags if "id" in a}


def test_the_script_is_the_one_that_the_page_allows(run: Run) -> None:
    text = render_html(explain(judged(run), ORDER))
    found, allowed = re.search(r"<script>(.*)</script>", text, re.DOTALL), re.search(r"'sha256-([^']+)'", text)
    assert found and allowed
    assert base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode() == allowed[1]


def test_the_page_says_what_was_counted(run: Run) -> None:
    keep(judged(run), [IDS[2]])
    shown = " ".join(" ".join(Page(render_html(explain(run, ORDER))).text).split())
    for part in (
        *("4 (57 %)", "All 3 are on this page", "1 kept with", "judges fail 1 of them", "max_completion 30"),
        *("It was not shown 3", "nearly the same as", "The row that the reason names", "Accepted, with a score next"),
    ):
        assert part in shown, part


def test_limits_are_drawn_where_they_lie_and_named_side_by_side(run: Run) -> None:
    length = explain(judged(run), ORDER).judges[1]
    close = replace(length, limits=(("a", 1), ("b", 2), ("c", 3), ("d", 99)))
    assert limit_places(close) == [(14.2, ""), (28.4, ""), (42.7, "a 1, b 2, c 3")]
    assert length.scores and length.scores.edges[-1] == 45
    assert limit_places(length) == [(14.2, "min_completion 1"), (426.7, "max_completion 30")]


def test_bars_stand_on_one_another() -> None:
    drawn = bars(Histogram((0.0, 0.5, 1.0), (1000, 0), (0, 1), 0.0, 1.0))
    assert [(bar.x, bar.width, bar.failed, bar.passed) for bar in drawn] == [(1, 318, 0, 110), (321, 318, 1.5, 0)]
    assert drawn[1].title == "0.5 to 1: 0 passed, 1 failed"


@settings(deadline=None, max_examples=30)
@given(st.text(), st.text(), st.text())
def test_any_text_makes_a_whole_page(prompt: str, completion: str, reason: str) -> None:
    turns = Message("user", prompt), Message("assistant", completion)
    base = Shown("r1:" + "0" * 24, "shape", reason, None, turns, "r1:1", turns)
    heard = Heard("shape", False, True, 0, 1, 0, 0, (), None, (), 1, 0, (base,), (base,))
    x = Explanation("bot", 1, 0, 0, 0, (heard,), ())
    assert Page(render_html(x)).open == []
    told(x)


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
def test_a_browser_filters_the_rows(run: Run, tmp_path: Path) -> None:
    page = tmp_path / "explain.html"
    page.write_text(render_html(explain(judged(run), ORDER)), encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    command = [
        str(BROWSER),
        *flags,
        f"--user-data-dir={tmp_path / 'profile'}",
        "--dump-dom",
        f"{page.as_uri()}#{IDS[5]}",
    ]
    done = subprocess.run(command, capture_output=True, timeout=120, check=True)
    dom = done.stdout.decode()
    assert ">4 of 4</span>" in dom  # the script ran
    assert re.search(rf'<details class="row" id="{IDS[5]}"[^>]* open=""', dom)


# -- the terminal


def test_the_tables_fit_a_narrow_terminal_and_show_texts_as_they_are(run: Run) -> None:
    shown = told(explain(judged(run), ORDER))
    assert max(map(len, shown.splitlines())) <= 80
    assert "\x1b" not in shown and "<script>alert(1)" in shown and IDS[5] in shown
    flat = " ".join(shown.split())
    for part in (
        "7 records, 3 accepted (43 %), 4 dropped, 0 kept by hand",
        "You ␛[31mfool␇",
        "dropped by near (score 0.93)",
    ):
        assert part in flat, part


def test_big_numbers_are_not_broken(run: Run) -> None:
    big = Heard("contradiction", False, True, 1_000_000, 999_999, 123_456, 0, (), None, (), 987_654, 876_543)
    shown = told(Explanation("bot", 1_000_000, 12_346, 0, 0, (big,), ()))
    assert max(map(len, shown.splitlines())) <= 80
    for part in ("contradiction", "1,000,000", "999,999", "987,654", "876,543"):
        assert part in shown, part


# -- what a person keeps


def test_a_kept_row_stands_against_the_judges(run: Run) -> None:
    said = keep(judged(run), [IDS[5][:9].upper(), IDS[1][3:12]])
    assert IDS[5] in said and IDS[1] in said and "are kept" in said and "yearling curate" in said
    assert read_json(run.path / "curate" / KEPT) == sorted([IDS[1], IDS[5]])
    x = explain(run, ORDER)
    assert (x.accepted, x.kept_by_hand, x.overruled) == (5, 2, 2) and x.accepted == len(accepted(run, RECIPE))
    assert [(r.id, r.judge) for r in x.kept] == [(IDS[1], "shape"), (IDS[5], "near")]
    assert sum(judge.first for judge in x.judges) == x.records - x.accepted == 2
    assert "was kept before" in keep(run, [IDS[5]])
    assert "no longer kept" in keep(run, [IDS[5]], drop=True)
    assert kept(run) == {IDS[1]} and explain(run, ORDER).accepted == 4


def test_keep_says_what_is_wrong_and_changes_nothing(run: Run) -> None:
    judged(run)
    with pytest.raises(UserError, match="nothing to take back"):
        keep(run, [IDS[0]], drop=True)
    with pytest.raises(UserError, match=r"no record r1:zzzz in run bot\. The nearest ids: r1:"):
        keep(run, [IDS[0], "zzzz"])
    with pytest.raises(UserError, match=r"7 records begin with r1:\. Give more(.|\n)*Count to three"):
        keep(run, ["r1:"])
    assert not (run.path / "curate" / KEPT).exists()
    keep(run, [IDS[0]])
    with pytest.raises(UserError, match="no kept record"):
        keep(run, [IDS[1]], drop=True)
    assert kept(run) == {IDS[0]}


def test_keep_waits_for_nobody_who_writes(run: Run) -> None:
    judged(run)
    with run.lock(), pytest.raises(UserError, match="in use"):
        keep(run, [IDS[0]])


def test_a_kept_id_that_is_gone_is_no_record(run: Run) -> None:
    write_json(judged(run).path / "curate" / KEPT, [IDS[1], "r1:" + "f" * 24])
    x = explain(run, ORDER)
    assert (x.kept_by_hand, x.accepted) == (1, 4)
