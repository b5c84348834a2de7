"""The novelty benchmark: yearling's index against rouge_score scanning the pool, decisions held side by side.

In: flags. Out: a table on standard output and, with --json, one last line of JSON whose `ratio_...` keys say how many
times better yearling is. A pool of 52,000 instruction-like texts is asked for the closest text above 0.7 to each of
2,000 candidates; one process, tokens cached on both sides. The index answers all of them, in as many rounds as
candidates are scanned; between the rounds rouge_score scans the whole pool for one candidate, the middle one of each
of as many groups of equal size by length. The ratio is of mean times.

Decisions: every answer for a scanned candidate must be rouge_score's own, best score and first text that has it. For
all candidates every pair is scored without the index, by another LCS and rouge_score's formula, and each pair that
comes out at 0.6 or above by rouge_score itself as well. `--scan 2000` scans for all of them, in more than an hour.

`--million` puts a million texts through the ordered pass (each is asked for and, when novel, added), in a process of
its own, and holds its time and peak memory against 20 minutes and 3 GiB.

The texts are made from the shipped seed tasks by seeded chance, the same on every machine. They say nothing: they have
the lengths, the repeated openings and endings, the Zipf words and the near copies of generated instructions, which is
what a search for near copies has to live with. Of a hundred about

  55  an opening of a seed ("Write a short ..."), 3 to 11 Zipf words, often an ending of a seed ("... in one sentence.")
  14  a whole seed with 30 to 80 % of its words replaced
  12  one or two such sentences with a pasted passage of 15 to 60 words
  15  an earlier text with one word to 40 % of its words changed, lost or added
   4  an earlier text in other case and punctuation
"""

from __future__ import annotations

import argparse
import importlib.metadata
import itertools
import json
import multiprocessing
import os
import platform
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rapidfuzz
from rapidfuzz.distance import LCSseq
from rich.console import Console
from rich.table import Table
from rouge_score import rouge_scorer

from yearling.measure.novelty import Match, NoveltyIndex
from yearling.measure.text import TOKENIZERS, rouge_tokens

SEEDS = Path(__file__).resolve().parents[1] / "src/yearling/generate/seeds.jsonl"
WORDS = 40_000  # different words; those of the seeds by their frequency, then made-up ones
PARTS = ("ba", "ko", "ri", "ten", "mu", "sal", "ve", "dor", "pin", "ga", "lo", "chi", "fen", "tru", "as", "wy")
THRESHOLD = 0.7
NEAR = 0.6  # pairs from here on are scored by rouge_score itself
MINUTES, GIB = 20, 3.0  # what the ordered pass of a million may take
BUSY = 0.4  # load a core, before anything is measured
AT_ONCE = 50  # candidates whose scores with the whole pool are in memory together


@dataclass(frozen=True)
class Cached:
    """rouge_score's tokenizer, its work already done."""

    tokens: dict[str, list[str]]

    def tokenize(self, text: str) -> list[str]:
        """The tokens of a text that is known."""
        return self.tokens[text]


@dataclass(frozen=True)
class Timed:
    """Seconds and answers of both sides; `scanned` are positions among the candidates."""

    added_s: float
    index_s: float
    scan_s: list[float]
    answers: list[Match | None]
    scanned: list[int]
    scans: list[list[float]]


