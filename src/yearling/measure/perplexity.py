"""Perplexity of a completion given its prompt, from a GGUF file, with its interval.

In: texts cut into prompt and completion. Out: log probabilities a row, and exp of their mean with a bootstrap.
The stop token is not part of the completion here: whether answers end by themselves is measured by asking.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yearling.llama import Scorer
from yearling.record import Message, Record
from yearling.students.template import Template

RESAMPLES = 2000
Tick = Callable[[int], None]


@dataclass(frozen=True)
class Scores:
    """Natural-log probabilities of each row's completion tokens, and the token ids they belong to."""

    tokens: list[list[int]]
    logprobs: list[list[float]]

    @property
    def perplexity(self) -> float:
        """exp of the mean negative log probability over all completion tokens."""
        return perplexity(self.logprobs)


def in_template(template: Template, record: Record) -> tuple[str, str]:
    """Prompt text and whole text up to the completion's last character, in a chat template."""
    prompt = template.render(record.messages[:-1], generation=True)
    mark = "\x00completion\x00"
    shown = template.render((*record.messages[:-1], Message("assistant", mark)))
    return prompt, shown.partition(mark)[0] + record.completion


def in_plain_text(template: Template, record: Record) -> tuple[str, str]:
    """The same row for a model that was never tuned: the prompt, a blank line, the completion."""
    turns = "\n\n".join(message.content for message in record.messages[:-1])
    prompt = f"{template.bos}{turns}\n\n"
    return prompt, prompt + record.completion


def score_file(gguf: Path, texts: Sequence[tuple[str, str]], tick: Tick) -> Scores:
    """Score the completions of `texts` with a GGUF file; `tick` is told how many rows are done."""
    tokens, logprobs = [], []
    with Scorer(gguf) as scorer:
        for done, (prompt, whole) in enumerate(texts, 1):
            ids = scorer.tokens(whole)
            start = common_prefix(scorer.tokens(prompt), ids)
            tokens.append(ids)
            logprobs.append(scorer.score(ids, max(1, start)).logprobs)
            tick(done)
    return Scores(tokens, logprobs)


def common_prefix(prompt: Sequence[int], whole: Sequence[int]) -> int:
    """How many leading tokens of the whole text are the prompt's; the rest is the completion."""
    pairs = zip(prompt, whole, strict=False)
    return next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(prompt), len(whole)))


def perplexity(logprobs: Sequence[Sequence[float]]) -> float:
    """exp of the mean negative log probability over all tokens of all rows."""
    import numpy as np

    return float(np.exp(-np.mean([value for row in logprobs for value in row])))


def interval(logprobs: Sequence[Sequence[float]]) -> tuple[float, float, float]:
    """(perplexity, low, high): 95 % percentile bootstrap over rows, seeded (Efron 1979)."""
    value, low, high = ratio(logprobs, [[0.0] * len(row) for row in logprobs])
    return value, low, high


def ratio(left: Sequence[Sequence[float]], right: Sequence[Sequence[float]]) -> tuple[float, float, float]:
    """(ratio of perplexities left to right, low, high): 95 % paired bootstrap over rows, seeded."""
    import numpy as np

    sums = np.array([[sum(a), len(a), sum(b), len(b)] for a, b in zip(left, right, strict=True)])
    picks = np.random.default_rng(0).integers(0, len(sums), (RESAMPLES, len(sums)))

    def of(total: Any) -> Any:
        return np.exp(total[..., 2] / total[..., 3] - total[..., 0] / total[..., 1])

    low, high = np.percentile(of(sums[picks].sum(axis=1)), [2.5, 97.5])
    return float(of(sums.sum(axis=0))), float(low), float(high)


def share_interval(hits: int, total: int) -> tuple[float, float, float]:
    """(share, low, high): Wilson's 95 % score interval (Wilson 1927)."""
    if total == 0:
        return 0.0, 0.0, 1.0
    z, p = 1.959964, hits / total
    middle = (p + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * (p * (1 - p) / total + z * z / (4 * total * total)) ** 0.5
    return p, max(0.0, middle - half), min(1.0, middle + half)
