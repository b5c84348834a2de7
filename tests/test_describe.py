"""A set of records described: verbs and objects against hand-written ones, every count, the page and the command."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from yearling import cli
from yearling.curate.picture import render_html, share, sunburst, tables
from yearling.errors import UserError
from yearling.measure.describe import SIZES, Asks, Spread, Verb, describe, distinct
from yearling.measure.english import is_english
from yearling.measure.text import unicode_tokens
from yearling.measure.verbs import Asked, asked
from yearling.progress import console
from yearling.record import Message, Origin, Record, write_records
from yearling.run_folder import Run

ROOT = Path(__file__).parent.parent
SEEDS = ROOT / "src/yearling/generate/seeds.jsonl"
PUBLISHED = ROOT.parent / "shared/data"
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

# Read by a person: number of the instruction, its root verb, the noun that is its direct object ("-" for none).
BY_HAND = {
    SEEDS: (
        1,
        """
3 divide -|6 need day|9 convert kilometre|12 state step|15 - -|18 report spread|21 write year|24 list divisor|
27 simplify -|30 - -|33 - -|36 - -|39 tell -|42 fall -|45 make note|48 shorten message|51 remove one|
54 expand contraction|57 reduce note|60 learn -|63 say -|66 mean -|69 interpret saying|72 mention colour|
75 reply -|78 locate hour|81 order planet|84 reverse order|87 encode word|90 label feeling|93 praise -|96 tag -|
99 name emotion|102 show joy|105 file enquiry|108 - -|111 want -|114 detect intent|117 classify reason|
120 flag email|123 trust reminder|126 examine agreement|129 prefer version|132 follow -|135 agree -|138 - -|
141 recognise tongue|144 - -|147 travel -|150 - -|153 prove -|156 suit letter|159 look -|162 react -|
165 group animal|168 exist -|171 select letter|174 mean opposite|177 slot question|180 send -|
183 understand sentence|186 swim -|189 judge word|192 tell colleague|195 brainstorm theme|198 propose habit|
201 tell story|204 open -|207 craft verse|210 complete limerick|213 write note|216 write sentence|
219 invite classmate|222 write function|225 return -|228 rename variable|231 - -|234 create folder|
237 accept time|240 count order|243 format statement|246 become -|249 present sale|252 score point|
255 capitalise word|258 adapt spelling|261 describe -|264 outline -|267 compare violin|270 cost -|
273 prepare list|276 organise evening|279 double amount|282 keep thing|285 write sentence|288 name ocean|291 - -|
294 absorb gas|297 keep planet|300 paint -|303 name good|306 start conversation|309 choose houseplant|
312 teach rule|315 think -|318 propose title|321 advertise blanket|324 make riddle|327 think -|330 combine noun|
333 respond -|336 interview snail|339 name scientist|342 express -|345 liken memory|348 replace word|351 - -|
354 argue -|357 remove stain|360 instruct beginner|363 warn hiker|366 comment -|369 turn fact|372 tell -|
375 trace path|378 write function
""",
    ),
    PUBLISHED / "self_instruct_seed_tasks.jsonl": (
        0,
        """
0 - -|1 - -|3 describe situation|4 generate title|5 answer question|7 explain idiom|8 generate haiku|
9 recommend movie|11 make list|12 explain behavior|13 output dependency|15 write word|16 identify disease|
17 create checklist|19 explain relation|20 write scene|21 create question|23 give recipe|24 plan menu|
25 find number|27 - -|28 add comment|29 compose -|31 suggest completion|32 explain -|33 create survey|
35 solve equation|36 write adjective|37 replace comment|39 extract name|40 make plan|41 generate expression|
43 find misspelling|44 add thing|45 answer problem|47 write conversation|48 answer question|49 come -|
51 suggest word|52 suggest routine|53 return word|55 give joke|56 write spell|57 write sentence|59 write story|
60 give definition|61 fill mask|63 write joke|64 make summarization|65 write collocation|67 find word|
68 generate response|69 generate program|71 write recipe|72 write function|73 - -|75 generate title|
76 make flavor|77 use counterstereotype|79 complete lyric|80 write list|81 make list|83 read paragraph|84 come -|
85 extract name|87 write answer|88 retire -|89 create description|91 create budget|92 verify -|93 tell joke|
95 explain -|96 write text|97 rewrite sentence|99 give description|100 turn offer|101 translate sentence|
103 explain question|104 tell -|105 give example|107 give example|108 replace placeholder|109 solve problem|
111 explain color|112 write question|113 use stereotype|115 give address|116 try -|117 translate sentence|
119 expand outline|120 return number|121 create budget|123 make -|124 write review|125 write recipe|127 - -|
128 generate continent|129 write letter|131 - -|132 sort list|133 - -|135 output tag|136 solve problem|
137 summarize email|139 write program|140 write script|141 write code|143 give law|144 solve system|
145 plan syllabus|147 rank country|148 identify tag|149 detect -|151 tell -|152 tell -|153 tell -|155 decide -|
156 choose topic|157 classify sentiment|159 predict intent|160 tell -|161 answer question|163 select person|
164 find one|165 classify -|167 support claim|168 predict -|169 identify category|171 classify -|172 detect -|
173 classify -
""",
    ),
    PUBLISHED / "self_instruct_user_oriented_252.jsonl": (
        0,
        """
