"""Personal data: what is found in which form, what stays, and that a masked text holds nothing more to find."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted.score import Line, row, score

from yearling.measure.personal import find, mask, personal_in
from yearling.record import Message

FOUND = {
    "e-mail": (
        "Please write to [jana.novakova@seznam.cz] before noon.",
        "Contact: [Lars_Holm+work@fjordpost.no].",
        "mail me at [t.oconnor [at] gmail [dot] com] instead",
        "邮箱是 [zhangwei88@qq.com]，谢谢",
        "From: <[marie-claire.dupont@laposte.net]>",
    ),
    "phone": (
        "Call me on [(212) 555-0187] tonight.",
        "My cell is [415-555-2671], ask for Ida.",
        "Tel.: [030 23125 684]",
        "Ruf mich an: [0171/3920017]",
        "Mobil [+49 171 39200 17]",
        "[06 39 98 12 34], appelez-moi ce soir",
        "téléphone : [01.99.00.12.34]",
        "Her number is [+44 7700 900461].",
        "ring me on [020 7946 0123]",
        "mi móvil es [612 34 56 78]",
        "llámame al [655 123 456]",
        "电话：[13812345678]",
        "我的手机号是[138 1234 5678]。",
        "携帯は[090-1234-5678]です",
        "Позвоните: [+7 (912) 345-67-89]",
        "[8 (912) 345-67-89], Ольга",
        "मोबाइल [9876543210]",
        "هاتف: [0501234567]",
        "phone [5551234]",
        "numer telefonu [601 234 567]",
    ),
    "card": (
        "My card is [4539 1488 0343 6467], it ends 12/27.",
        "Karte: [5425233430109903]",
    ),
    "IBAN": (
        "IBAN [DE12500105170648489890]",
        "überweise es an [AT611904300234573201]",
        "[NL91 ABNA 0417 1643 00] AND THE REST",
        "[FR76 3000 6000 0112 3456 7890 189]",
    ),
    "key": (
        "export OPENAI_API_KEY=[sk-proj-Ab3dEf6hIj9kLmN0pQr5]",
        "token [ghp_a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8]",
        "id: [AKIAQ3XWTZ7JM2PLN4KD]",
        "[AIzaSyD3x7Kq9LmZ2vB5nT8wR1cY6uJ0hF4gE2s] is for the map",
        "[xoxb-123456789012-AbCdEfGh1234]",
        "API key: [9f8a7b6c5d4e3f2a1b0c9d8e7f6a5b4c]",
        "the api token is [hK72-bN91-pQ45-xZ08].",
        "[eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9]",
    ),
    "password": (
        "my password is [Tr33house!92]",
        "Das Passwort lautet [Blau7Wal].",
        "Le mot de passe du wifi est [Lapin42Vert]",
        "La contraseña es: [Gato_negro9]",
        "密码是[Qz81wmKp]",
        'password: "[v9#Lq2pX]"',
        "пароль: [Zima2031k]",
        "postgres://jane:[Gk38fhQ2z]@db.internal.net/app",
        "log in with password [Otter7River]",
    ),
    "address": (
        "I live at [48 Marrow Lane] in Dunwick.",
        "Send it to Ivy Marsh, [12 Copper Street, Leeds LS9 7QT].",
        "Familie Brandt, [Lindenweg 7a, 38179] Rötgesbüttel",
        "Ich wohne in der [Gartenstraße 12] in Ulm.",
        "Mme Petit, [14 rue des Lilas, 69003] Lyon",
        "Vivo en la [calle Olmo 23], 3.º B, Zaragoza",
        "[Via Garibaldi 15, 40121] Bologna",
        "[Kerkstraat 33, 1017 GD] Amsterdam",
        "[ul. Kwiatowa 5/12, 30-123] Kraków",
        "[2214 Birchwood Drive, Dayton, OH 45402]",
        "我住在南京市，地址：[幸福路88号3单元502室]",
    ),
}
CLEAN = (
    "",
    "Write to jane@example.com, bob@mail.example.org or info@brightsoft.io.",
    "git clone git@github.com:someone/thing.git",
    "The decorator @app.route('/x') and user@localhost",
    "ISBN 978-3-16-148410-0, EAN 4006381333931",
    "Order 302-1234567-1234567 has shipped, invoice 2024000123456.",
    "Ticket 020 7946 0123 is closed.",
    "Version 10.15.7.19042 of the driver",
    "sha256 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "commit 9f8a7b6c5d4e3f2a1b0c9d8e7f6a5b4c11223344",
    "UUID 123e4567-e89b-12d3-a456-426614174000",
    "1 234 567 890 + 987 654 321 = 2 222 222 211",
    "12345678 * 87654321 and 0.1234567",
    "pi = 3.14159265358979, light 299 792 458 m/s",
    "from 1914-1918 and 1939-1945, on 2024-05-12 at 10:30",
    "coordinates 52.520008, 13.404954",
    "Call 911, 112 or 110. The Samaritans can be reached on 116 123.",
    "customer service 1-800-555-0199",
    "Unsere Hotline 0800 1234567 hilft, die Giftnotruf-Zentrale 030 19240 auch.",
    "The White House, 1600 Pennsylvania Avenue NW, Washington, DC 20500",
    "10 Downing Street, London SW1A 2AA",
    "The museum at 14 Castle Street, York YO1 9XX, opens at ten.",
    "Boston, MA 02110-1301",
    "password = os.environ['DB_PASSWORD']",
    "The password is required and must be strong.",
    "A strong password such as Xk9$mP2q",
    "Bearer <token>, api_key='YOUR_API_KEY', sk-xxxxxxxxxxxxxxxxxxxx",
    "the secret of success is perseverance-and-luck-2",
    "4111 1111 1111 1111 is a test card, DE89 3704 0044 0532 0130 00 a specimen.",
    "4539 1488 0343 6468 fails the check, DE13500105170648489890 too.",
    "192.168.100.25 and http://localhost:8080/a",
    "risk-free-and-task-oriented-desk-work-2024",
)


@pytest.mark.parametrize(("kind", "marked"), [(kind, text) for kind, texts in FOUND.items() for text in texts])
def test_personal_data_is_found_where_it_stands(kind: str, marked: str) -> None:
    start, end = marked.index("["), marked.rindex("]") - 1
    text = marked[:start] + marked[start + 1 : end + 1] + marked[end + 2 :]
    assert [(found.kind, text[found.start : found.end]) for found in find(text)] == [(kind, text[start:end])]
    masked, kinds = mask(text)
    assert masked == f"{text[:start]}[{kind}]{text[end:]}" and kinds == [kind]


@pytest.mark.parametrize("text", CLEAN)
def test_what_is_nobodys_stays(text: str) -> None:
    assert find(text) == []
    assert mask(text) == (text, [])


def test_a_private_key_is_found_and_a_public_one_or_a_mention_stays() -> None:
    body = "MIIEowIBAAKCAQEAn1k5Qz7wT3uYb2pL9s"
    text = f"-----BEGIN RSA PRIVATE KEY-----\n{body}\n-----END RSA PRIVATE KEY-----"
    assert [found.kind for found in find(f"Here: {text}")] == ["key"]
    assert find(text.replace("PRIVATE", "PUBLIC")) == []
    assert find("A PEM file opens with -----BEGIN PRIVATE KEY-----, then comes base64.") == []


def test_all_turns_are_looked_at_and_places_are_those_in_the_turn() -> None:
    turns = [
        Message("system", "You write letters for Ada, ada@lovelace-family.net."),
        Message("user", "Add that I can be called at +44 7700 900461."),
        Message("assistant", "Done."),
    ]
    found = personal_in(turns)
    assert [one.kind for one in found] == ["e-mail", "phone"]
    assert turns[1].content[found[1].start : found[1].end] == "+44 7700 900461"


def test_several_kinds_are_masked_in_order() -> None:
    text = "Ida, ida@fjordpost.no, +47 912 34 567, password: Laks77fjord"
    assert mask(text) == ("Ida, [e-mail], [phone], password: [password]", ["e-mail", "phone", "password"])


pieces = st.sampled_from(
    [
        *(text.replace("[", "").replace("]", "") for texts in FOUND.values() for text in texts),
        *CLEAN,
        *(
            "@",
            ".",
            " ",
            "-",
            "\n",
            "0",
            "7",
            "+49",
            "key ",
            "password is ",
            "tel ",
            "[phone]",
            "(at)",
            "海",
            "://",
            "A1",
            "İ",
        ),
    ]
)
texts = st.one_of(st.text(), st.lists(pieces, max_size=8).map("".join), st.text("+0123456789 ()-./@ak_", max_size=60))


@settings(max_examples=400)
@given(texts)
def test_places_lie_in_the_text_apart_from_each_other(text: str) -> None:
    found = find(text)
    assert all(0 <= one.start < one.end <= len(text) for one in found)
    assert all(one.end <= two.start for one, two in pairwise(found))


@settings(max_examples=400)
@given(texts)
def test_a_masked_text_holds_nothing_to_find(text: str) -> None:
    masked, kinds = mask(text)
    assert find(masked) == [] and mask(masked) == (masked, [])
    assert (masked == text) == (not kinds)


@pytest.mark.parametrize(
    "piece",
    [
        *(
            "a",
            "1",
            "1 ",
            "a@",
            "+1-",
            "0 12 ",
            "password ",
            "password: ",
            "api key: ",
            "sk-",
            "A1",
            "12 Mill ",
            "Am A ",
        ),
        *("\u4e00", "\uac00", "eyJa.eyJ", "-----BEGIN PRIVATE KEY-----", "calle ", "Calle a 1 ", "a-", "://a:", "(((("),
        *("phone 1234567 ", "1 rue ", "555-555-", "a.b@c.", "4539 1488 ", "DE12", "1 A, "),
    ],
)
def test_a_hostile_text_is_quickly_read(piece: str) -> None:
    text = piece * (100_000 // len(piece))
    start = time.perf_counter()
    find(text)
    assert time.perf_counter() - start < 10


@pytest.mark.parametrize("half", [0, 1])
def test_planted_personal_data_is_found(half: int) -> None:
    def fails(line: Line) -> bool:
        return bool(personal_in(row(line).turns))

    found = score(fails, ["personal"], half)
    assert found.recall >= 0.9 and found.precision >= 0.95 and found.missed_wrong == 0
