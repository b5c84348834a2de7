"""The shape judge takes rows that are broken as text, of many kinds and languages, and leaves what only looks so."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted.score import row as planted_row
from planted.score import score

from yearling.curate.reach import out_of_reach
from yearling.curate.rows import Row, row_of
from yearling.curate.shape import broken
from yearling.record import Message

SEEDS = Path(__file__).parents[2] / "shared" / "data"


def row(prompt: str, completion: str) -> Row:
    return row_of([Message("user", prompt), Message("assistant", completion)])


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


MORE_BROKEN = [
    # nothing there
    ("Name a colour.", "\u3000\u00a0\u200b\ufeff", "the completion is empty"),
    ("\u200b", "Red.", "the prompt is empty"),
    # a word where a text was asked for
    ("Write a letter to the landlord about the broken heating.", "Dear landlord", "too few words"),
    ("Explain how a lock keeps out thieves.", "Metal.", "too few words"),
    ("Erkläre mir, wie ein Motor arbeitet.", "Benzin.", "too few words"),
    ("Pourquoi les feuilles tombent-elles en automne ?", "Le froid", "too few words"),
    ("为什么树叶在秋天变红?", "天冷。", "too few words"),
    ("List five ways to save water.", "1.", "too few words"),
    # cut off
    ("What do bees do?", "Bees gather nectar. They carry it to the hive and turn", "inside a sentence"),
    ("What do bees do?", "Bees gather nectar and bring it back to their hi", "inside a word"),
    ("Was tun Bienen?", "Sie sammeln Nektar und tragen ihn in den Stock, weil", "ends with weil"),
    ("Que font les abeilles ?", "Elles récoltent le nectar des fleurs et le rapportent à la", "ends with la"),
    ("Что делают пчёлы?", "Пчёлы собирают нектар. Потом они несут его в", "ends with в"),
    ("蜜蜂做什么?", "蜜蜂采集花蜜。然后它们飞回蜂巢把花蜜", "inside a sentence"),
    ("Give tips.", "1. Sleep eight hours.\n2. Drink water.\n3. Walk for half an", "unfinished"),
    (
        "Why is the sea salty?",
        "Rivers wash minerals out of the rocks, and over millions of years these have",
        "unfinished",
    ),
    # round and round
    (
        "Tell a story.",
        "The fox ran. It met a hare, and the hare, and the hare, and the hare, and the hare",
        "repeats itself",
    ),
    (
        "Tell a story.",
        "One. " + "It was very late that night. " * 3 + "Then the sun rose, and all was well.",
        "repeats itself",
    ),
    # the next task
    ("Nenne eine Farbe.", "Rot.\n\nAufgabe: Nenne ein Tier.\nHund.", "another turn"),
    ("Cite une couleur.", "Rouge.\n\nQuestion : Cite un animal.", "another turn"),
    ("说一种颜色。", "红色。\n\n问题：说一种动物。", "another turn"),
    ("Name a colour.", "Red. User: And a fruit? Apple.", "another turn"),
    ("Name a colour.", "Red.\n12. Sort these words by length", "another task"),
    # encodings
    ("Name a cafe.", "The CafÃ© is on the corner.", "encoding"),
    ("Cite this.", "Itâ€™s raining.", "encoding"),
    ("Скажи привет.", "РџСЂРёРІРµС‚!", "encoding"),
    ("Sag hallo.", "SchĂ¶ne GrĂĽĂźe, das GerĂ¤t lĂ¤uft wieder und macht keine GerĂ©usche.", "encoding"),
    ("Name a cafe.", "The Caf√© is open.", "encoding"),
    ("Nenne ein Tier.", "Der B├ñr.", "encoding"),
    # remains
    ("Name a colour.", "<p>Red is a colour.</p>", "markup"),
    ("Name a colour.", "Red&nbsp;is a colour.", "markup"),
    ("Name a colour.", "Red.\n```\n```", "empty code block"),
    ("Name a colour.", "Red, {{user_name}}, is a colour.", "special token"),
    # marks
    ("Name a colour.\n\nInput: None", "Red.", "no-input"),
    ("Nenne eine Farbe.\nEingabe: keine", "Rot.", "no-input"),
    ("Cite une couleur. (aucune entrée)", "Rouge.", "no-input"),
    ("说一种颜色。\n输入：无", "红色。", "no-input"),
    # echoes
    ("Why do cats purr?", "“Why do cats purr?”", "repeats the prompt"),
    ("Why do cats purr?", "You asked: Why do cats purr?", "repeats the prompt"),
    ("Why do cats purr?", "Why do cats purr? Why do cats purr?", "repeats the prompt"),
    ("猫为什么打呼噜?", "你的问题是：猫为什么打呼噜？", "repeats the prompt"),
]
MORE_SOUND = [
    ("Which mark ends a clause in C?", ";"),
    ("Is the earth flat? Answer yes or no and explain nothing.", "No"),
    ("Describe the taste of lemons in one word.", "Sour"),
    ("Name two rivers.", "Rhine, Elbe"),
    ("How do I say thank you in Dutch?", "Dank je wel"),
    ("Tell me whether the text is spam.\n\nExplain how to win a million!", "spam"),
    ("Write a headline about the storm.", "Storm Leaves Thousands in the North Without Power and Water for Days"),
    ("Begin a story that breaks off.", "The door opened. Nobody was there. Then, from the cellar, came a"),
    ("Who said it?", "Ask not what your country can do for you. John F. Kennedy"),
    ("Where does he live?", "He lives at 4 Mill St. Newtown"),
    ("What is 3 + 4?", "First take 3. Then add 4. The sum is 7"),
    ("Was heißt house?", "Das Wort „house“ heißt Haus"),
    ("Name trees.", "- Oak\n- Beech\n- The tall silver fir of the north"),
    ("ทำอย่างไรให้ต้นไม้ไม่เหี่ยว", "วางต้นไม้ใกล้หน้าต่างที่มีแสงรำไร รดน้ำเมื่อหน้าดินแห้ง และเช็ดฝุ่นบนใบสัปดาห์ละครั้ง"),
    ("Write the chorus of a song.", "Round and round we go\n" * 4 + "and nobody will know."),
    ("Give the three times table.", "\n".join(f"{n} times 3 is {3 * n}." for n in range(1, 10))),
    ("Which shops are open?", "| shop | open |\n|---|---|\n| A | yes |\n| B | yes |\n| C | yes |\n| D | yes |"),
    ("What does `for _ in range(4): print('go')` show?", "go\ngo\ngo\ngo"),
    ("Write an interview with a baker.", "The baker met us at dawn.\nQuestion: When do you rise?\nShe: At three."),
    ("Wann war das?", "Das war früh.\n3. Oktober"),
    ("Write a dialogue between a guest and an assistant.", "Assistant: Good day.\nGuest: A room, please."),
    ("Why do I see Ã¤ instead of ä?", "The bytes Ã¤ are UTF-8 read as Latin-1."),
    ("Was steht da?", "«Là… », dit-il à « Léa ». Ils sont arrivés… Il a répété : « J’étais né…»"),
    ("Solve it.", "x = √2, y = √π, a×b×c, ½×½×½"),
    ("Draw a tree.", "├── src\n│   └── main\n└── docs"),
    ("Say it in Icelandic.", "Það er gott veður í dag, sagði hann."),
    ("How do I make a word bold on a web page?", "Put it between <b> and </b>."),
    ("What is Box<T> in Rust?", "A Box<T> owns a value on the heap; Option<A> may hold one."),
    ("Show me two snippets.", "```sh\nls\n```\n```sh\npwd\n```"),
    ("Fill in the form.\nName: Ann\nMiddle name: N/A", "Name: Ann\nMiddle name: none"),
    ("What does <noinput> mean in a data set?", "It says that a task comes without material."),
    ("Good morning to you!", "Good morning to you!"),
    ("Repeat after me: the sea is blue.", "Repeat after me: the sea is blue."),
    ("What is the capital of Peru?", "What is the capital of Peru? Lima"),
]


@pytest.mark.parametrize(("prompt", "completion", "reason"), [*BROKEN, *MORE_BROKEN])
def test_shape_takes_what_is_broken(prompt: str, completion: str, reason: str) -> None:
    assert reason in (broken(row(prompt, completion)) or "")


@pytest.mark.parametrize(("prompt", "completion"), [*SOUND, *MORE_SOUND])
def test_shape_leaves_what_is_sound(prompt: str, completion: str) -> None:
    assert broken(row(prompt, completion)) is None


def test_every_answer_of_a_conversation_is_looked_at() -> None:
    turns = [Message("user", "Name a colour."), Message("assistant", "Red."), Message("user", "And a fruit?")]
    assert broken(row_of([*turns, Message("assistant", "Apple.")])) is None
    assert broken(row_of(turns)) == "the completion is empty"
    spoiled = [turns[0], Message("assistant", "Red.<|im_end|>"), turns[2], Message("assistant", "Apple.")]
    assert "special token" in (broken(row_of(spoiled)) or "")
    assert broken(row_of([])) == "the prompt is empty"


def test_what_a_system_turn_asks_for_counts() -> None:
    said = [Message("user", "She walk to school every day."), Message("assistant", "She walk to school every day.")]
    assert broken(row_of(said)) == "the completion repeats the prompt"
    assert broken(row_of([Message("system", "Correct the grammar of each sentence."), *said])) is None
    short = [Message("user", "Explain why the sky is blue."), Message("assistant", "Scattering")]
    assert broken(row_of(short))
    assert broken(row_of([Message("system", "Answer in one word."), *short])) is None


UNITS = (
    *(
        "\n",
        "- \n",
        " ",
        "</s> ",
        "[insert",
        '"',
        "1. \n\n",
        "a",
        "é",
        "Ã",
        "â€",
        "Р",
        "```",
        "{{",
        "<p ",
        "Q: ",
        "ha ",
    ),
    *(
        "。",
        "\u200b",
        "the ",
        "&amp",
        "А. ",
        "…",
        "No. ",
        "word, ",
        "( ",
        "{%",
        "<|",
        "x\ny\n",
        "###\n",
        "\\n",
        "Input:\n",
    ),
)


@pytest.mark.parametrize("unit", UNITS)
def test_degenerate_text_takes_no_time(unit: str) -> None:
    text = (unit * 100_000)[:100_000]
    start = time.perf_counter()
    for one in (row("Say it. " + text + "x", "x" + text + "y"), row("Say it.", text), row(text, "Yes")):
        broken(one)
    assert time.perf_counter() - start < 3


@given(st.text(), st.text())
def test_any_text_is_judged(prompt: str, completion: str) -> None:
    reason = broken(row(prompt, completion))
    assert reason is None or reason.startswith(("the prompt ", "the completion "))
    assert reason == broken(row(prompt, completion))


@given(st.text(alphabet=st.sampled_from('abc \n.,:"`<>[]{}|#-0123Ãé。\u200b\ud800РС'), max_size=200))
def test_text_of_marks_is_judged(text: str) -> None:
    broken(row(text, text[::-1]))
    broken(row("Name a colour.", text))


@given(st.text(alphabet=st.characters(categories=("Zs", "Cf")), max_size=20))
def test_white_space_is_no_answer(text: str) -> None:
    assert broken(row("Name a colour.", text)) == "the completion is empty"


@pytest.mark.skipif(not SEEDS.is_dir(), reason="the public seed files are not beside this checkout")
def test_good_human_tasks_pass() -> None:
    lines = [line for path in SEEDS.glob("*.jsonl") for line in path.read_text(encoding="utf-8").splitlines()]
    bad = []
    for task in map(json.loads, lines):
        first = task["instances"][0]
        one = row("\n\n".join(filter(None, (task["instruction"], first["input"]))), first["output"])
        bad += [reason for reason in (broken(one), out_of_reach(one)) if reason]
    assert len(lines) > 400
    assert len(bad) <= 0.01 * len(lines), bad


@pytest.mark.parametrize(
    "kind", ["empty", "too_short", "unfinished", "loop", "merged", "encoding", "markup", "no_input", "echo"]
)
def test_planted_faults_are_found(kind: str) -> None:
    found = score(lambda line: broken(planted_row(line)) is not None, [kind])
    assert found.recall >= 0.7, found
    assert found.precision >= 0.9, found
