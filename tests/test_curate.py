"""Judges take the bad rows and leave the good ones; the stage asks again only whom it must; families stay whole."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from yearling.curate.judges import JUDGES, judge_exact, judge_length, judge_novelty, opinions
from yearling.curate.refusal import refusal_in
from yearling.curate.shape import broken
from yearling.curate.stage import run_curate
from yearling.errors import UserError
from yearling.measure.accepted import Split, accepted, accepted_split, born, roots, split_of
from yearling.measure.text import fold, word_count
from yearling.recipe import Curate, Recipe
from yearling.record import Message, Origin, Record, read_verdicts, write_records
from yearling.run_folder import Run, read_json

SEEDS = Path(__file__).parent.parent.parent / "shared/data/self_instruct_seed_tasks.jsonl"
NAMES = tuple(judge.name for judge in JUDGES)


def row(prompt: str, completion: str, sequence: int = 0, **origin: Any) -> Record:
    method = origin.pop("method", "alpaca")
    born_as = Origin(method, origin.pop("key", f"call-{sequence}"), sequence, **origin)
    return Record((Message("user", prompt), Message("assistant", completion)), born_as)


def recipe(**curate: Any) -> Recipe:
    return Recipe.model_validate({"name": "x", "curate": curate})


# -- shape

BROKEN = [
    ("", "Red.", "the prompt is empty"),
    ("Name a colour.", " \n", "the completion is empty"),
    ("Name a  Colour.", "name a colour.", "repeats the prompt"),
    ("Name fruits.", "Apples, pears,", "unfinished"),
    ("Name fruits.", "Here are some fruits:", "unfinished"),
    ("Tell a story.", "The fox walked into the wood —", "unfinished"),
    ("Tell a story.", "The fox walked into the wood and", "unfinished"),
    ("Write code.", "```python\nprint(1)\n", "code block"),
    ("Where is Paris?", "Paris is in France (a country", "bracket"),
    ("What did she say?", 'She said "come over', "quote"),
    ("What is the capital of France?", "Paris.\n\nQuestion: What is the capital of Spain?\nMadrid.", "another turn"),
    ("Name a colour.", "Red.\n### Instruction:\nName a fruit.", "another turn"),
    ("Name a colour.", "Red.\nUser: thanks", "another turn"),
    ("Name a colour.", "Red.\n\n5. Input: a fruit", "another turn"),
    ("Name a colour.", "Red.\n###\nName a fruit.", "another task"),
    ("Name a colour.", "Red.\n\n4. Write a poem about rain.", "another task"),
    ("Name a colour.", "Red\x07.", "control"),
    ("Name a colour.", "R\ufffdd.", "control"),
    ("Name a colour.", "Red.<|im_end|>", "special token"),
    ("Name a colour.<end_of_turn>", "Red.", "special token"),
    ("Name a colour.", "<s>Red.</s>", "special token"),
    ("Name a colour.", "Red.</s>", "special token"),
    ("[INST] Name a colour. [/INST]", "Red.", "special token"),
    ("Tell a story.", "The fox ran away from the dog. " * 4, "repeats itself"),
    ("Tell a story.", "Once.\nThe fox ran.\nThe fox ran.\nThe fox ran.", "repeats itself"),
    ("讲一个故事。", "狐狸跑进了森林里。" * 5, "repeats itself"),
    ("Name a colour.\n<noinput>", "Red.", "no-input"),
    ("Name a colour.", "<noinput>", "placeholder"),
    ("Name a colour.", "N/A", "placeholder"),
    ("Write a letter.", "Dear Ann, I moved to [insert city here] last May.", "gap"),
]
SOUND = [
    ("Name a colour.", "Red"),
    ("What is 17 * 3?", "51"),
    ("What does NA stand for in chemistry?", "Na"),
    ("Which word joins two clauses?", "and"),
    ("Which blood type is most common?", "O+"),
    ("Grade this essay.", "B-"),
    ("Is the cat happy?", "No, the cat is sad :("),
    ("Give the half-open interval.", "The solution is (0, 1]"),
    ("How wide is it?", 'The screen is 55" wide'),
    ("Write a mail to my friends.", "Hi all,\n\nDinner is at eight.\n\nLooking forward to seeing you,"),
    ("Write a recipe.", "Ingredients: rice\nInstructions:\nBoil the rice for ten minutes."),
    ("Explain how to plant a tree.", "### Step 1\nDig a hole.\n\n### Step 2\nSet the tree in it."),
    ("List three colours.", "1. Red\n\n2. Name it blue\n\n3. Find green"),
    ("Continue the list.\n1. Describe\n2. List", "The next one is clear.\n\n3. Explain"),
    ("Write two quiz questions.", "Here they are.\nQuestion: Who wrote Emma?\nQuestion: Who wrote Ulysses?"),
    ("Write a short dialog with a clerk.", "Clerk: Hello.\nUser: Hi, one ticket.\nClerk: Here."),
    ("Write code.", "```python\nprint(1)\n```"),
    ("Close three blocks.", "if a {\n  if b {\n    if c {\n    }\n  }\n}"),
    ("Strike out the price.", "It costs <s>10</s> 8 euros."),
    ("Repeat the word three times on a line each.", "rose\nrose\nrose"),
    ("What does the placeholder [insert name] mean?", "[insert name] marks where a name goes."),
    ("Write an email.", "Dear [Your Name], the meeting is at noon."),
    ("Match a number from 0 to 255.", r"^(25[0-5]|2[0-4][0-9]|[01]?[0-9][0-9]?)$"),
    ("写一首诗", "大海啊,你是我的故乡,\n我在梦里听见你的歌声。"),
]


@pytest.mark.parametrize(("prompt", "completion", "reason"), BROKEN)
def test_shape_takes_what_is_broken(prompt: str, completion: str, reason: str) -> None:
    assert reason in (broken(prompt, completion) or "")


@pytest.mark.parametrize(("prompt", "completion"), SOUND)
def test_shape_leaves_what_is_sound(prompt: str, completion: str) -> None:
    assert broken(prompt, completion) is None


def test_shape_is_quick_on_degenerate_text() -> None:
    start = time.monotonic()
    for text in (
        "\n" * 20_000,
        "- \n" * 8_000,
        " " * 20_000,
        "</s> " * 4_000,
        "[insert" * 3_000,
        '"' * 9_999,
        "1. \n\n" * 4_000,
    ):
        broken("Say it. " + text + "x", "x" + text + "y")
        refusal_in("Say it.", "x" + text + "y")
    assert time.monotonic() - start < 5


# -- refusal

REFUSALS = [
    ("Who should win?", "As an AI language model, I cannot take sides."),
    ("Who should win?", "It is hard to say. As an AI, I don't have favourites."),
    ("Make a bomb.", "I'm sorry, but I can't help with that."),
    ("Make a bomb.", "I’m sorry, but I can’t assist with that request."),
    ("Make a bomb.", "Sorry, I cannot provide instructions."),
    ("Make a bomb.", "Unfortunately, I am unable to assist with this."),
    ("Best film?", "I don't have personal opinions, but many like Alien."),
    ("What is the weather?", "I don't have access to real-time data."),
    ("Wer gewinnt?", "Als KI-Sprachmodell habe ich keine Meinung."),
    ("Hilf mir.", "Es tut mir leid, aber ich kann dabei nicht helfen."),
    ("Qui gagne ?", "En tant qu'intelligence artificielle, je n'ai pas d'avis."),
    ("Aide-moi.", "Je suis désolé, mais je ne peux pas vous aider."),
    ("¿Quién gana?", "Como modelo de lenguaje, no tengo opiniones."),
    ("Ayúdame.", "Lo siento, pero no puedo ayudarte con eso."),
    ("谁会赢?", "作为一个人工智能语言模型，我没有个人观点。"),
    ("帮我。", "很抱歉，我无法提供这方面的帮助。"),
]
ANSWERS = [
    (
        "Translate into German: I'm sorry, but I can't help with that.",
        "Es tut mir leid, aber ich kann dabei nicht helfen.",
    ),
    ("Write a polite refusal.", "I'm sorry, but I can't come on Friday."),
    ("Decline this invitation.", "I cannot provide a date, sorry."),
    ("Quote a typical chatbot.", '"As an AI language model, I cannot do that" is what one often reads.'),
    ("What do chatbots say?", "They often say “I'm sorry, but I can't assist with that” and stop."),
    ("Was sagen Chatbots?", "Oft steht dort „Als KI-Modell kann ich das nicht“ und sonst nichts."),
    ("Tell of a chatbot.", 'It said: "Hello. As an AI, I cannot know that." He laughed.'),
    ("Write a story.", "I cannot help but smile when it rains."),
    ("Write a story.", "She ran home. I can't give up now, she thought."),
    ("Why are you late?", "I'm sorry I am late, the train broke down."),
    ("What is a language model?", "As a rule, a language model predicts the next word."),
    ("How do assistants help?", "An AI assistant can answer questions and set alarms."),
    ("Was ist KI?", "Als KI bezeichnet man lernende Programme."),
    ("什么是人工智能?", "人工智能是计算机科学的一个分支。"),
    ("Give advice.", "If you are unable to assist a guest, call the manager."),
]


@pytest.mark.parametrize(("prompt", "completion"), REFUSALS)
def test_refusal_takes_refusals(prompt: str, completion: str) -> None:
    assert refusal_in(prompt, completion)


@pytest.mark.parametrize(("prompt", "completion"), ANSWERS)
def test_refusal_leaves_answers(prompt: str, completion: str) -> None:
    assert refusal_in(prompt, completion) is None


@pytest.mark.skipif(not SEEDS.exists(), reason="the Self-Instruct seeds are not here")
def test_good_human_tasks_pass() -> None:
    bad: list[str] = []
    tasks = [json.loads(line) for line in SEEDS.read_text(encoding="utf-8").splitlines()]
    for task in tasks:
        prompt = "\n\n".join(filter(None, (task["instruction"], task["instances"][0]["input"])))
        completion = task["instances"][0]["output"]
        bad += [reason for reason in (broken(prompt, completion), refusal_in(prompt, completion)) if reason]
    assert len(tasks) == 175
    assert len(bad) <= 0.05 * len(tasks), bad


# -- length, exact, novelty


def test_length_counts_words_of_any_script() -> None:
    assert [word_count(t) for t in ("one two, three", "", "2 + 2", "写一首诗", "写一首诗。", "用 Python 写")] == [
        3,
        0,
        3,
        2,
        3,
        2,
    ]
    limits = Curate.model_validate(
        {"length": {"min_prompt": 2, "max_prompt": 4, "min_completion": 1, "max_completion": 3}}
    )
    rows = [
        row("one two", "a b c"),
        row("one", "a"),
        row("a b c d e", "a"),
        row("a b", "a b c d"),
        row("写一首诗", "好"),
    ]
    verdicts = judge_length(rows, limits)
    assert [v.state for v in verdicts] == ["pass", "fail", "fail", "fail", "pass"]
    assert [v.score for v in verdicts] == [3, 1, 5, 4, 1]
    assert "min_prompt is 2" in verdicts[1].reason
    assert "max_completion is 3" in verdicts[3].reason


def test_exact_keeps_the_first_and_names_it() -> None:
    rows = [
        row("Name a colour.", "Red.", 0),
        row("  name a COLOUR", "red", 1),
        row("Name a colour.", "Blue.", 2),
        row("Ｎame a colour!", "“Red”", 3),
        row("Name a number.", "5", 4),
        row("Name a number.", "-5", 5),
    ]
    verdicts = judge_exact(rows, Curate())
    assert [v.state for v in verdicts] == ["pass", "fail", "pass", "fail", "pass", "pass"]
    assert verdicts[1].reason == verdicts[3].reason == f"the same text as {rows[0].id}"


def test_exact_looks_at_all_turns() -> None:
    def talk(first: str, sequence: int) -> Record:
        turns = (Message("user", first), Message("assistant", "Sure."))
        last = (Message("user", "Thanks"), Message("assistant", "Welcome."))
        return Record((*turns, *last), Origin("import", str(sequence), sequence))

    verdicts = judge_exact([talk("Sing", 0), talk("Dance", 1), talk("sing!", 2)], Curate())
    assert [v.state for v in verdicts] == ["pass", "pass", "fail"]


def test_novelty_compares_with_earlier_rows_and_spares_imported_ones() -> None:
    rows = [
        row("List five uses of a brick", "a", 0, method="import"),
        row("List five uses of a brick", "b", 1, method="import"),
        row("List five uses of a red brick", "c", 2),
        row("Explain the tides", "d", 3),
        row("Explain the tides please", "e", 4),
    ]
    verdicts = judge_novelty(rows, Curate())
    assert [v.state for v in verdicts] == ["skipped", "skipped", "fail", "pass", "fail"]
    assert verdicts[0].reason == "imported rows are not held to the novelty rule"
    assert verdicts[2].reason == f"ROUGE-L 0.92 to {rows[0].id}"
    assert verdicts[4].score == pytest.approx(6 / 7)
    # An imported row born later does not count against an earlier one.
    assert judge_novelty([rows[2], rows[0]], Curate())[0].state == "pass"
    assert all(v.state != "fail" for v in judge_novelty(rows, Curate(novelty=1.0)))


def test_a_judge_switched_off_says_so() -> None:
    off = Curate(shape=False, refusal=False, exact=False, novelty=None)
    for judge in JUDGES:
        (verdict,) = opinions(judge, [row("", "")], off)
        assert (verdict.state, verdict.reason) == ("skipped", "switched off") or judge.name == "length"


# -- the stage


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = Run(tmp_path, "x")
    run.create()
    return run


ROWS = [
    row("Name a bright colour", "Red is a bright colour.", 0),
    row("Name a bright colour", "", 1),  # shape
    row("Describe the sea at night", "I'm sorry, but I can't help with that.", 2),  # refusal
    row("Describe the sea at night", "Dark and wide it lies.", 3),
    row("describe the sea at night!", "dark and wide it lies", 4),  # exact
    row("Describe the sea at night please", "Black water.", 5),  # novelty
    row("Explain how tides come about", "The moon pulls at the water.", 6),
]


def asked(run: Run) -> list[str]:
    """Judges asked by the last call of the stage."""
    events = [json.loads(line) for line in (run.path / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    return [event["judge"] for event in [e for e in events if e["event"] == "judge"][-len(JUDGES) :] if event["asked"]]


def states(run: Run, judge: str) -> list[str]:
    by_id = {v.record: v for v in read_verdicts(run.verdicts / judge)}
    return [by_id[r.id].state for r in ROWS]


def test_every_record_has_a_verdict_of_every_judge(run: Run) -> None:
    write_records(ROWS[::-1], run.records / "part-0.parquet")
    counts = run_curate(recipe(test=0.5), run)
    assert states(run, "shape") == ["pass", "fail", *["pass"] * 5]
    assert states(run, "refusal") == ["pass", "pass", "fail", *["pass"] * 4]
    assert states(run, "exact") == ["pass", "skipped", "skipped", "pass", "fail", "pass", "pass"]
    assert states(run, "novelty") == ["pass", "skipped", "skipped", "pass", "skipped", "fail", "pass"]
    reasons = {v.record: v.reason for v in read_verdicts(run.verdicts / "novelty")}
    assert [reasons[ROWS[i].id] for i in (1, 2, 4)] == ["failed shape", "failed refusal", "failed exact"]
    assert ROWS[3].id in reasons[ROWS[5].id]
    assert counts["in"] == 7
    assert counts["accepted"] == counts["train"] + counts["test"] == 3
    # The empty row also fails length, but shape was first: the counts add up.
    assert {name: counts[f"failed_{name}"] for name in NAMES} == dict(zip(NAMES, (1, 0, 1, 1, 1), strict=True))
    assert [r.id for r in accepted(run, recipe())] == [ROWS[i].id for i in (0, 3, 6)]
    note = read_json(run.verdicts / "novelty.json")
    assert note["states"] == {"pass": 3, "fail": 1, "skipped": 3}
    assert note["reasons"]["fail: ROUGE-L … to …"] == 1
    assert note["settings"] == 0.7


def test_a_judge_is_asked_again_only_if_its_key_changed(run: Run) -> None:
    write_records(ROWS, run.records / "part-0.parquet")
    run_curate(recipe(), run)
    assert asked(run) == list(NAMES)
    times = {name: (run.verdicts / name / "verdicts.parquet").stat().st_mtime_ns for name in NAMES}
    run_curate(recipe(), run)
    assert asked(run) == []
    assert times == {name: (run.verdicts / name / "verdicts.parquet").stat().st_mtime_ns for name in NAMES}
    run_curate(recipe(novelty=0.9), run)
    assert asked(run) == ["novelty"]
    run_curate(recipe(novelty=0.9, length={"max_prompt": 300}), run)
    assert asked(run) == ["length"]
    run_curate(recipe(novelty=0.9, length={"min_completion": 4}), run)  # "Black water." goes
    assert asked(run) == ["length", "exact", "novelty"]
    run_curate(recipe(novelty=0.9, length={"min_completion": 4}, test=0.3), run)
    assert asked(run) == []
    write_records([row("One more question", "One more answer.", 9)], run.records / "part-1.parquet")
    run_curate(recipe(novelty=0.9, length={"min_completion": 4}), run)
    assert asked(run) == list(NAMES)


def test_reasons_follow_where_survivors_do_not_change(run: Run) -> None:
    write_records(ROWS, run.records / "part-0.parquet")
    run_curate(recipe(), run)
    run_curate(recipe(shape=False), run)  # the empty row now falls to length alone
    assert asked(run) == ["shape"]
    for name in ("exact", "novelty"):
        reasons = {v.record: v.reason for v in read_verdicts(run.verdicts / name)}
        assert reasons[ROWS[1].id] == "failed length"


def test_a_kill_between_table_and_note_is_mended(run: Run) -> None:
    write_records(ROWS, run.records / "part-0.parquet")
    run_curate(recipe(), run)
    (run.verdicts / "exact.json").unlink()
    run_curate(recipe(), run)
    assert asked(run) == ["exact"]
    (run.verdicts / "novelty" / "verdicts.parquet").unlink()
    run_curate(recipe(), run)
    assert asked(run) == ["novelty"]


def test_a_judge_of_a_new_version_is_asked_again(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    write_records(ROWS, run.records / "part-0.parquet")
    run_curate(recipe(), run)
    newer = tuple(replace(j, version=99) if j.name == "refusal" else j for j in JUDGES)
    monkeypatch.setattr("yearling.curate.stage.JUDGES", newer)
    run_curate(recipe(), run)
    assert asked(run) == ["refusal"]


def test_order_is_birth_not_the_order_of_files(run: Run) -> None:
    first, second = row("Name a red fruit", "Apple is one.", 1), row("Name a red fruit!", "apple is one", 2)
    write_records([second], run.records / "part-0.parquet")
    write_records([first], run.records / "part-1.parquet")
    run_curate(recipe(), run)
    assert [r.id for r in accepted(run, recipe())] == [first.id]


def test_a_row_stored_twice_counts_once(run: Run) -> None:
    write_records(ROWS, run.records / "part-0.parquet")
    write_records(ROWS[:1], run.records / "part-1.parquet")
    assert run_curate(recipe(), run)["in"] == len(born(run)) == len(ROWS)


def test_a_failed_row_hides_nothing_behind_it(run: Run) -> None:
    """A duplicate of a row that an earlier judge took is not a duplicate."""
    spoiled = row("Name a red fruit", "Apple is one.<|im_end|>", 1)
    good = row("Name a red fruit", "Apple is one.", 2)
    write_records([spoiled, good], run.records / "part-0.parquet")
    run_curate(recipe(), run)
    assert [r.id for r in accepted(run, recipe())] == [good.id]


def test_nothing_left_names_the_judge_and_the_knob(run: Run) -> None:
    rows = [row(f"Question number {n}", "I'm sorry, but I can't help with that.", n) for n in range(3)]
    write_records([*rows, row("Hi", "Hello.", 9)], run.records / "part-0.parquet")
    with pytest.raises(UserError, match=r"none of 4 records; failed by length 1, refusal 3\. curate\.refusal"):
        run_curate(recipe(), run)
    assert (run.verdicts / "novelty.json").exists()


def test_no_records_and_no_section_are_said_plainly(run: Run) -> None:
    with pytest.raises(UserError, match="no records"):
        run_curate(recipe(), run)
    with pytest.raises(UserError, match="no `curate:` section"):
        run_curate(Recipe(name="x"), run)


def test_accepted_needs_a_verdict_on_each_record(run: Run) -> None:
    write_records(ROWS, run.records / "part-0.parquet")
    with pytest.raises(UserError, match="have not been judged"):
        accepted(run, recipe())
    run_curate(recipe(), run)
    write_records([row("One more question", "One more answer.", 9)], run.records / "part-1.parquet")
    with pytest.raises(UserError, match="no verdict on 1 of 8 records"):
        accepted(run, recipe())
    assert len(accepted(run, Recipe(name="x"))) == 7  # without judges: all that have an answer


# -- splits


def test_split_is_about_its_share_and_does_not_move() -> None:
    rows = [row(f"Question number {n}?", "Yes.", n) for n in range(2000)]
    known = roots(rows)
    sides = [split_of(r, Curate(test=0.1), known) for r in rows]
    assert 150 < sides.count("test") < 250
    assert [split_of(r, Curate(test=0.1), roots(rows[:50])) for r in rows[:50]] == sides[:50]
    # A value once released stays: these are part of what a run means.
    assert [n for n in range(40) if sides[n] == "test"] == [9, 29, 31]


def test_families_never_straddle() -> None:
    for n in range(60):
        root = row(f"Question number {n}?", "Yes.", 0)
        child = row(f"Harder question {n}", "No.", 1, parents=(root.id,))
        grandchild = row(f"Hardest question {n}", "Maybe.", 2, parents=("r1:absent", child.id))
        again = row(f"question NUMBER {n}", "Another answer.", 3)
        imported = row(f"harder question {n}!", "Perhaps.", 4, method="import")
        family = [root, child, grandchild, again, imported]
        known = roots(family)
        assert set(known.values()) == {fold(root.prompt)}
        assert len({split_of(r, Curate(test=0.5), known) for r in family}) == 1


def test_a_family_whose_start_was_never_born_stays_together() -> None:
    """Parents are named nearest first: where none of them is there, the farthest one named is the family's."""
    for n in range(60):
        start = f"r1:start-{n}"
        first = row(f"Question number {n}?", "Yes.", 0, parents=(start,))
        second = row(f"Other question {n}", "No.", 1, parents=(f"r1:failed-{n}", start))
        child = row(f"Harder question {n}", "Maybe.", 2, parents=("r1:failed-too", second.id, start))
        again = row(f"harder question {n}!", "Perhaps.", 3, method="import")
        stranger = row(f"Strange question {n}", "So.", 4, parents=("r1:elsewhere",))
        family = [first, second, child, again]
        known = roots([*family, stranger])
        assert {known[member.id] for member in family} == {start}
        assert known[stranger.id] == "r1:elsewhere"
        assert len({split_of(r, Curate(test=0.5), known) for r in family}) == 1


