"""Answers that run in a circle: the same words, sentences or lines again and again.

In: an answer, and all that was asked. Out: the reason against it in plain words, or None.
Only what is said at least three times on end counts, so refrains between verses, tables and times tables stay; what
was to be repeated stays too.
"""

from __future__ import annotations

import re
from collections import Counter

from yearling.measure.text import unicode_tokens

PROBE = 10  # characters that are looked for elsewhere in the text
ASKS_TO_REPEAT = re.compile(
    r"\brepeat|\brepetit|\btimes\b|over and over|again and again|\bin a row|identical|the same (?:word|line|sentence)"
    r"|\bcopies\b|\brhythm|\brows?\b|\bcells?\b|\b(?:each|every|on|\d+|two|three|four|five|six|ten) (?:\w+ )?lines?\b"
    r"|twice|thrice|endless|stutter|stammer|\w\((?!e?s\))|\bsounds?\b|onomatop|imitat|\blaugh|\bnoise|geräusch|\bloop"
    r"|\bechoe?s?\b|\bprints?\b|\boutputs?\b|\bprogram|\bcode\b|\bscript\b|\bpattern|\btable\b|\bchant|\bmantra"
    r"|\bgrid\b|\bcsv\b|schedule|timetable|calendar|matrix|\bboard\b|console\.|\bfor \w+ in\b|\bwhile\b|range\("
    r"|\bputs\b|\btongue.?twister|wiederhol|\d ?mal\b|\b(?!ein|manch|dies|jedes)\w{3,}mal\b|schleife|ausgabe|programm"
    r"|tabelle|stundenplan|zeile|r[ée]p[èée]t|(?<!une )fois\b|boucle|affiche|tableau|ligne|repit|repet|\bveces\b"
    r"|bucle|imprim|tabla|ripet|\bvolte\b|stampa|tabella|\bvezes\b|herhaal|\bkeer\b|powt[aó]rz|razy|повтор|\bраз\b"
    r"|цикл|таблиц|重复|循环|遍|\d ?回|[一二三四五六七八九十百] ?[回次]|打印|表格|輸出|输出|繰り返|回書|回言|表示"
    r"|반복|번 (?:써|말)|tekrar|\b(?:kez|kere|defa)\b|مرات|कर.? बार|दोहरा|كرر",
    re.IGNORECASE,
)
SUNG = re.compile(
    r"\bsongs?\b|lyric|chorus|refrain|\bpoems?\b|poetry|\bverses?\b|nursery|rhyme|lullaby|\bsing|\brap\b|hymn|carol"
    r"|prayer|litany|\blied\b|gedicht|strophe|reim|chanson|paroles|poème|comptine|canci[oó]n|letra|poema|estribillo"
    r"|canzone|testo|ritornello|poesia|can[cç][aã]o|liedje|piosenk|wiersz|песн|стих|припев|куплет|歌|诗|詩|노래|가사"
    r"|şarkı|şiir",
    re.IGNORECASE,
)


def runs_in_circles(text: str, asked: str) -> str | None:
    """Something said three times on end, or most of the text said before."""
    if len(text) < 12:
        return None
    unit = _equal_lines(text) if "\n" in text else None
    sung = unit is not None and SUNG.search(asked) is not None
    if (unit is None or sung) and _suspects(text):
        folded = " ".join(text.split())
        sung = SUNG.search(asked) is not None
        units = (_on_end(folded, place, width, 6 if sung else 3) for place, width in _suspects(folded))
        unit = next(filter(None, units), None)
        if unit is None and not sung:
            unit = _much_of(text)
    return f"repeats itself: {unit.strip()[:60]}" if unit and not ASKS_TO_REPEAT.search(asked) else None


def _suspects(text: str) -> list[tuple[int, int]]:
    """Where a few characters stand that are there three times: start and number."""
    size = len(text)
    width = PROBE if size > 60 else 5
    # The last characters may be a final mark; a loop in the middle of a text covers one of the other places.
    places = (max(0, size - 4 - width), size // 2, size // 4, 3 * size // 4)
    return [(place, width) for place in places if text.count(text[place : place + width]) >= 3]


def _on_end(text: str, place: int, width: int, least: int) -> str | None:
    """What is said several times on end around a place."""
    probe = text[place : place + width]
    before, after = text.rfind(probe, 0, place + width - 1), text.find(probe, place + 1)
    distances = [place - before] if before >= 0 else []
    distances += [after - place] if after >= 0 else []
    if not distances:
        return None
    period = min(distances)
    # From here on `text[i]` equals `text[i + period]` on a stretch around the place.
    place = before if before >= 0 and period == place - before else place
    start = end = place
    while start > 0 and text[start - 1] == text[start - 1 + period]:
        start -= 1
    while end + period < len(text) and text[end] == text[end + period]:
        end += 1
    unit = text[start : start + period]
    # Cells of tables, digits and rules are no speech.
    if "|" in unit or sum(map(str.isalpha, unit)) * 2 < period:
        return None
    words = max(len(unit.split()), len(unicode_tokens(unit)))
    needed = least if words > 3 else max(least, 4) if words > 1 else max(least, 6)
    # The last round may be cut off.
    return unit if end - start + period >= (needed - 0.1) * period and end - start + period >= 20 else None


def _equal_lines(text: str) -> str | None:
    """A line that stands there three times on end, or four times if it is one word; indentation counts."""
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    times, last = 1, ""
    for line in lines:
        times = times + 1 if line == last else 1
        if times == 3 and "|" not in line and any(map(str.isalpha, line)) and len(unicode_tokens(line)) > 1:
            return line
        if times == 4 and "|" not in line and any(map(str.isalpha, line)):
            return line
        last = line
    return None


def _much_of(text: str) -> str | None:
    """How much of the text, its tables left out, was said three times, if that is most of it."""
    tokens = unicode_tokens("\n".join(line for line in text.splitlines() if "|" not in line and "\t" not in line))
    share = repeated_share(tokens) if len(tokens) >= 40 else 0.0
    return f"{share:.0%} of its words" if share > 0.7 else None


def repeated_share(tokens: list[str]) -> float:
    """Share of tokens inside a run of four that stands in the text three times or more."""
    runs = list(zip(tokens, tokens[1:], tokens[2:], tokens[3:], strict=False))
    counts = Counter(runs)
    repeated = {start + n for start, run in enumerate(runs) if counts[run] > 2 for n in range(4)}
    return len(repeated) / max(1, len(tokens))
