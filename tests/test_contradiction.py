"""Two answers to one closed question that cannot both hold are found; answers that can both hold are let be."""

from __future__ import annotations

import time
from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted.score import lines, row

from yearling.curate.contradiction import contradictions
from yearling.curate.quantities import quantities
from yearling.curate.questions import kind_of
from yearling.measure.text import fold

CANNOT_BOTH_HOLD = [
    ("How many strings does a violin have?", "A violin has four strings.", "Five."),
    ("How many bones are in a human hand?", "There are 27 bones in it.", "It has thirty-seven bones."),
    ("How long is a football match?", "Ninety minutes, in two halves.", "Two hours, in two halves."),
    ("At how many degrees Celsius does lead melt?", "At 327 degrees.", "At 427 degrees."),
    ("In which year did the Titanic sink?", "It sank in 1912.", "The Titanic sank in 1921."),
    ("How many pawns are in a chess set?", "16 in all.", "32 in all."),
    ("How many players has a rugby league team?", "13", "15"),
    ("Is a tomato a fruit?", "Yes, in the botanical sense it is a fruit.", "No, it is a root."),
    ("Can ostriches fly?", "Ostriches can fly over great distances.", "No, they are too heavy."),
    ("Do bats lay eggs?", "No.", "Yes, two each spring."),
    ("Is glass a conductor?", "Glass is a conductor of electricity.", "Glass is not a conductor of electricity."),
    ("What is the capital of Norway?", "The capital of Norway is Oslo.", "The capital of Norway is Bergen."),
    ("Who wrote the novel Emma?", "Jane Austen", "Charlotte Brontë"),
    ("Is the moon larger or smaller than the earth?", "It is smaller.", "It is larger."),
    ("Which is the first day of Lent?", "It is a Wednesday.", "It is a Friday."),
    ("On which side do they drive in Japan?", "They drive on the left there.", "They drive on the right there."),
    ("Wie viele Planeten hat unser Sonnensystem?", "Es hat acht Planeten.", "Es hat neun Planeten."),
    ("Wie hoch ist der Brocken?", "1141 Meter.", "Er ist zweitausend Meter hoch."),
    ("Sind Delfine Fische?", "Nein, sie sind Säugetiere.", "Ja, Delfine gehören zu den Fischen."),
    ("Wie heißt die Hauptstadt von Polen?", "Sie heißt Warschau.", "Sie heißt Krakau."),
    ("Combien de cordes a une guitare ?", "Une guitare a six cordes.", "Elle en a huit."),
    ("Quelle est la capitale du Portugal ?", "C'est Lisbonne.", "C'est Porto."),
    ("¿Cuántas patas tiene una araña?", "Tiene ocho patas.", "Una araña tiene diez patas."),
    ("¿Es el tomate una fruta?", "Sí, en botánica lo es.", "No, es una raíz."),
    ("Quanti giorni ha aprile?", "Aprile ha trenta giorni.", "Ha trentuno giorni."),
    ("Quantas cordas tem um violino?", "Tem quatro cordas.", "O violino tem seis cordas."),
    ("Сколько струн у скрипки?", "У скрипки четыре струны.", "Пять струн."),
    ("一年有多少个月？", "一年有十二个月。", "有十个月。"),
    ("鲸鱼是鱼吗？", "不是，它是哺乳动物。", "是的，鲸鱼是一种鱼。"),
    ("1年は何か月ですか。", "12か月です。", "十か月です。"),
    ("クジラは魚ですか。", "いいえ、哺乳類です。", "はい、魚の一種です。"),
]
CAN_BOTH_HOLD = [
    ("Write a line about rain.", "Rain writes on glass.", "Rain never forgets a roof."),
    ("Name a metal.", "Iron.", "Copper."),
    ("Suggest a number between 1 and 10.", "4", "7"),
    ("Which herbs go with fish?", "Dill.", "Fennel."),
    ("How far is it from Dover to Calais?", "About 33 kilometres.", "Roughly 21 miles."),
    ("At what temperature does water boil at sea level?", "At 100 °C.", "At 212 degrees Fahrenheit."),
    ("How long does a film usually last?", "About an hour and a half.", "About 90 minutes."),
    ("How much of an apple is water?", "Some 85 per cent.", "About 0.85 of it."),
    ("How many eggs are in a dozen?", "12", "Twelve."),
    ("How many people live there?", "8,012,456", "About eight million."),
    ("What is pi?", "3.14", "3.14159"),
    ("How high is K2?", "8,611 m", "8,614 metres"),
    ("How many inhabitants has the town?", "52,310", "52 thousand"),
    ("How many is a gross?", "A dozen dozen, that is 144.", "144"),
    ("When does the shop open?", "On weekdays at 8.", "On Saturdays at 10."),
    ("Is coffee good for you?", "Yes, if you drink little of it.", "No, not if you drink much."),
    ("Do swans fly south?", "Some do.", "Most do not."),
    ("Is it going to rain?", "Perhaps not.", "Yes."),
    ("Should I buy a bicycle?", "Yes, it keeps you fit.", "No, take the bus."),
    ("Where is the Louvre?", "In Paris.", "In France."),
    ("Who painted Guernica?", "Picasso", "Pablo Picasso painted it."),
    ("What is the longest river of Italy?", "The Po.", "It is the river Po."),
    ("What do horses eat?", "Hay.", "Oats."),
    ("What does \"glad\" mean?", "Happy.", "Pleased."),
    ("How long is a marathon?", "42.195 km", "42,195 metres"),
    ("Wie lang ist ein Fußballfeld?", "Etwa 105 Meter.", "Rund 100 Meter."),
    ("Nenne einen Baum.", "Die Eiche.", "Die Buche."),
    ("Wie viele Sekunden hat eine Stunde?", "3600", "Dreitausendsechshundert."),
    ("Cite un fleuve.", "La Loire.", "La Seine."),
    ("¿Cuánto dura una hora?", "Sesenta minutos.", "3600 segundos."),
    ("说一种颜色。", "红色。", "蓝色。"),
    ("一公里有多长？", "一千米。", "1000米。"),
    ("Назови дерево.", "Дуб.", "Клён."),
]  # fmt: skip