def main() -> None:
    """Measure and print; exit 1 where a decision differs."""
    given = _flags()
    console, news = Console(soft_wrap=True), Console(stderr=True, soft_wrap=True)
    loads = [os.getloadavg()[0]] if hasattr(os, "getloadavg") else [0.0]
    pool = _instruction_texts(given.rows)
    candidates = _instruction_texts(given.candidates, 2, pool)
    cached = {text: rouge_tokens(text) for text in [*pool, *candidates]}
    timed = _timed(pool, candidates, cached, given.scan, news)
    near, wrong = _compare(pool, candidates, cached, timed)
    index_s, scan_s = timed.index_s / len(candidates), float(np.mean(timed.scan_s))
    result: dict[str, Any] = {
        "ratio_candidate": scan_s / index_s,
        "index_us": index_s * 1e6,
        "scan_s": scan_s,
        "add_us": timed.added_s / len(pool) * 1e6,
        "rows": len(pool),
        "candidates": len(candidates),
        "scanned": len(timed.scanned),
        "above": sum(answer is not None for answer in timed.answers),
        "pairs_scored_by_rouge_score": near + len(pool) * len(timed.scanned),
        "differences": wrong,
        "mean_tokens": float(np.mean([len(cached[text]) for text in pool])),
    }
    if given.million:
        result |= _million(given.million)
    loads += [os.getloadavg()[0]] if hasattr(os, "getloadavg") else [0.0]
    result["machine"] = _machine(loads)
    _print(console, result)
    if given.json:
        print(json.dumps(result))
    sys.exit(bool(wrong))


def _flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks/novelty.py", description=__doc__)
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--rows", type=int, default=52_000, help="texts in the pool (52000)")
    parser.add_argument("--candidates", type=int, default=2000, help="texts asked for (2000)")
    parser.add_argument("--scan", type=int, default=20, help="candidates that rouge_score scans the pool for (20)")
    parser.add_argument("--million", type=int, nargs="?", const=1_000_000, help="the ordered pass, of so many texts")
    parser.add_argument("--quick", action="store_true", help="a smoke run: the numbers mean little")
    given = parser.parse_args()
    if given.quick:
        given.rows, given.candidates, given.scan = 2000, 200, 3
    return given


