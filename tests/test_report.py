"""The report says what the exam's numbers say, shows every answer as text, and needs nothing from anywhere."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path

import pytest

from yearling.errors import UserError
from yearling.evaluate.exam import Answer, Exam, Interval, Line, from_json, to_json
from yearling.evaluate.report import (
    clean,
    duration,
    number,
    percent,
    render_html,
    render_markdown,
    size,
    table,
    verdict,
    write_report,
)
from yearling.measure.asking import Attempt

RATIO = Interval(0.7412, 0.7021, 0.7899)
NASTY = 'Say <script>alert("x")</script> & ![pic](http://example.org/a.png) | `tick` ```fence```'


def line(name: str, perplexity: Interval | None, stopped: Interval | None, speed: float | None) -> Line:
    return Line(name, f"{name}.gguf", 291_500_000, perplexity, "template", stopped, 31.5, speed)


def answer(place: int, prompt: str = "Name a colour.", reference: str = "Blue.") -> Answer:
    attempts = {
        "base": Attempt(f"Name a colour again {place}.", False, 64),
        "student": Attempt(f"Green {place}.", True, 3),
        "student q4_k_m": Attempt("", True, 0),
    }
    return Answer(f"r1:{place:024x}", prompt, reference, attempts)


def exam(answers: int = 25) -> Exam:
    return Exam(
        run="first-try",
        teacher="smollm2-135m",
        base="gemma-270m",
        rows=40,
        max_tokens=64,
        lines=(
            line("base", Interval(5.07, 4.61, 5.62), Interval(0.0, 0.0, 0.0), 41.25),
            line("student", Interval(3.83, 3.52, 4.19), Interval(0.875, 0.775, 0.975), 40.75),
            line("student q4_k_m", Interval(3.91, 3.58, 4.28), Interval(0.85, 0.725, 0.95), 118.0),
            line("teacher", Interval(1234.5, 1100.25, 1400.75), None, None),
        ),
        answers=tuple(answer(place) for place in range(answers)),
        questions=(answer(99, "What is my question?", ""),),
        ratio=RATIO,
        notes=("0 of 40 test prompts occur in the training rows",),
        seconds=200.4,
        cost_usd=0.0031,
    )


class Page(HTMLParser):
    """Collects tags, what is open, the attributes that would fetch, and the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.fetched: list[str] = []
        self.opened = 0
        self.parts: list[str] = []
        self.feed(page)
        self.text = "\n".join(self.parts)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.opened += tag == "details" and ("open", None) in attrs
        self.fetched += [str(value) for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]

    def handle_data(self, data: str) -> None:
        self.parts.append(data.strip())


def test_both_files_hold_every_number(tmp_path: Path) -> None:
    page, text = write_report(exam(), tmp_path / "eval")
    assert (page.name, text.name) == ("report.html", "report.md")
    wanted = [
        *("0.74", "0.70", "0.79", "5.07", "4.61", "5.62", "3.83", "3.52", "4.19", "3.91", "3.58", "4.28"),
        *("1,234", "1,100", "1,401", "88 %", "78 %", "98 %", "85 %", "72 %", "95 %", "0 %", "31.5", "41.2", "40.8"),
        *("118", "292 MB", "64 tokens", "3 min 20 s", "0.0031 USD", "first-try", "smollm2-135m", "gemma-270m"),
        *("0 of 40 test prompts", "40 held-out rows", "What is my question?", "Green 3.", "✓ stopped, 3 tokens"),
        *("… cut at 64 tokens", "student q4_k_m.gguf", "not measured"),
    ]
    shown = Page(page.read_text(encoding="utf-8")).text
    for found in (shown, text.read_text(encoding="utf-8")):
        assert [want for want in wanted if want not in found] == []


def test_answers_come_whole_and_in_order() -> None:
    page, text = render_html(exam(25)), render_markdown(exam(25))
    assert re.findall(r"Green (\d+)\.", page) == ["99", *map(str, range(25))]
    assert re.findall(r"Green (\d+)\.", text) == ["99", *map(str, range(10))]
    found = Page(page)
    assert (found.tags.count("details"), found.opened) == (26, 21)
    assert "The first 10 of 25" in text and "From number 21 on" in page
    assert "From number" not in render_html(exam(20))


