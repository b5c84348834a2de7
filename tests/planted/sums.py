"""Questions whose answers are worked out: arithmetic, units, dates, sorting, small programs.

In: nothing. Out: clean rows, some to each wording, that share the wording and differ in the point. No two agree.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, timedelta
from math import gcd

from planted.read import Row, turns

Numbers = Callable[[int], dict[str, object]]
WORDS = [
    "lantern",
    "pebble",
    "orchard",
    "violin",
    "thunder",
    "blanket",
    "harbour",
    "cinnamon",
    "meadow",
    "puzzle",
    "ribbon",
    "kettle",
]
ITEMS = ["apples", "notebooks", "candles", "bulbs", "postcards", "teacups", "screws", "ribbons", "tiles", "stamps"]
TOWNS = [
    "Elmsford",
    "Birkwald",
    "Santori",
    "Kelpham",
    "Rovane",
    "Lindholt",
    "Ostray",
    "Marfeld",
    "Quilby",
    "Dornach",
    "Aldwick",
    "Veyra",
]
ROMAN = ((100, "C"), (90, "XC"), (50, "L"), (40, "XL"), (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I"))
EACH = 10
COMMA = ("de", "fr", "es", "it", "pt", "ru")  # they write 6,8 for 6.8


def roman(n: int) -> str:
    text = ""
    for value, sign in ROMAN:
        while n >= value:
            text, n = text + sign, n - value
    return text


def percent(i: int) -> dict[str, object]:
    p, base = 5 + 3 * i % 91, 200 + 40 * i
    return {"p": p, "b": base, "one": f"{base / 100:g}", "r": f"{p * base / 100:g}"}


def shop(i: int) -> dict[str, object]:
    n, price, paid = 3 + i, 2 + i % 4, 100
    return {"n": n, "price": price, "item": ITEMS[i], "sum": n * price, "paid": paid, "back": paid - n * price}


def trip(i: int) -> dict[str, object]:
    speed, hours = 40 + 5 * i, 2 + i % 3
    return {
        "a": TOWNS[i % 12],
        "b": TOWNS[(i + 1) % 12],
        "v": speed,
        "h": hours,
        "km": speed * hours,
        "m": speed * hours * 1000,
    }


def room(i: int) -> dict[str, object]:
    a, b = 4 + i, 3 + i // 2
    return {"a": a, "b": b, "area": a * b, "round": 2 * (a + b), "cost": a * b * 12}


def heat(i: int) -> dict[str, object]:
    c = 5 * i
    return {"c": c, "part": f"{c * 1.8:g}", "f": f"{c * 1.8 + 32:g}"}


def weight(i: int) -> dict[str, object]:
    kg = 3 + 4 * i
    return {"kg": kg, "lb": f"{kg * 2.20462:.1f}", "g": kg * 1000}


def day(i: int) -> dict[str, object]:
    start, ahead = date(2023, 1 + i, 3 + 2 * i), 17 + 6 * i
    end = start + timedelta(days=ahead)
    return {"n": ahead, "start": f"{start:%Y-%m-%d}", "end": f"{end:%Y-%m-%d}", "w": f"{end:%A}", "v": f"{start:%A}"}


def ordered(i: int) -> dict[str, object]:
    picked = [WORDS[(i + k * (i % 3 + 2)) % 12] for k in range(4)]
    picked = list(dict.fromkeys(picked))
    return {"w": ", ".join(picked), "s": ", ".join(sorted(picked)), "first": min(picked), "last": max(picked)}


def letters(i: int) -> dict[str, object]:
    w = WORDS[i % 12]
    vowels = [c for c in w if c in "aeiou"]
    return {"w": w, "n": len(w), "v": len(vowels), "vs": ", ".join(vowels), "r": w[::-1], "ru": w[::-1].upper()}


def mean(i: int) -> dict[str, object]:
    values = [4 + i, 9 + 2 * i, 14 + 3 * i]
    return {"x": "{}, {} and {}".format(*values), "s": sum(values), "m": f"{sum(values) / 3:g}", "mid": values[1]}


def fraction(i: int) -> dict[str, object]:
    a, b = 6 * (i + 2), 9 * (i + 3)
    return {"a": a, "b": b, "g": gcd(a, b), "x": a // gcd(a, b), "y": b // gcd(a, b)}


def bases(i: int) -> dict[str, object]:
    n = 37 + 11 * i
    return {"n": n, "bin": f"{n:b}", "hex": f"{n:X}", "rom": roman(n), "sum": sum(map(int, str(n)))}


def clock(i: int) -> dict[str, object]:
    start, length = 9 * 60 + 37 * i, 85 + 10 * i
    end = start + length
    times = [f"{t // 60 % 24}:{t % 60:02d}" for t in (start, end)]
    return {"a": times[0], "b": times[1], "n": length, "h": length // 60, "rest": length % 60}


ENGLISH: tuple[tuple[str, str, Numbers], ...] = (
    ("What is {p} per cent of {b}?", "One per cent of {b} is {one}. Times {p}, that makes {r}.", percent),
    (
        "I buy {n} {item} at {price} each and pay with a note of {paid}. What do I get back?",
        "The {n} {item} cost {n} times {price}, which is {sum}. From {paid} that leaves {back}.",
        shop,
    ),
    (
        "A bus drives from {a} to {b} at {v} km/h and needs {h} hours. How far apart are the towns?",
        "Distance is speed times time. At {v} km/h over {h} hours the bus covers {km} km between {a} and {b}.",
        trip,
    ),
    (
        "My room measures {a} by {b} metres. How much skirting and how much carpet do I need?",
        "The way round is 2 times ({a} + {b}), so {round} metres of skirting. The floor is {a} times {b}, {area} "
        "square metres of carpet.",
        room,
    ),
    (
        "Convert {c} degrees Celsius into Fahrenheit and show the calculation.",
        "Multiply by 1.8, which gives {part}, and add 32. So {c} degrees Celsius are {f} degrees Fahrenheit.",
        heat,
    ),
    (
        "How many pounds are {kg} kilograms?",
        "One kilogram is about 2.20462 pounds, so {kg} kilograms are roughly {lb} pounds, "
        "or {g} grams on a metric scale.",
        weight,
    ),
    (
        "Which date is {n} days after {start}, and what day of the week is it?",
        "Counting {n} days on from {start} one arrives at {end}. That day is a {w}.",
        day,
    ),
    (
        "Put these words into alphabetical order: {w}.",
        "In alphabetical order they are {s}. The first is {first} and the last is {last}.",
        ordered,
    ),
    (
        'How many vowels has the word "{w}"?',
        'The word "{w}" has {n} letters, and {v} of them are vowels: {vs}.',
        letters,
    ),
    (
        'What does Python print for "{w}"[::-1].upper()?',
        'The slice turns the word round into "{r}" and upper() makes capitals of it: Python prints {ru}.',
        letters,
    ),
    (
        "Find the mean of {x}.",
        "Add the three numbers, which gives {s}, and divide by three. The mean is {m}, and the middle value is {mid}.",
        mean,
    ),
    (
        "Simplify the fraction {a}/{b}.",
        "The greatest common divisor of {a} and {b} is {g}. Dividing both by it gives {x}/{y}.",
        fraction,
    ),
    ("Write {n} in binary.", "In binary {n} is {bin}, as one sees by dividing by two and noting the rests.", bases),
    (
        "Write {n} as a Roman numeral.",
        "The Roman numeral for {n} is {rom}, built from the large signs to the small.",
        bases,
    ),
    (
        "A talk begins at {a} and lasts {n} minutes. When is it over?",
        "{n} minutes are {h} h {rest} min. Counted from {a}, the talk is over at {b}.",
        clock,
    ),
    (
        "Tiles cost 12 a square metre. What do I pay for a terrace of {a} by {b} metres?",
        "The terrace has {a} times {b}, that is {area} square metres. At 12 each the tiles cost {cost}.",
        room,
    ),
)
OTHERS: tuple[tuple[str, str, str, Numbers], ...] = (
    (
        "de",
        "Wie viel sind {p} Prozent von {b}?",
        "Ein Prozent von {b} ist {one}. Mal {p} genommen ergibt das {r}.",
        percent,
    ),
    (
        "de",
        "Ein Zug fährt {h} Stunden lang mit {v} km/h. Wie weit kommt er?",
        "Weg ist Geschwindigkeit mal Zeit: {v} km/h mal {h} Stunden sind {km} Kilometer, also {m} Meter.",
        trip,
    ),
    (
        "de",
        "Wie groß sind Fläche und Umfang eines Rechtecks mit {a} m und {b} m?",
        "Die Fläche ist {a} mal {b}, also {area} Quadratmeter. Der Umfang ist zweimal die Summe, also {round} Meter.",
        room,
    ),
    (
        "de",
        "Schreibe die Zahl {n} im Zweiersystem und als römische Zahl.",
        "Im Zweiersystem heißt {n} {bin}, als römische Zahl {rom}.",
        bases,
    ),
    (
        "fr",
        "Combien font {p} % de {b} ?",
        "Un pour cent de {b} vaut {one}. En multipliant par {p}, on obtient {r}.",
        percent,
    ),
    (
        "fr",
        "Convertis {c} degrés Celsius en Fahrenheit.",
        "On multiplie par 1,8, ce qui donne {part}, puis on ajoute 32 : {c} degrés Celsius font {f} degrés Fahrenheit.",
        heat,
    ),
    (
        "fr",
        "Simplifie la fraction {a}/{b}.",
        "Le plus grand diviseur commun de {a} et {b} est {g}. En divisant les deux, on trouve {x}/{y}.",
        fraction,
    ),
    ("es", "¿Cuánto es el {p} % de {b}?", "El uno por ciento de {b} es {one}. Multiplicado por {p}, da {r}.", percent),
    (
        "es",
        "Una película empieza a las {a} y dura {n} minutos. ¿Cuándo termina?",
        "{n} minutos son {h} h {rest} min. Si empieza a las {a}, termina a las {b}.",
        clock,
    ),
    (
        "es",
        "Calcula el área y el perímetro de un patio de {a} por {b} metros.",
        "El área es {a} por {b}, es decir, {area} metros cuadrados. El perímetro es el doble "
        "de la suma: {round} metros.",
        room,
    ),
    (
        "it",
        "Quanto percorre un treno in {h} ore a {v} km/h?",
        "Lo spazio è velocità per tempo: {v} per {h} fa {km} chilometri, cioè {m} metri.",
        trip,
    ),
    (
        "pt",
        "Quantas libras são {kg} quilos?",
        "Um quilo tem cerca de 2,20462 libras, portanto {kg} quilos são aproximadamente {lb} libras.",
        weight,
    ),
    ("zh", "{b}的百分之{p}是多少？", "{b}的百分之一是{one}，乘以{p}，得到{r}。", percent),
    ("zh", "长{a}米、宽{b}米的房间，面积和周长各是多少？", "面积是{a}乘{b}，即{area}平方米；周长是{round}米。", room),
    (
        "ja",
        "時速{v}キロで{h}時間走ると、何キロ進みますか。",
        "速さに時間をかけて、{v}かける{h}で{km}キロ進みます。",
        trip,
    ),
    ("ko", "섭씨 {c}도는 화씨로 몇 도인가요?", "1.8을 곱하면 {part}이고 32를 더하면 화씨 {f}도입니다.", heat),
    ("ru", "Сколько будет {p} процентов от {b}?", "Один процент от {b} равен {one}; {p} процентов равны {r}.", percent),
    ("ar", "كم يساوي {p} بالمئة من {b}؟", "واحد بالمئة من {b} يساوي {one}، وبالضرب في {p} نحصل على {r}.", percent),
)


def sums(count: int) -> list[Row]:
    """The first rows, wordings in turn, so that a smaller count keeps all wordings."""
    wordings = [("en", *parts) for parts in ENGLISH] + list(OTHERS)
    rows = []
    for i in range(EACH):
        for w, (language, question, answer, numbers) in enumerate(wordings):
            # wordings of one kind of sum take other numbers, so that no sum is asked twice in two languages
            before = sum(other[3] is numbers for other in wordings[:w])
            values = numbers(i + EACH * before)
            text = [question.format(**values), answer.format(**values)]
            if language in COMMA:
                text[1] = re.sub(r"(?<=\d)\.(?=\d)", ",", text[1])
            rows.append(Row(f"sum{w}.{i}", language, turns(text), "worked out"))
    if count > len(rows):
        raise ValueError(f"{len(rows)} sums can be made, {count} were asked for")
    return rows[:count]