0 rewrite sentence|2 rewrite text|4 come -|8 - -|10 come -|12 look -|16 write name|18 design palette|
20 find sentence|24 write template|26 make list|28 take title|32 write review|34 think -|36 fall -|40 - -|
42 write guide|44 curate playlist|48 take time|50 suggest query|52 prepare template|56 write description|
58 write paragraph|60 write section|64 use emoji|66 brainstorm idea|68 come -|72 give motto|74 write email|
76 suggest acronym|80 read -|82 decide -|84 let -|88 name city|90 evaluate answer|92 design problem|
96 analyze problem|98 summarize article|100 make article|104 list trait|106 come -|108 give tip|112 make list|
114 estimate cost|116 develop exercise|120 give tip|122 design table|124 answer question|128 come -|
130 make list|132 suggest recipe|136 choose book|138 suggest book|140 solve equation|144 provide formula|
146 compare overview|148 compile -|152 look -|154 think -|156 change response|160 describe content|162 take look|
164 classify tweet|168 give example|170 estimate summary|172 provide list|176 answer question|178 convert -|
180 come -|184 decide -|186 come -|188 capitalize sentence|192 list concept|194 assess sentiment|196 translate -|
200 enter word|202 summarize meeting|204 invent word|208 make list|210 convert text|212 extract information|
216 create template|218 write story|220 paraphrase text|224 convert language|226 find code|228 make list|
232 decide -|234 predict -|236 notify -|240 rewrite text|242 write syntax|244 decide -|248 design challenge|
250 write -
""",
    ),
}


def instructions(path: Path) -> list[str]:
    if not path.exists():
        pytest.skip(f"{path.name} is absent")
    return [json.loads(line)["instruction"] for line in path.read_text(encoding="utf-8").splitlines()]


def record(prompt: str, completion: str = "Yes.", system: str = "", turns: int = 1, **named: Any) -> Record:
    pair = (Message("user", prompt), Message("assistant", completion))
    opening = (Message("system", system),) if system else ()
    sequence = named.pop("sequence", 0)
    return Record((*opening, *pair * turns), Origin("import", f"k{sequence}", sequence), **named)


# -- verbs and objects


@pytest.mark.parametrize("path", BY_HAND, ids=lambda path: path.stem)
def test_verbs_and_objects_are_those_a_person_reads(path: Path) -> None:
    texts, (first, table) = instructions(path), BY_HAND[path]
    wrong: list[tuple[str, str, str]] = []
    rows = [row.split() for row in table.split("|")]
    assert len(rows) >= 60 and len({row[0] for row in rows}) == len(rows)
    for number, verb, noun in rows:
        text = texts[int(number) - first]
        found = asked(text)
        assert found is not None
        if (found.verb or "-", found.noun or "-") != (verb, noun):
            wrong.append((text, f"{verb} {noun}", f"{found.verb} {found.noun}"))
    assert len(wrong) <= 0.03 * len(rows), wrong


def test_most_verbs_of_the_seeds_are_found() -> None:
    # the seeds' own verb is any verb of the instruction, so that all differ; the root is it in three of four
    rows = [json.loads(line) for line in SEEDS.read_text(encoding="utf-8").splitlines()]
    found = [asked(row["instruction"]) for row in rows]
    agreed = sum(ask is not None and ask.verb == row["verb"] for ask, row in zip(found, rows, strict=True))
    assert agreed >= 0.74 * len(rows)


SENTENCES = {
    "Refactor the code below.": ("command", "refactor", "code"),
    "Fact-check this claim.": ("command", "fact-check", "claim"),
    "WRITE A POEM ABOUT LOVE": ("command", "write", "poem"),
    "1. Name three planets": ("command", "name", "planet"),
    "Question: Who invented the telephone?": ("question", "invent", "telephone"),
    "hello, please write me a haiku": ("command", "write", "haiku"),
    "Can you help me write an essay on war?": ("command", "write", "essay"),
    "I want you to act as a Linux terminal. Answer my commands.": ("command", "act", ""),
    "In this task, you will be given a text. Your task is to classify the text.": ("command", "classify", "text"),
    "You are a helpful assistant. Draw me a map of Rome.": ("command", "draw", "map"),
    "Give the user a list of shops": ("command", "give", "list"),
    "Tell me about the history of Rome": ("command", "tell", ""),
    "Compare and contrast cats and dogs.": ("command", "compare", "cat"),
    "Do not use the letter e.": ("command", "use", "letter"),
    "Using the words 'a' and 'b', construct a sentence.": ("command", "construct", "sentence"),
    "If it rains, take an umbrella with you.": ("command", "take", "umbrella"),
    "Summarize: The quick brown fox": ("command", "summarize", ""),
    'Translate "good morning" to French.': ("command", "translate", ""),
    "Convert 5 miles to kilometers": ("command", "convert", "mile"),
    "Write the children's stories again": ("command", "write", "story"),
    "Describe the Eiffel Tower": ("command", "describe", ""),
    "Explain why the sky is blue": ("command", "explain", ""),
    "How to make bread?": ("question", "make", "bread"),
    "How do I reset my password?": ("question", "reset", "password"),
    "Which programming language should I learn first?": ("question", "learn", "language"),
    "On which shelf would a shop keep this title?": ("question", "keep", "title"),
    "What are you eating?": ("question", "eat", ""),
    "What is the capital of France?": ("question", "", ""),
    "Is it safe to eat raw eggs?": ("question", "", ""),
    "Why?": ("question", "", ""),
    "Short story about a cat": ("statement", "", ""),
    "List of countries in Europe": ("statement", "", ""),
    "Our shop sells old books.": ("statement", "sell", "book"),
}


@pytest.mark.parametrize("sentence", SENTENCES)
def test_a_sentence_is_read(sentence: str) -> None:
    assert asked(sentence) == Asked(*SENTENCES[sentence])  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", " \n", "...", "1 + 1 = ?", "🙂"])
def test_a_text_without_words_asks_for_nothing(text: str) -> None:
    assert asked(text) is None


ENGLISH = (
    "Translate to English: Der Hund schläft im Garten und träumt von einer großen Wurst.",
    "Translate the line.\n\nLe chat dort sur la chaise et ne veut pas sortir du jardin.",
    "What does the French expression 'petit à petit' mean in English?",
    "Refactor the Kubernetes file",
)
OTHERS = """Schreibe eine kurze Geschichte über einen Hund.|Was ist die Hauptstadt von Australien?|Hallo
Quelle est la capitale de la France ?|Donne une liste de cinq animaux.|Escribe un poema sobre el mar.
¿Cuál es la capital de España?|Scrivi una breve storia su un cane.|Escreva uma história sobre um cão.
Geef me een lijst van dieren in het bos.|Skriv en kort historie om en hund.|Vad är huvudstaden i Sverige?
Napisz krótką historię o psie.|Bir köpek hakkında kısa bir hikaye yaz.|Напиши короткий рассказ о собаке.
写一个关于狗的短故事。|犬についての短い物語を書いてください。|개에 대한 짧은 이야기를 써 주세요.|اكتب قصة قصيرة عن كلب.
एक कुत्ते के बारे में एक छोटी कहानी लिखें।|Γράψε μια σύντομη ιστορία.|Tulis cerita pendek tentang seekor anjing."""


@pytest.mark.parametrize("text", ENGLISH)
def test_english_is_told(text: str) -> None:
    assert is_english(text)


@pytest.mark.parametrize("text", re.split(r"[|\n]", OTHERS))
def test_other_languages_are_left_out_and_counted(text: str) -> None:
    assert not is_english(text)
    asks = describe([record(text)]).asks
    assert (asks.not_english, asks.with_object, asks.verb_alone, asks.no_verb) == (1, 0, 0, 0)


@pytest.mark.parametrize("path", BY_HAND, ids=lambda path: path.stem)
def test_english_instructions_are_english(path: Path) -> None:
    texts = instructions(path)
    assert [text for text in texts if not is_english(text)] == []


# -- the description


def test_every_prompt_is_counted_once() -> None:
    prompts = ["Write a poem.", "Write a story.", "Write a poem about rain.", "Write it.", "What is it?", "42", "Hund"]
    found = describe([record(prompt, sequence=place) for place, prompt in enumerate(prompts)], "mine")
    nouns = (("poem", 2), ("story", 1))
    assert found.asks == Asks(3, 1, 2, 1, 1, 2, (Verb("write", 3, 1, nouns),))
    assert (found.of, found.records) == ("mine", 7)
    assert dict(found.kinds) == {"command": 4, "question": 1, "other": 2}


def test_only_the_most_frequent_verbs_and_nouns_are_shown() -> None:
    nouns = ["apple", "boat", "cloud", "door", "egg", "flag"]
    verbs = (
        "add buy cut draw eat find give hide keep learn make name open paint read sell test use visit write yell zip"
    )
    prompts = [f"Build the {noun}." for noun in nouns] + [f"{verb.title()} the text." for verb in verbs.split()]
    asks = describe([record(prompt) for prompt in prompts]).asks
    assert len(asks.top) == 20 and asks.top[0] == Verb("build", 6, 0, tuple((noun, 1) for noun in nouns[:4]))
    assert [verb.verb for verb in asks.top[1:]] == verbs.split()[:19]
    assert (asks.distinct_verbs, asks.distinct_pairs) == (23, 28)


def test_distinct_counts_runs_of_words_within_a_text() -> None:
    assert distinct(["a b a b", "A, b!"]) == (2 / 6, 2 / 4, 2 / 2)
    assert distinct(["猫が好き", "猫"]) == (4 / 5, 1.0, 1.0)
    assert distinct(["one", "two"]) == (1.0, None, None)
    assert distinct([]) == distinct(["", "..."]) == (None, None, None)


def test_lengths_are_nearest_ranks_of_texts_that_are_not_empty() -> None:
    records = [record(" ".join(["word"] * size), "") for size in range(1, 101)]
    found = describe([*records, record("  ", "")])
    assert found.prompts.words == Spread(5, 50, 95) and found.prompts.count == 100
    assert found.completions.words is None and found.completions.count == 0


def test_turns_systems_and_kinds() -> None:
    records = [record("Hi", system="Be kind.", kind="chat"), record("Hi", turns=3), record("Was ist das?")]
    found = describe(records)
    assert (found.turns, found.more_turns, found.with_system) == (Spread(2, 2, 6), 1, 1)
    assert (found.kinds, found.kinds_given) == ((("chat", 1), ("other", 1), ("question", 1)), 1)


def test_the_order_of_records_does_not_matter() -> None:
    records = [record(text) for text in instructions(SEEDS)[:60]]
    assert describe(records) == describe(records[::-1])


def test_a_description_is_plain_json() -> None:
    plain = describe([record("Name three birds.")], "birds").plain()
    again = json.loads(json.dumps(plain))
    assert again["asks"]["top"] == [{"verb": "name", "with_object": 1, "without_object": 0, "nouns": [["bird", 1]]}]
    assert again["prompts"] == {"count": 1, "words": {"low": 3, "median": 3, "high": 3}, "distinct": [1.0, 1.0, 1.0]}


PIECES = [
    "Write",
    "a ",
    "the",
    "of",
    ",",
    "? ",
    ".\n",
    "'",
    '"',
    "’s",
    "to",
    "that",
    "is ",
    "which",
    "me",
    "(",
    "_",
    "one",
]
anything = st.one_of(st.text(), st.lists(st.sampled_from([*PIECES, *(f" {p}" for p in PIECES)])).map("".join))


@settings(deadline=None)  # the first one reads the dictionary
@given(st.lists(st.tuples(anything, anything, st.sampled_from(["", "poetry"])), max_size=6))
@example([("\ud800 Write the \x00 poem", "\ud800", "")])
@example([("#" * 3000 + " a", "- " * 2000, "")])
@example([("Write the one of the", "Do you", "")])
def test_any_text_is_described(texts: list[tuple[str, str, str]]) -> None:
    found = describe([record(prompt, completion, kind=kind) for prompt, completion, kind in texts])
    asks = found.asks
    assert asks.with_object + asks.verb_alone + asks.no_verb + asks.not_english == found.records == len(texts)
    assert sum(count for _, count in found.kinds) == len(texts)
    assert sum(verb.with_object for verb in asks.top) == asks.with_object  # six prompts have no more than 20 verbs
    for verb in asks.top:
        assert verb.verb and all(noun for noun, _ in verb.nouns)
        assert sum(count for _, count in verb.nouns) <= verb.with_object
    page = render_html(found)
    assert page.startswith("<!doctype html>")
    page.encode("utf-8")


@given(st.lists(st.text(alphabet="ab c猫.", max_size=12), max_size=8))
def test_distinct_is_what_the_definition_says(texts: list[str]) -> None:
    expected = []
    for size in range(1, SIZES + 1):
        tokens = map(unicode_tokens, texts)
        runs = [tuple(words[at : at + size]) for words in tokens for at in range(len(words) - size + 1)]
        expected.append(len(set(runs)) / len(runs) if runs else None)
    assert distinct(texts) == tuple(expected)


# -- the picture


def picture(page: str) -> ElementTree.Element:
    found = re.search(r"<svg.*</svg>", page, re.DOTALL)
    assert found
    return ElementTree.fromstring(found[0])


def test_arcs_follow_one_another_and_close_the_round() -> None:
    asks = Asks(
        8, 0, 0, 0, 2, 4, (Verb("write", 6, 0, (("poem", 3), ("story", 1))), Verb("name", 2, 0, (("bird", 2),)))
    )
    arcs = sunburst(asks)
    assert [(arc.ring, arc.title) for arc in arcs] == [
        ("inner", "write: 6 of 8 shown"),
        ("outer", "write poem: 3"),
        ("outer", "write story: 1"),
        ("rest", "write, other objects: 2"),
        ("inner", "name: 2 of 8 shown"),
        ("outer", "name bird: 2"),
    ]
    write, name = (arc.path for arc in arcs if arc.ring == "inner")
    assert write.startswith("M0.00 -74.00L0.00 -176.00A176 176 0 1 1 -176.00 0.00")  # three quarters, from the top
    assert name.startswith("M-74.00 0.00L-176.00 0.00A176 176 0 0 1 -0.00 -176.00")  # the last quarter


def test_a_single_verb_is_a_whole_ring() -> None:
    arcs = sunburst(describe([record("Name a bird.")]).asks)
    assert [arc.label for arc in arcs] == ["name", "bird"]
    start, end = re.findall(r"[ML](-?[\d.]+ -?[\d.]+)", arcs[0].path)[1:]
    assert start != end and " 1 1 " in arcs[0].path


def test_labels_are_shown_where_they_fit() -> None:
    many = tuple((f"noun{place}", 1) for place in range(4))
    arcs = sunburst(Asks(500, 0, 0, 0, 1, 500, (Verb("characterise-at-length", 500, 0, many),)))
    assert arcs[0].label.endswith("…") and len(arcs[0].label) < 16
    assert all(arc.label == "" and arc.title for arc in arcs[1:])


def test_the_page_holds_what_was_counted_and_escapes_it() -> None:
    records = [record("Write a poem.", kind="<script>alert(1)</script>"), record("Write a poem.", kind="\x1b[31m")]
    page = render_html(describe(records, "a <b>& c"))
    assert "<script" not in page and "&lt;script&gt;" in page and "a &lt;b&gt;&amp; c" in page and "\x1b" not in page
    assert not re.search(r"(?:src|href)=\"(?!data:)|https?://|url\(|@import", page)
    titles = [node.text for node in picture(page).iter("title")]
    assert titles == ["write: 2 of 2 shown", "write poem: 2"]
    for told in ("Of 2 prompts, 2 (100 %)", "not English, left out: 0", "prefers-color-scheme: dark", "3 / 3 / 3"):
        assert told in page, told


def test_without_pairs_there_is_no_picture() -> None:
    page = render_html(describe([record("Hund"), record("What is it?")]))
    assert "<svg" not in page and "there is no picture" in page


def test_rare_kinds_are_summed() -> None:
    page = render_html(describe([record("Hi", kind=f"kind{place}") for place in range(25)]))
    assert "5 other kinds" in page


def test_the_tables_show_texts_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    console(stderr=False).print(tables(describe([record("Write a poem.", kind="[red]x[/red]")], "[bold]mine")))
    shown = capsys.readouterr().out
    for told in ("[bold]mine", "[red]x[/red]", "poem 1", "distinct-1", "With a system turn: 0 %", "100 %"):
        assert told in shown, told


@pytest.mark.parametrize(("part", "told"), [(0, "0 %"), (1, "0.1 %"), (500, "50 %"), (999, "99.9 %"), (1000, "100 %")])
def test_shares_are_not_rounded_to_all_or_nothing(part: int, told: str) -> None:
    assert share(part, 1000) == told


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
def test_a_browser_draws_the_page(tmp_path: Path) -> None:
    page = tmp_path / "describe.html"
    page.write_text(render_html(describe([record(text) for text in instructions(SEEDS)], "seeds")), encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    command = [str(BROWSER), *flags, f"--user-data-dir={tmp_path / 'profile'}", f"--screenshot={tmp_path / 'p.png'}"]
    subprocess.run([*command, page.as_uri()], capture_output=True, timeout=120, check=True)
    assert (tmp_path / "p.png").stat().st_size > 20_000


# -- the command


def yearling(project: Path, *words: str) -> None:
    cli.app(["--project", str(project), *words], standalone_mode=False)


def make_run(project: Path, name: str, prompts: list[str]) -> Run:
    run = Run(project, name)
    run.create()
    write_records([record(prompt, sequence=place) for place, prompt in enumerate(prompts)], run.records / "a.parquet")
    return run


def test_a_data_file_is_described(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = project / "birds.jsonl"
    data.write_text('{"prompt": "Name a bird.", "completion": "Owl."}\n' * 2, encoding="utf-8")
    yearling(project, "curate", "--describe", str(data), "--json")
    out, told = capsys.readouterr()
    found = json.loads(out)
    assert (found["of"], found["records"], found["asks"]["with_object"]) == ("birds.jsonl", 2, 2)
    assert "prompt-completion" in told and f"the picture is in {project / 'birds.describe.html'}" in told
    assert "bird" in (project / "birds.describe.html").read_text(encoding="utf-8")


def test_a_run_is_described_before_and_after_it_is_curated(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = ["Name a bird.", "Name a bird.", "Write a poem about rain."]
    run = make_run(project, "first", rows)
    yearling(project, "curate", "--describe")
    out, told = capsys.readouterr()
    assert "run first: all records, not curated yet" in out and "Records: 3" in out
    page = run.path / "curate" / "describe.html"
    assert page.is_file() and str(page) in told

    recipe = project / "recipe.yaml"
    recipe.write_text("name: first\nimport: [{path: d.jsonl}]\ncurate: {}\n", encoding="utf-8")
    lines = [json.dumps({"prompt": prompt, "completion": "An owl sits in the rain and hoots."}) for prompt in rows]
    (project / "d.jsonl").write_text("\n".join(lines), encoding="utf-8")
    run.delete()
    yearling(project, "import", str(recipe))
    yearling(project, "curate", str(recipe))
    capsys.readouterr()
    for words in ([], ["first"], [str(recipe)]):
        yearling(project, "curate", "--describe", *words)
        out, _ = capsys.readouterr()
        assert "run first: accepted records" in out and "Records: 2" in out


def test_out_says_where_the_page_goes(project: Path) -> None:
    make_run(project, "first", ["Name a bird."])
    (project / "pages").mkdir()
    for out, page in (
        ("x/mine.html", "x/mine.html"),
        ("pages", "pages/describe.html"),
        ("y/a.jsonl", "y/describe.html"),
    ):
        yearling(project, "curate", "--describe", "first", "-o", str(project / out))
        assert (project / page).is_file()
        assert not (project / "runs/first/curate").exists()


def test_what_is_not_there_is_refused(project: Path) -> None:
    missing = str(project / "nothing.jsonl")
    for words, told in (([], "no runs"), ([missing], "neither a run nor a file"), (["a", "b"], "one run or data file")):
        with pytest.raises(UserError, match=told):
            yearling(project, "curate", "--describe", *words)
    make_run(project, "first", [])
    with pytest.raises(UserError, match="none to describe"):
        yearling(project, "curate", "--describe")
    with pytest.raises(UserError, match="Runs here: first"):
        yearling(project, "curate", "--describe", "second")