def test_a_model_without_an_attempt_is_named_so() -> None:
    nobody = replace(answer(1), by_model={})
    told = replace(exam(0), answers=(nobody,), questions=(replace(nobody, reference=""),))
    # A question has no reference, so the teacher's lack shows; a held-out row's reference is the teacher's answer.
    for name, times in (("base", 2), ("student", 2), ("student q4_k_m", 2), ("teacher", 1)):
        assert len(re.findall(rf"^{name}: not measured$", render_markdown(told), re.MULTILINE)) == times
        assert render_html(told).count(f"<h4>{name}</h4>") == times


def test_nothing_is_fetched_and_nothing_runs() -> None:
    page = render_html(exam())
    assert "http://" not in page and "https://" not in page and "@import" not in page and "url(" not in page
    assert Page(page).fetched == ["data:,"]
    assert "default-src 'none'" in page


@pytest.mark.parametrize("field", ["prompt", "reference", "text", "note", "run", "question"])
def test_text_stays_text(field: str) -> None:
    nasty = answer(1, **{field: NASTY}) if field in ("prompt", "reference") else answer(1)
    if field == "text":
        nasty = replace(nasty, by_model={"student": Attempt(NASTY, True, 9), "unlisted <i>": Attempt(NASTY, False, 9)})
    whole = replace(
        exam(0),
        answers=(nasty,),
        questions=(answer(2, NASTY, ""),) if field == "question" else (),
        notes=(NASTY,) if field == "note" else (),
        run=NASTY if field == "run" else "r",
    )
    page, text = render_html(whole), render_markdown(whole)
    found = Page(page)
    assert not {"script", "img", "i"} & set(found.tags) and found.fetched == ["data:,"]
    assert NASTY in found.text
    # What lies outside the fences may hold no live HTML, image or table border; inside, the text is verbatim.
    outside = re.sub(r"^(`{3,})text\n.*?\n\1$", "", text, flags=re.DOTALL | re.MULTILINE)
    assert "<script" not in outside and "![pic]" not in outside and "<i>" not in outside
    assert field in ("note", "run") or NASTY in text


def test_a_fence_outlasts_the_backticks_inside() -> None:
    code = "```python\nprint(1)\n```\n````"
    text = render_markdown(replace(exam(0), answers=(answer(1, code),)))
    assert f"`````text\n{code}\n`````" in text


def test_control_characters_and_surrogates_do_not_reach_the_file(tmp_path: Path) -> None:
    page, text = write_report(replace(exam(0), answers=(answer(1, "a\x00b\x1b[1m\ud800\r\nc\td"),)), tmp_path)
    for path in (page, text):
        assert "a␀b␛[1m?\nc\td" in path.read_text(encoding="utf-8")
    assert clean("naïve 日本語 🙂\n") == "naïve 日本語 🙂\n"


# -- verdict


def test_verdict_of_a_student_that_learnt() -> None:
    assert verdict(exam()) == (
        "The student's held-out perplexity is 0.74 of the base's (95 % interval 0.70 to 0.79): it learnt. "
        "88 % of its answers stop by themselves; of the base's, 0 %."
    )