def test_a_parent_that_is_there_comes_before_one_that_is_only_named() -> None:
    root = row("Question one?", "Yes.", 0)
    child = row("Harder question", "No.", 1, parents=("r1:failed", root.id, "r1:before-all"))
    assert roots([root, child]) == dict.fromkeys([root.id, child.id], fold(root.prompt))


def test_a_rejected_parent_still_holds_its_children_together(run: Run) -> None:
    rows: list[Record] = []
    for n in range(12):
        parent = row(f"Parent question {n * 7919}", "I'm sorry, but I can't help with that.", 3 * n)
        rows.append(parent)
        rows += [
            row(f"{verb} {n * 31}", "Well, yes.", 3 * n + 1, parents=(parent.id,)) for verb in ("Sing it", "Dance so")
        ]
    write_records(rows, run.records / "part-0.parquet")
    settings = recipe(test=0.5, novelty=None)
    counts = run_curate(settings, run)
    both: tuple[Split, ...] = ("train", "test")
    sides = {r.id: side for side in both for r in accepted_split(run, settings, side)}
    assert counts["accepted"] == 24 == len(sides)
    assert counts["test"] == list(sides.values()).count("test") > 0 < counts["train"]
    for n in range(12):
        assert sides[rows[3 * n + 1].id] == sides[rows[3 * n + 2].id]