def _timed(
    pool: Sequence[str], candidates: Sequence[str], cached: dict[str, list[str]], scan: int, news: Console
) -> Timed:
    """Fill the index and ask both sides, in turns."""
    TOKENIZERS["rouge"] = cached.__getitem__
    index = NoveltyIndex(THRESHOLD, "rouge")
    start = time.perf_counter()
    for number, text in enumerate(pool):
        index.add(text, str(number))
    added_s = time.perf_counter() - start
    scorer = rouge_scorer.RougeScorer(["rougeL"], tokenizer=Cached(cached))
    by_length = sorted(range(len(candidates)), key=lambda place: len(cached[candidates[place]]))
    scanned = [int(group[len(group) // 2]) for group in np.array_split(by_length, scan)]
    answers: list[Match | None] = []
    scans: list[list[float]] = []
    index_s, scan_s = 0.0, []
    for part, place in zip(np.array_split(np.arange(len(candidates)), scan), scanned, strict=True):
        texts = [candidates[i] for i in part]
        start = time.perf_counter()
        answers += [index.nearest(text) for text in texts]
        index_s += time.perf_counter() - start
        start = time.perf_counter()
        scans.append([scorer.score(text, candidates[place])["rougeL"].fmeasure for text in pool])
        scan_s.append(time.perf_counter() - start)
        news.print(f"scan of {len(cached[candidates[place]])} tokens: {scan_s[-1]:.2f} s; index {index_s:.3f} s so far")
    return Timed(added_s, index_s, scan_s, answers, scanned, scans)


def _compare(
    pool: Sequence[str], candidates: Sequence[str], cached: dict[str, list[str]], timed: Timed
) -> tuple[int, int]:
    """Pairs scored by rouge_score beyond the scans, and how many answers or scores differ."""
    scorer = rouge_scorer.RougeScorer(["rougeL"], tokenizer=Cached(cached))
    full = dict(zip(timed.scanned, timed.scans, strict=True))
    near = wrong = 0
    for first in range(0, len(candidates), AT_ONCE):
        for place, scores in enumerate(_scores(pool, candidates[first : first + AT_ONCE], cached), first):
            above = np.flatnonzero(scores >= NEAR).tolist()
            near += len(above)
            told = {row: scorer.score(pool[row], candidates[place])["rougeL"].fmeasure for row in above}
            wrong += sum(told[row] != scores[row] for row in above)
            if place in full:
                wrong += int(np.count_nonzero(scores != np.array(full[place])))
                told = dict(enumerate(full[place]))
            best = max(told.values(), default=0.0)
            closest = min((row for row, score in told.items() if score == best), default=0)
            wrong += timed.answers[place] != (Match(best, str(closest)) if best > THRESHOLD else None)
    return near, int(wrong)


def _scores(pool: Sequence[str], candidates: Sequence[str], cached: dict[str, list[str]]) -> Any:
    """ROUGE-L F of each candidate with the whole pool, with no index and no filter; a row a candidate."""
    numbers: dict[str, int] = {}

    def one_character_a_token(text: str) -> str:
        return "".join(chr(numbers.setdefault(token, len(numbers))) for token in cached[text])

    left, right = ([one_character_a_token(text) for text in texts] for texts in (candidates, pool))
    common = rapidfuzz.process.cdist(left, right, scorer=LCSseq.similarity, dtype=np.int32).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = common / np.array([len(text) for text in left])[:, None]
        recall = common / np.array([len(text) for text in right])
        return np.where(common > 0, 2 * precision * recall / (precision + recall), 0.0)


def _million(rows: int) -> dict[str, Any]:
    """The ordered pass in a process of its own, so that its peak memory is its own."""
    with multiprocessing.get_context("spawn").Pool(1) as process:
        seconds, processor_s, gib, kept = process.apply(_pass, (rows,))
    told: dict[str, Any] = {"ratio_million_minutes": MINUTES * 60 / seconds} if rows >= 1_000_000 else {}
    if told and gib:
        told["ratio_million_memory"] = GIB / gib
    ran = {"rows": rows, "kept": kept, "seconds": seconds, "processor_s": processor_s, "peak_gib": gib}
    return told | {"million": ran}


def _pass(rows: int) -> tuple[float, float, float | None, int]:
    """Seconds, seconds of processor, peak memory in GiB (the texts included) and texts that were novel."""
    texts = _instruction_texts(rows)
    index = NoveltyIndex(THRESHOLD, "rouge")
    start, processor = time.perf_counter(), time.process_time()
    lap = start
    for number, text in enumerate(texts, 1):
        index.add_if_novel(text, str(number))
        if number % (rows // 10) == 0:
            now = time.perf_counter()
            print(f"{number} rows, {len(index)} kept: {(now - lap) / (rows // 10) * 1e6:.0f} µs a row", file=sys.stderr)
            lap = now
    seconds, processor_s = time.perf_counter() - start, time.process_time() - processor
    if sys.platform == "win32":
        return seconds, processor_s, None, len(index)
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return seconds, processor_s, peak / 2**30, len(index)


def _machine(loads: Sequence[float]) -> dict[str, Any]:
    return {
        "cores": os.cpu_count(),
        "processor": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load": [round(load, 2) for load in loads],
        "versions": {name: importlib.metadata.version(name) for name in ("rouge_score", "rapidfuzz", "numpy")},
    }


def _print(console: Console, result: dict[str, Any]) -> None:
    table = Table(
        title=f"novelty: one candidate against {result['rows']:,} texts of {result['mean_tokens']:.1f} tokens",
        title_justify="left",
    )
    for heading in ("side", "a candidate", "candidates timed", "times faster"):
        table.add_column(heading, justify="left" if heading == "side" else "right")
    table.add_row("rouge_score, every text", f"{result['scan_s']:.2f} s", f"{result['scanned']:,}", "1")
    row = f"{result['index_us']:.0f} µs", f"{result['candidates']:,}", f"{result['ratio_candidate']:,.0f}"
    table.add_row("yearling, index", *row)
    console.print(table)
    console.print(
        f"{result['differences']} differences: {result['candidates']:,} candidates, {result['above']:,} of them above "
        f"{THRESHOLD}; {result['pairs_scored_by_rouge_score']:,} pairs scored by rouge_score itself. "
        f"Adding a text takes {result['add_us']:.0f} µs."
    )
    if "million" in result:
        ran = result["million"]
        peak = f"{ran['peak_gib']:.2f} GiB" if ran["peak_gib"] else "unknown memory"
        console.print(
            f"ordered pass of {ran['rows']:,} texts, {ran['kept']:,} kept: {ran['seconds'] / 60:.1f} minutes, "
            f"{peak}, texts included (allowed for a million: {MINUTES} minutes, {GIB:g} GiB)"
        )
    machine = result["machine"]
    if machine["load"][0] > BUSY * machine["cores"]:
        console.print("Other work ran on this machine: measure again when it is idle.")
    console.print(
        f"{machine['cores']} cores {machine['processor']}, {machine['system']}, Python {machine['python']}, load "
        f"{machine['load'][0]} before and {machine['load'][1]} after; "
        + ", ".join(f"{name} {version}" for name, version in machine["versions"].items()),
        markup=False,
        highlight=False,
    )


def _instruction_texts(count: int, start: int = 1, earlier: Sequence[str] = ()) -> list[str]:
    """`count` texts; near copies are of the texts before them, `earlier` included."""
    rng = random.Random(start)
    rows = [json.loads(line) for line in SEEDS.read_text(encoding="utf-8").splitlines()]
    seeds = [str(row["instruction"]) for row in rows]
    words = _zipf_words(rng, " ".join(" ".join((row["instruction"], row["input"], row["output"])) for row in rows))
    popular = list(itertools.accumulate(1 / (rank + 3) for rank in range(len(seeds))))
    texts = list(earlier)
    for kind in rng.choices("tsmnc", (55, 14, 12, 15, 4), k=count):
        if kind == "t" or not texts:
            text = _sentence(rng, seeds, popular, words)
        elif kind == "s":
            text = _replaced(rng, rng.choice(seeds), rng.uniform(0.3, 0.8), words)
        elif kind == "m":
            parts = [_sentence(rng, seeds, popular, words) for _ in range(rng.randint(1, 2))]
            text = " ".join([*parts, " ".join(next(words) for _ in range(rng.randint(15, 60))) + "."])
        elif kind == "n":
            text = _replaced(rng, rng.choice(texts), rng.uniform(0.0, 0.4), words)
        else:
            text = f'"{rng.choice(texts).upper()}" !'
        texts.append(text)
    return texts[len(earlier) :]


def _zipf_words(rng: random.Random, text: str) -> Iterator[str]:
    """Words without end, the common ones of the text most often."""
    known = [word for word, _ in Counter(re.findall(r"[a-z]+", text.lower())).most_common()]
    made = ("".join(parts) for parts in itertools.product(PARTS, repeat=4))
    ranked = [*known, *itertools.islice(made, WORDS - len(known))]
    weights = list(itertools.accumulate((rank + 2.7) ** -1.05 for rank in range(len(ranked))))
    while True:
        yield from rng.choices(ranked, cum_weights=weights, k=100_000)


def _sentence(rng: random.Random, seeds: Sequence[str], popular: Sequence[float], words: Iterator[str]) -> str:
    first, last = rng.choices(seeds, cum_weights=popular, k=2)
    opening = first.split()[: rng.randint(2, 6)]
    ending = last.split()[-rng.randint(2, 5) :] if rng.random() < 0.4 else []
    return " ".join([*opening, *(next(words) for _ in range(rng.randint(3, 11))), *ending])


def _replaced(rng: random.Random, text: str, share: float, words: Iterator[str]) -> str:
    """The text with this share of its words, one at least, changed, lost or joined by another."""
    parts = text.split()
    for _ in range(max(1, round(share * len(parts)))):
        at = rng.randrange(len(parts) + 1)
        lost = rng.random() < 0.85
        parts[at : at + lost] = [next(words)] if rng.random() < 0.85 else []
    return " ".join(parts)


if __name__ == "__main__":
    main()