@pytest.mark.parametrize(
    ("ratio", "words"),
    [
        (
            Interval(0.97, 0.91, 1.04),
            "0.97 of the base's (95 % interval 0.91 to 1.04): the interval includes 1, so these",
        ),
        (Interval(1.02, 1.0, 1.05), "(95 % interval 1.00 to 1.05): the interval includes 1, so these rows do not show"),
        (Interval(1.31, 1.12, 1.55), "1.31 of the base's (95 % interval 1.12 to 1.55): it got worse."),
        (Interval(0.95, 0.91, 0.9981), "0.950 of the base's (95 % interval 0.910 to 0.998): it learnt."),
        (Interval(1.05, 1.0004, 1.1), "(95 % interval 1.0004 to 1.1000): it got worse."),
        (None, "was not measured: whether it learnt is not known."),
        (Interval(float("nan"), 0.0, 0.0), "was not measured: whether it learnt is not known."),
    ],
)
def test_verdict_says_no_more_than_the_interval(ratio: Interval | None, words: str) -> None:
    told = replace(exam(), ratio=ratio)
    assert words in verdict(told)
    page = render_html(told)
    assert words in Page(page).text
    assert (": it learnt." in verdict(told)) == ('class="verdict better"' in page)
    assert (": it learnt." in verdict(told)) == (ratio is not None and ratio.high < 1 and ratio.value == ratio.value)


def test_missing_values_are_called_so() -> None:
    bare = Line("student", "", None, None, "template", None, None, None)
    told = replace(exam(0), lines=(bare,), ratio=None, cost_usd=None, questions=(), notes=())
    for found in (Page(render_html(told)).text, render_markdown(told)):
        assert found.count("not measured") >= 6
        assert "unknown" in found and "size not known" in found and "None were asked" in found
        assert "None were given" not in found and "nan" not in found
    assert "Whether its answers stop by themselves was not measured." in verdict(told)
    only_base_missing = replace(exam(), lines=exam().lines[1:])
    assert verdict(only_base_missing).endswith("of the base's it was not measured.")


def test_method_tells_what_weakens_the_numbers() -> None:
    strong = render_html(replace(exam(), lines=exam().lines[1:]))
    assert "too narrow" not in strong and "no width" not in strong and "same form" not in strong
    base = replace(exam().lines[0], format="plain text")
    weak = render_html(replace(exam(), rows=12, lines=(base, *exam().lines[1:])))
    assert "too narrow" in weak and "no width" in weak
    assert "(base as plain text, student as template, student q4_k_m as template)" in weak


def test_the_teacher_has_no_perplexity_bar_and_does_not_scale_the_others() -> None:
    page = render_html(exam(0))
    assert page.count('aria-label="perplexity') == 3
    assert '<rect class="fill" width="90.21" height="8"/>' in page  # 5.07 of 5.62


# -- numbers, terminal, disk


def test_numbers_read_well() -> None:
    assert [number(x) for x in (3.826, 99.994, 100.4, 12345.6, 3.2e8)] == ["3.83", "99.99", "100", "12,346", "3.20e+08"]
    assert [number(x) for x in (None, float("nan"), float("inf"))] == ["not measured", "not measured", "infinite"]
    assert [percent(x) for x in (0.0, 0.004, 0.5, 0.9975, 1.0)] == ["0 %", "0.4 %", "50 %", "99.8 %", "100 %"]
    assert [size(x) for x in (None, 12, 4_200, 291_500_000, 1_240_000_000)] == [
        *("size not known", "12 B", "4.2 kB", "292 MB", "1.2 GB")
    ]
    assert [duration(x) for x in (3.21, 200.4, 3725)] == ["3.2 s", "3 min 20 s", "1 h 2 min"]


def test_terminal_table() -> None:
    from rich.console import Console

    console = Console(width=120, file=StringIO(), record=True)
    console.print(table(replace(exam(), run="[bold]x")))
    shown = console.export_text()
    for want in ("exam of [bold]x", "3.83", "3.52 to 4.19", "student q4_k_m", "not measured", "it learnt."):
        assert want in shown


def test_the_exam_survives_the_disk() -> None:
    for told in (exam(), replace(exam(0), ratio=None, cost_usd=None, lines=(), questions=(), notes=())):
        assert from_json(to_json(told)) == told
        assert from_json(json.loads(json.dumps(to_json(told)))) == told


@pytest.mark.parametrize("change", [{"exam": 2}, {"exam": None}, {"lines": [{}]}, {"surplus": 1}, {"ratio": [1]}])
def test_another_form_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(UserError, match="yearling eval"):
        from_json({**to_json(exam(1)), **change})
