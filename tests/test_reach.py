"""Requests that need eyes, ears, hands or a network are taken; questions about such things stay."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted.score import row as planted_row
from planted.score import score

from yearling.curate.reach import families, out_of_reach
from yearling.curate.rows import Row, row_of
from yearling.record import Message


def row(prompt: str) -> Row:
    return row_of([Message("user", prompt), Message("assistant", "Done.")])


BEYOND = [
    "What kind of mushroom is in the attached photo?",
    "Summarise the enclosed report for me.",
    "How many people can you count in this picture?",
    "Look at this rash and say whether I need a doctor.",
    "What colour is my shirt?",
    "Listen to this recording and tell me who is speaking.",
    "Which song am I humming?",
    "Open https://www.example.org/news and tell me the headline.",
    "Please visit the following website and list the prices.",
    "Search the web for cheap trains to Rome.",
    "Please call my sister and tell her I am late.",
    "Send this letter to Mr Brown by post.",
    "Can you text my boss that I am ill?",
    "Play some jazz, please.",
    "Order me a large pizza with mushrooms.",
    "Book a table for two at eight tonight.",
    "Turn off the lights in the kitchen.",
    "Wake me at six tomorrow.",
    "Print this page twice.",
    "Water my plants while I am away.",
    "Is it raining outside?",
    "What time is it?",
    "Was siehst du auf diesem Foto?",
    "Ruf bitte meine Mutter an.",
    "Bestell mir eine Pizza.",
    "Décris la photo ci-jointe.",
    "Commande-moi un taxi.",
    "¿Qué animal aparece en esta foto?",
    "Llama a mi madre.",
    "Apri questo link e riassumi il testo.",
    "Accendi la luce in cucina.",
    "Descreva a imagem em anexo.",
    "Wat zie je op deze foto?",
    "Zadzwoń do mojej siostry.",
    "Что изображено на этой фотографии?",
    "Позвони моей маме.",
    "这张照片里有什么?",
    "请给我妈妈打个电话。",
    "この写真には何が写っていますか。",
    "첨부된 파일을 요약해 주세요.",
]
WITHIN = [
    "How do I attach a photo to an email?",
    "How can I crop this picture in GIMP?",
    "What is the best way to photograph the moon?",
    "Write an email to my boss saying that the report is attached.",
    "Draft a message to my landlord: please call me about the heating.",
    'Translate into French: "Please open the window and turn off the lights."',
    "Rephrase: call my mother tomorrow",
    "Describe the painting Mona Lisa.",
    "This picture shows a boy with a red kite on a hill. What season might it be?",
    "Look at the following sentence: the cat sat on the mat. Which word is the verb?",
    "Order the numbers 4, 9 and 2.",
    "Play the role of a pirate and greet me.",
    "Who played the guitar on that album?",
    "Write a Python function that opens a link and prints the title.",
    "Write a story about a girl who finds a picture in the attic.",
    "Book recommendations for a rainy day, please.",
    "What time is it in Tokyo when it is noon in London?",
    "How many people called the police last year?",
    "Set theory: what is a union?",
    "Give me a recipe for coffee cake.",
    "Is it safe to turn off the heating in winter?",
    "Classify the command.\n\nTurn off the lights.",
    "Wie füge ich ein Bild in ein Dokument ein?",
    "Schreib eine Mail an den Vermieter: Der Vertrag ist im Anhang.",
    "Comment envoyer un message vocal à ma mère ?",
    "¿Cómo puedo adjuntar una foto a un correo?",
    "Как прикрепить фото к письму?",
    "如何在手机上关闭闹钟?",
    "写一封邮件,说明附件是合同。",
    "写真を上手に撮る方法を教えてください。",
    "사진을 첨부하는 방법을 알려 주세요.",
]


@pytest.mark.parametrize("prompt", BEYOND)
def test_what_needs_more_than_text_is_taken(prompt: str) -> None:
    assert "the prompt asks for what needs" in (out_of_reach(row(prompt)) or "")


@pytest.mark.parametrize("prompt", WITHIN)
def test_what_text_can_answer_stays(prompt: str) -> None:
    assert out_of_reach(row(prompt)) is None


def test_all_turns_of_the_user_count_and_no_others() -> None:
    asked, answered = Message("user", "Play some jazz."), Message("assistant", "Play some jazz.")
    thanks = Message("user", "Thank you.")
    assert out_of_reach(row_of([asked, answered, thanks, answered]))
    assert out_of_reach(row_of([Message("system", "Play some jazz."), thanks, answered])) is None


def test_material_that_is_there_makes_a_request_possible() -> None:
    asked = "Summarise the attached report."
    assert out_of_reach(row(asked))
    assert out_of_reach(row(asked + "\n\n" + "The company sold more bread than in any year before. " * 4)) is None


@pytest.mark.parametrize(
    "unit",
    ["this ", "the photo ", "call ", "please ", "open http", ", ", '"', "'a", "写", "1", "\n", "in the picture "],
)
def test_degenerate_text_takes_no_time(unit: str) -> None:
    families()
    start = time.perf_counter()
    out_of_reach(row((unit * 100_000)[:100_000]))
    assert time.perf_counter() - start < 1


@given(st.text())
def test_any_text_is_judged(prompt: str) -> None:
    assert out_of_reach(row(prompt)) == out_of_reach(row(prompt))


def test_planted_faults_are_found() -> None:
    found = score(lambda line: out_of_reach(planted_row(line)) is not None, ["impossible"])
    assert found.recall >= 0.7, found
    assert found.precision >= 0.9, found
