"""Quantities in a text: numbers in digits and words, with their units.

In: a text and the code of its language. Out: values with what they count or measure, in one unit a dimension.
Number words of English, German, French, Spanish, Italian, Portuguese, Dutch, Russian, Chinese and Japanese are read up
to the millions; units are the common ones. Knows no currencies, no calendars and no formulas.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

READ = 1000  # characters of a text that are looked at
NAMES = {  # number words by language, from the least value on; what has several spellings is joined by "|"
    "en": "zero|nought one two three four five six seven eight nine ten eleven twelve|dozen thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety",
    "de": "null eins zwei|zwo drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn fünfzehn sechzehn "
    "siebzehn achtzehn neunzehn zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig",
    "fr": "zéro - deux trois quatre cinq six sept huit neuf dix onze douze treize quatorze quinze seize dix-sept "
    "dix-huit dix-neuf vingt trente quarante cinquante soixante soixante-dix quatre-vingts|quatre-vingt "
    "quatre-vingt-dix",
    "es": "cero - dos tres cuatro cinco seis siete ocho nueve diez once doce trece catorce quince dieciséis diecisiete "
    "dieciocho diecinueve veinte treinta cuarenta cincuenta sesenta setenta ochenta noventa",
    "it": "zero - due tre quattro cinque sei sette otto nove dieci undici dodici tredici quattordici quindici sedici "
    "diciassette diciotto diciannove venti trenta quaranta cinquanta sessanta settanta ottanta novanta",
    "pt": "zero - dois|duas três quatro cinco seis sete oito nove dez onze doze treze catorze|quatorze quinze dezesseis"
    "|dezasseis dezessete|dezassete dezoito dezenove|dezanove vinte trinta quarenta cinquenta sessenta setenta oitenta "
    "noventa",
    "nl": "nul - twee drie vier vijf zes zeven acht negen tien elf twaalf dertien veertien vijftien zestien zeventien "
    "achttien negentien twintig dertig veertig vijftig zestig zeventig tachtig negentig",
    "ru": "ноль один|одна|одно два|две|двух три|трёх|трех четыре|четырёх пять|пяти шесть|шести семь|семи восемь|восьми "
    "девять|девяти десять|десяти одиннадцать двенадцать тринадцать четырнадцать пятнадцать шестнадцать семнадцать "
    "восемнадцать девятнадцать двадцать тридцать сорок пятьдесят шестьдесят семьдесят восемьдесят девяносто",
}
MORE = {  # what has a value of its own beside the above
    "es": "veintiuno 21 veintiún 21 veintidós 22 veintitrés 23 veinticuatro 24 veinticinco 25 veintiséis 26 "
    "veintisiete 27 veintiocho 28 veintinueve 29 doscientos 200 trescientos 300 cuatrocientos 400 quinientos 500 "
    "seiscientos 600 setecientos 700 ochocientos 800 novecientos 900 ciento 100",
    "pt": "cento 100 duzentos 200 trezentos 300 quatrocentos 400 quinhentos 500 seiscentos 600 setecentos 700 "
    "oitocentos 800 novecentos 900",
    "ru": "сто 100 двести 200 триста 300 четыреста 400 пятьсот 500 шестьсот 600 семьсот 700 "
    "восемьсот 800 девятьсот 900",
    "fr": "douzaine 12 septante 70 huitante 80 octante 80 nonante 90",
    "de": "dutzend 12 dreissig 30",
    "it": "dozzina 12",
}
SCALES = {
    "en": "hundred 100 thousand 1000 million 1000000 billion 1000000000",
    "de": "hundert 100 tausend 1000 million 1000000 millionen 1000000 milliarde 1000000000 milliarden 1000000000",
    "fr": "cent 100 cents 100 mille 1000 million 1000000 millions 1000000 milliard 1000000000 milliards 1000000000",
    "es": "cien 100 mil 1000 millón 1000000 millones 1000000",
    "it": "cento 100 mille 1000 mila 1000 milione 1000000 milioni 1000000 miliardi 1000000000",
    "pt": "cem 100 mil 1000 milhão 1000000 milhões 1000000",
    "nl": "honderd 100 duizend 1000 miljoen 1000000 miljard 1000000000",
    "ru": "тысяч 1000 тысяча 1000 тысячи 1000 миллион 1000000 миллионов 1000000 миллиарда 1000000000",
}
JOINED = {"de": "und", "nl": "en", "it": ""}  # languages that write numbers as one word, and their "and"
LINKS = frozenset(("and", "y", "e", "et", "und", "en"))
HAN = dict(zip("〇零一二两三四五六七八九", (0, 0, 1, 2, 2, 3, 4, 5, 6, 7, 8, 9), strict=True))
HAN_SCALES = {"十": 10, "百": 100, "千": 1000, "万": 10_000, "萬": 10_000, "亿": 100_000_000, "億": 100_000_000}


# A line: dimension, factor to its first unit, the words for it.
UNITS = """
length 1 m metre metres meter meters mètre mètres metro metros metri метр метра метров 米 メートル
length 0.001 mm millimetre millimetres millimeter millimeters millimètres milímetros millimetri 毫米 ミリ
length 0.01 cm centimetre centimetres centimeter centimeters zentimeter centimètres centímetros centimetri 厘米 センチ
length 1000 km kilometre kilometres kilometer kilometers kilomètres kilómetros quilômetros quilómetros chilometri
length 1000 километр километра километров 公里 千米 キロメートル
length 0.0254 inch inches zoll
length 0.3048 ft foot feet fuß
length 0.9144 yard yards
length 1609.34 mile miles meilen millas miglia 英里
mass 1 g gram grams gramm gramme grammes gramo gramos grammo grammi grama gramas грамм граммов 克 グラム
mass 1000 kg kilo kilos kilogram kilograms kilogramm quilo quilos килограмм килограммов 公斤 千克 キログラム
mass 0.001 mg milligram milligrams
mass 1e6 tonne tonnes tonnen ton tons toneladas 吨
mass 453.59 lb lbs pound pounds
mass 28.35 oz ounce ounces
time 1 second seconds sekunde sekunden seconde secondes segundo segundos secondo secondi секунда секунды секунд 秒
time 60 min minute minutes minuten minuto minutos minuti минута минуты минут 分钟
time 3600 h hour hours stunde stunden heure heures hora horas ora ore uur час часа часов 小时 時間
time 86400 day days tag tage tagen jour jours día días giorno giorni dia dias dag dagen день дня дней 天 日
time 604800 week weeks woche wochen semaine semaines semana semanas settimana settimane неделя недели недель 周 週間
time 2629800 month months monat monate monaten mois mes meses mese mesi mês месяц месяца месяцев 个月
time 31557600 year years jahr jahre jahren an ans années año años anno anni ano anos jaar год года лет
time 315576000 decade decades
time 3155760000 century centuries
volume 1 l litre litres liter liters litro litros litri литр литра литров 升 リットル
volume 0.001 ml millilitre millilitres milliliter milliliters millilitri 毫升
volume 0.01 cl
volume 0.1 dl
volume 3.785 gallon gallons
share 0.01 % percent per_cent prozent pourcent pour_cent por_ciento por_cento per_cento procent процент процентов
speed 1 km/h kmh kph
speed 1.609 mph
celsius 1 °c celsius degrees_celsius degree_celsius grad_celsius degrés_celsius grados_celsius gradi_celsius 摄氏度
fahrenheit 1 °f fahrenheit degrees_fahrenheit degree_fahrenheit grad_fahrenheit grados_fahrenheit gradi_fahrenheit
kelvin 1 k kelvin kelvins
degree 1 ° degree degrees grad degré degrés grado grados grau graus gradi градус градуса градусов 度
"""
SHARES = """
half 0.5 quarter 0.25 quarters 0.25 third 0.33333 thirds 0.33333 hälfte 0.5 halb 0.5 halbe 0.5 viertel 0.25
drittel 0.33333 moitié 0.5 demi 0.5 demie 0.5 quart 0.25 mitad 0.5 medio 0.5 media 0.5 cuarto 0.25 tercio 0.33333
metà 0.5 mezzo 0.5 mezza 0.5 metade 0.5 meio 0.5 meia 0.5 половина 0.5 一半 0.5 半 0.5 ½ 0.5 ¼ 0.25 ¾ 0.75
"""
ARTICLE_WORDS = "a an one un une ein eine einen einer uno una um uma of de des di der 一 1"
ARTICLES = frozenset(ARTICLE_WORDS.split())
LONGEST_UNIT = 2  # words
_TOKEN = re.compile(
    r"\d{1,2}:\d\d(?!\d)|\d{1,3}(?:[ \u00a0\u202f]\d{3})+(?!\d)|\d+(?:[.,'’]\d+)*|km/h|m/s|°[cf]|[%°½¼¾]"
    r"|[〇零一二两三四五六七八九十百千万萬亿億]+|[\u4e00-\u9fff]|[\u30a0-\u30ff]+|[^\W\d_]+(?:-[^\W\d_]+)*|[^\w\s]|\d"
)
_FRACTION = re.compile("([½¼¾])")
_GROUPED = re.compile(r"\d{1,3}(?:[.,'’ ]\d{3})+")
_RANGE = frozenset(("-", "–", "—", "to", "bis", "à", "a", "or", "oder", "ou", "o", "至", "到"))


class Quantity(NamedTuple):
    """A number as it may be read, each reading from a least to a greatest value; what it measures ("" for a count);
    the word after it; and how it is written."""

    readings: tuple[tuple[float, float], ...]
    dimension: str
    noun: str
    written: str


def _valued(words: str) -> dict[str, float]:
    parts = words.split()
    return {word: float(value) for word, value in zip(parts[::2], parts[1::2], strict=True)}


def _names(language: str) -> dict[str, float]:
    pairs = zip(NAMES[language].split(), [*range(20), *range(20, 100, 10)], strict=True)
    named = {word: float(value) for words, value in pairs for word in words.split("|") if word != "-"}
    return named | _valued(MORE.get(language, ""))


def _units() -> dict[str, tuple[str, float]]:
    lines = [line.split() for line in UNITS.split("\n") if line]
    return {word.replace("_", " "): (kind, float(factor)) for kind, factor, *words in lines for word in words}


WORDS = {language: _names(language) for language in NAMES}
SCALE = {language: _valued(words) for language, words in SCALES.items()}
UNIT = _units()
SHARE = _valued(SHARES)


def quantities(text: str, language: str) -> list[Quantity]:
    """The quantities of a text, in order; neighbours of one dimension, as 5 feet 11 inches, are one."""
    tokens = _TOKEN.findall(unicodedata.normalize("NFKC", _FRACTION.sub(r" \1", text[:READ])).casefold())
    found: list[Quantity] = []
    at = end = 0
    while at < len(tokens):
        values, after = _number(tokens, at, language)
        if not values:
            at += 1
            continue
        one, after = _measured(tokens, at, values, after, language)
        between = tokens[end:at]
        if found and one.dimension and one.dimension == found[-1].dimension and set(between) <= LINKS:
            found[-1] = _sum(found[-1], one)
        else:
            found.append(one)
        at = end = after
    return found


def _measured(
    tokens: list[str], start: int, values: tuple[float, ...], after: int, language: str
) -> tuple[Quantity, int]:
    ends = values
    if after + 1 < len(tokens) and tokens[after] in _RANGE:
        upper, further = _number(tokens, after + 1, language)
        if upper and upper[0] > values[0] and tokens[after + 1] not in ARTICLES:
            ends, after = upper, further
    more, after = _and_a_half(tokens, after)
    values, ends = tuple(value + more for value in values), tuple(value + more for value in ends)
    written = " ".join(tokens[start:after])
    if values[0] < 1 or tokens[start] in SHARE:  # half an hour, a quarter of a litre
        skipped = after
        while skipped < min(len(tokens), after + 2) and tokens[skipped] in ARTICLES:
            skipped += 1
        if skipped < len(tokens) and tokens[skipped] in UNIT:
            after = skipped
        else:
            return Quantity(_readings(values, ends, 1), "share", "", written), after
    if after < len(tokens) and tokens[after] == "-":
        after += 1
    for length in range(LONGEST_UNIT, 0, -1):
        unit = " ".join(tokens[after : after + length])
        if unit in UNIT:
            more, after = _and_a_half(tokens, after + length)
            values, ends = tuple(value + more for value in values), tuple(value + more for value in ends)
            return _converted(values, ends, *UNIT[unit], " ".join(tokens[start:after])), after
    noun = tokens[after] if after < len(tokens) and tokens[after].isalpha() and tokens[after] not in LINKS else ""
    return Quantity(_readings(values, ends, 1), "", noun, written), after


def _and_a_half(tokens: list[str], at: int) -> tuple[float, int]:
    """What is added by "and a half" or its like, and the place after it."""
    share = at + 1
    if at < len(tokens) and tokens[at] in LINKS:
        share += share < len(tokens) and tokens[share] in ARTICLES
        if share < len(tokens) and tokens[share] in SHARE:
            return SHARE[tokens[share]], share + 1
    return 0.0, at


def _converted(values: tuple[float, ...], ends: tuple[float, ...], kind: str, factor: float, written: str) -> Quantity:
    def celsius(value: float) -> float:
        return {"fahrenheit": (value - 32) / 1.8, "kelvin": value - 273.15}.get(kind, value)

    if kind in ("celsius", "fahrenheit", "kelvin"):
        pairs = zip(map(celsius, values), map(celsius, ends), strict=False)
        return Quantity(tuple(pairs), "temperature", "", written)
    return Quantity(_readings(values, ends, factor), kind, "", written)


def _readings(values: tuple[float, ...], ends: tuple[float, ...], factor: float) -> tuple[tuple[float, float], ...]:
    return tuple((low * factor, max(low, high) * factor) for low, high in zip(values, ends, strict=False))


def _sum(one: Quantity, other: Quantity) -> Quantity:
    (low, high), (more, most) = one.readings[0], other.readings[0]
    return one._replace(readings=((low + more, high + most),), written=f"{one.written} {other.written}")


def _number(tokens: list[str], at: int, language: str) -> tuple[tuple[float, ...], int]:
    """The values that the number at a place may have, and the place after it; no values where there is none."""
    token = tokens[at]
    if token[0].isdecimal() and token.isascii():
        values = _digits(token)
        if (
            at + 2 < len(tokens)
            and tokens[at + 1] in ("/", "\u2044")
            and tokens[at + 2].isdecimal()
            and int(tokens[at + 2])
        ):
            return (values[0] / int(tokens[at + 2]),), at + 3
        after = at + 1
        while after < len(tokens) and (
            scale := SCALE.get(language, {}).get(tokens[after], HAN_SCALES.get(tokens[after]))
        ):
            values, after = tuple(value * scale for value in values), after + 1
        return values, after
    if token in SHARE and (_beside(tokens, at - 1) or _beside(tokens, at + 1)):
        return (SHARE[token],), at + 1
    if token[0] in HAN or token[0] in HAN_SCALES:
        return ((_han(token),), at + 1) if token != "一" or at + 1 == len(tokens) else ((), at)
    if token in ARTICLES and at + 1 < len(tokens) and len(tokens[at + 1]) > 1 and tokens[at + 1] in UNIT:
        return (1.0,), at + 1
    return _spoken(tokens, at, language)


def _beside(tokens: list[str], at: int) -> bool:
    return 0 <= at < len(tokens) and (tokens[at] in ARTICLES or tokens[at].isdecimal())


def _digits(token: str) -> tuple[float, ...]:
    plain = re.sub(r"[ '’\u00a0\u202f]", "", token)
    parts = re.split(r"[.,]", plain)
    if ":" in plain:  # a time of the day
        hours, minutes = plain.split(":")
        return (int(hours) + int(minutes) / 60,)
    if len(parts) == 1:
        return (float(plain[:300]),)
    if _GROUPED.fullmatch(token):
        whole = float("".join(parts)[:300])
        return (whole,) if len(parts) > 2 or parts[0] == "0" else (whole, float(".".join(parts)[:300]))
    return (float(("".join(parts[:-1]) + "." + parts[-1])[:300]),)


def _han(token: str) -> float:
    total = part = digit = 0
    for sign in token:
        if sign in HAN:
            digit = digit * 10 + HAN[sign]
        elif (scale := HAN_SCALES[sign]) >= 10_000:
            total, part, digit = (total + part + digit) * scale, 0, 0
        else:
            part, digit = part + max(digit, 1) * scale, 0
    return float(total + part + digit)


def _spoken(tokens: list[str], at: int, language: str) -> tuple[tuple[float, ...], int]:
    total, part, after = 0.0, None, at
    for place, value in _spoken_values(tokens, at, language):
        if part and value in SCALE[language].values():
            part *= value
        else:
            part = value if part is None else part + value
        if value >= 1000:
            total, part = total + part, 0.0
        after = place
    return ((), at) if part is None else ((total + part,), after)


def _spoken_values(tokens: list[str], at: int, language: str) -> Iterator[tuple[int, float]]:
    last = float("inf")
    while at < len(tokens) and language in WORDS:
        pieces = spoken(tokens[at], language)
        if not pieces:
            if tokens[at] in LINKS and last != float("inf") and at + 1 < len(tokens) and tokens[at + 1] != tokens[at]:
                nearer = spoken(tokens[at + 1], language)
                if nearer and nearer[0] < last:
                    at += 1
                    continue
            return
        if len(pieces) == 1 and pieces[0] >= last and pieces[0] not in SCALE[language].values():
            return  # two numbers in a row
        at += 1
        for piece in pieces:
            yield at, piece
        last = pieces[-1]


@cache
def spoken(word: str, language: str) -> tuple[float, ...]:
    """The values that a number word is made of, as 2, 100 and 6 of "zweihundertsechs"; none for any other word."""
    known = WORDS[language] | SCALE[language]
    if word in known:
        return (known[word],)
    if language == "fr":
        word = word.replace("quatre-vingt", "huitante").replace("huitantes", "huitante")
    if "-" in word:
        parts = [spoken(part, language) for part in word.split("-") if part not in LINKS]
        return tuple(value for part in parts for value in part) if all(parts) else ()
    if language not in JOINED or not 5 <= len(word) <= 60:
        return ()
    return _pieces(word, language)


def _pieces(word: str, language: str) -> tuple[float, ...]:
    link = JOINED[language]
    known = WORDS[language] | SCALE[language] | {"ein": 1.0, "een": 1.0, "uno": 1.0}
    if language == "it":
        known |= {name[:-1]: value for name, value in WORDS["it"].items() if value >= 20}
    best: list[tuple[float, ...] | None] = [(), *[None] * len(word)]
    for end in range(1, len(word) + 1):
        for start in range(max(end - 12, 0), end):
            before = best[start]
            if before is None or best[end] is not None:
                continue
            piece = word[start:end]
            if piece in known:
                best[end] = (*before, known[piece])
            elif piece == link and before:
                best[end] = before
    return best[-1] or ()