def reason(prompt: str, one: str, other: str) -> str | None:
    found = contradictions([(4, prompt, one), (9, prompt, other)])
    assert all(pair[:2] == (4, 9) for pair in found)
    return found[0][2] if found else None


@pytest.mark.parametrize(("prompt", "one", "other"), CANNOT_BOTH_HOLD)
def test_what_cannot_both_hold_is_found(prompt: str, one: str, other: str) -> None:
    assert reason(prompt, one, other)


@pytest.mark.parametrize(("prompt", "one", "other"), CAN_BOTH_HOLD)
def test_what_can_both_hold_is_let_be(prompt: str, one: str, other: str) -> None:
    assert reason(prompt, one, other) is None


def test_the_reason_says_what_stands_against_what() -> None:
    assert reason("How many legs has a beetle?", "Six legs.", "It has 8 legs.") == "six against 8"
    assert reason("Is ice lighter than water?", "Yes.", "No.") == "one says yes, the other no"
    assert reason("What is the capital of Chile?", "Santiago.", "Lima.") == "santiago against lima"


def test_of_many_answers_each_pair_is_held() -> None:
    prompt = "How many sides has a hexagon?"
    answers = ["Six.", "6", "Eight.", "It has six sides.", "A hexagon has seven sides."]
    found = {pair[:2] for pair in contradictions([(at, prompt, answer) for at, answer in enumerate(answers)])}
    assert found == {(0, 2), (1, 2), (2, 3), (0, 4), (1, 4), (2, 4), (3, 4)}
    assert contradictions([(0, prompt, "Six.")]) == contradictions([]) == []


@pytest.mark.parametrize(
    ("text", "language", "values"),
    [
        ("two hundred and six", "en", [206]),
        ("three thousand four hundred twenty-one", "en", [3421]),
        ("12,345.5 or 0.25", "en", [12345.5, 0.25]),
        ("dreihunderteinundzwanzig", "de", [321]),
        ("quatre-vingt-dix-sept", "fr", [97]),
        ("treinta y cinco, veintidós", "es", [35, 22]),
        ("duecentoquarantotto", "it", [248]),
        ("cento e vinte e três", "pt", [123]),
        ("vijfentwintig", "nl", [25]),
        ("двадцать пять", "ru", [25]),
        ("三千五百零二", "zh", [3502]),
        ("half a litre and 5 feet 6 inches", "en", [0.5, 1.6764]),
        ("1/4, 25 %, 3:30", "en", [0.25, 0.25, 3.5]),
        ("100 degrees Fahrenheit", "en", [37.7778]),
        ("no number at all", "en", []),
    ],
)
def test_numbers_are_read(text: str, language: str, values: list[float]) -> None:
    assert [amount.readings[0][0] for amount in quantities(text, language)] == pytest.approx(values, rel=1e-4)


@pytest.mark.parametrize(
    ("prompt", "language", "kind"),
    [
        ("Please name the smallest ocean.", "en", "thing"),
        ("Name an ocean.", "en", "open"),
        ("How can I sleep better?", "en", "open"),
        ("How deep is the Mariana Trench?", "en", "closed"),
        ("What is an ocean?", "en", "open"),
        ("Welcher Fluss ist der längste Europas?", "de", "thing"),
        ("¿Cómo se llama la capital de Cuba?", "es", "thing"),
        ("Hur många ben har en spindel?", "sv", "open"),
        ("", "en", "open"),
    ],
)
def test_questions_are_told_apart(prompt: str, language: str, kind: str) -> None:
    assert kind_of(prompt, language) == kind


@settings(deadline=None)
@given(st.sampled_from(["How many are there?", "Is it so?", "What is the capital?", "有几个？"]), st.text(), st.text())
def test_any_answers_are_compared(prompt: str, one: str, other: str) -> None:
    assert contradictions([(0, prompt, one), (1, prompt, one)]) == []
    there, back = (contradictions([(0, prompt, a), (1, prompt, b)]) for a, b in ((one, other), (other, one)))
    assert bool(there) == bool(back)


@settings(deadline=None)
@given(st.text(), st.sampled_from(["en", "de", "it", "zh", "ru", "xx"]))
def test_any_text_is_read_for_quantities_and_asking(text: str, language: str) -> None:
    quantities(text, language)
    kind_of(text, language)


@pytest.mark.parametrize("sign", ["1", "1,", "ein", "und", "the capital ", "or a ", "1 ", "on ", "一", "½", "\udfff"])
def test_a_hostile_text_is_read_quickly(sign: str) -> None:
    text = sign * (100_000 // len(sign))
    start = time.perf_counter()
    contradictions([(0, f"How many {text}?", text), (1, f"How many {text}?", f"2 {text}"), (2, "", f"No, {text}")])
    assert time.perf_counter() - start < 2


def test_the_planted_contradictions_are_found() -> None:
    rows = [line for line in lines() if not set(line["faults"]) - {"contradiction"}]
    groups = defaultdict(list)
    for place, line in enumerate(rows):
        groups[fold(row(line).prompt)].append((place, row(line).prompt, row(line).completion))
    failed = {place for group in groups.values() for pair in contradictions(group) for place in pair[:2]}
    faulty = {place for place, line in enumerate(rows) if line["faults"]}
    near = {place for place, line in enumerate(rows) if "contradiction" in (line.get("near_miss") or ())}
    for half in (0, 1):
        taken = {place for place, line in enumerate(rows) if int(line["id"][1:]) % 2 == half}
        assert faulty & taken
        assert len(failed & faulty & taken) >= 0.7 * len(faulty & taken)
        assert len(failed & faulty & taken) >= 0.9 * len(failed & taken)
    assert not failed & near
