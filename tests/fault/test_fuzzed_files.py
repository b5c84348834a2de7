"""Any file at all, given to `yearling curate FILE -o OUT`: one clear error, or rows that all are accounted for.

Files are made by hypothesis out of what data sets hold, then spoiled as bytes; beside them stand horrors that people
have met. Rows in = kept + dropped + refused, always: a file that is refused is refused whole, and nothing is written.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from yearling.cli import app
from yearling.errors import UserError
from yearling.record import Message, Origin, Record
from yearling.run_folder import Run
from yearling.sources.write import write_source

texts = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    st.text(st.sampled_from("ab \n\t.,?!\"'<>|{}\\\x00\u200b\u202e\ufeff火ما🙂"), max_size=60),
    st.sampled_from(
        [
            "",
            " ",
            "yes",
            "As an AI language model, I cannot do that.",
            "a@b.co 4111 1111 1111 1111",
            "x" * 5000,
            "```py",
        ]
    ),
)
single = st.builds(lambda q, a: (Message("user", q), Message("assistant", a)), texts, texts)
talks = st.builds(
    lambda system, pairs: (
        *([Message("system", system)] if system else []),
        *(turn for pair in pairs for turn in pair),
    ),
    st.one_of(st.just(""), texts),
    st.lists(single, min_size=1, max_size=3),
)
FORMATS = ("alpaca", "sharegpt", "messages", "prompt-completion", "csv", "parquet")
ENDINGS = {"alpaca": ".json", "csv": ".csv", "parquet": ".parquet"}
spoils = st.sampled_from(["none", "none", "none", "cut", "flip", "insert", "double", "drop line", "swap"])


def spoiled(raw: bytes, how: str, seed: int) -> bytes:
    """The bytes with one thing done to them."""
    dice = random.Random(seed)
    at = dice.randrange(len(raw)) if raw else 0
    lines = raw.split(b"\n")
    changed: dict[str, Callable[[], bytes]] = {
        "none": lambda: raw,
        "cut": lambda: raw[:at],
        "flip": lambda: raw[:at] + bytes([dice.randrange(256)]) + raw[at + 1 :],
        "insert": lambda: raw[:at] + dice.randbytes(3) + raw[at:],
        "double": lambda: raw + raw,
        "drop line": lambda: b"\n".join(lines[: at % len(lines)] + lines[at % len(lines) + 1 :]),
        "swap": lambda: raw.replace(b'"', b"'", 1),
    }
    return changed[how]()


def curated(data: Path, project: Path) -> None:
    """Give the file to the command, and hold what came of it to account."""
    out = project / "out.jsonl"
    before = data.read_bytes()
    done = CliRunner().invoke(app, ["--project", str(project), "curate", str(data), "-o", str(out)])
    assert data.read_bytes() == before
    if done.exception and not isinstance(done.exception, SystemExit):
        assert isinstance(done.exception, UserError), done.exception
        said = str(done.exception)
        assert said and len(said) < 5000
        assert not out.exists()
    runs = list(project.glob("runs/*/run.json"))
    run = Run(project, runs[0].parent.name) if runs else None
    imported = run.manifest("import") if run else None
    if run is None or imported is None:  # refused whole
        assert not out.exists() and (run is None or not list(run.records.glob("*.parquet")))
        return
    rows = sum(pq.read_metadata(part).num_rows for part in run.records.glob("*.parquet"))
    assert rows == imported.counts["rows"] > 0
    judged = run.manifest("curate")
    if judged is None:  # nothing was left: each row is dropped, each with its reason
        tables = [pq.read_table(table).to_pylist() for table in run.verdicts.glob("*/verdicts.parquet")]
        failed = {row["record"]: row["reason"] for table in tables for row in table if row["state"] == "fail"}
        assert len(failed) == rows and all(failed.values())
        return
    counts = judged.counts
    dropped = sum(count for name, count in counts.items() if name.startswith("failed_"))
    assert rows == counts["in"] == counts["accepted"] + dropped
    kept = out.read_text(encoding="utf-8").split("\n")[:-1]
    assert len(kept) == counts["accepted"] == counts["train"] + counts["test"]


def fuzzed(examples: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """So many files; a failure is shown as it was found, for each try takes a second."""
    return settings(
        max_examples=examples,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


def one_file(folder: Path, rows: list[tuple[Message, ...]], how: tuple[str, str, int]) -> None:
    format, spoil, seed = how
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    data = folder / f"data{ENDINGS.get(format, '.jsonl')}"
    records = [Record(turns, Origin("import", str(n), n)) for n, turns in enumerate(rows)]
    try:
        write_source(records, data, format)  # type: ignore[arg-type]
    except UserError:  # the format cannot hold these turns
        write_source(records, data, "messages")
    data.write_bytes(spoiled(data.read_bytes(), spoil, seed))
    curated(data, folder / "project")


how = st.tuples(st.sampled_from(FORMATS), spoils, st.integers(0, 2**32))
some = st.lists(st.one_of(single, talks), min_size=1, max_size=8)


@fuzzed(15)
@given(some, how)
def test_some_fuzzed_files(tmp_path_factory: pytest.TempPathFactory, rows: Any, how: Any) -> None:
    one_file(tmp_path_factory.getbasetemp() / "fuzzed", rows, how)


@pytest.mark.slow
@pytest.mark.timeout(1500)
@fuzzed(1000)
@given(some, how)
def test_a_thousand_fuzzed_files(tmp_path_factory: pytest.TempPathFactory, rows: Any, how: Any) -> None:
    one_file(tmp_path_factory.getbasetemp() / "fuzzed-more", rows, how)


def line(prompt: Any, answer: Any, **more: Any) -> str:
    return json.dumps({"prompt": prompt, "completion": answer, **more}, ensure_ascii=False) + "\n"


GOOD = line("Name a tree that bears acorns.", "The oak bears acorns in autumn.")
HORRORS: dict[str, tuple[str, bytes]] = {
    "empty": (".jsonl", b""),
    "blank lines only": (".jsonl", b"\n\n  \n"),
    "byte order mark": (".jsonl", b"\xef\xbb\xbf" + GOOD.encode()),
    "UTF-16": (".jsonl", GOOD.encode("utf-16")),
    "Latin-1": (".jsonl", line("Où?", "Là-bas, près de l'église.").encode("latin-1")),
    "null bytes": (".jsonl", GOOD.encode().replace(b"tree", b"tr\x00ee")),
    "escaped null": (".jsonl", line("Name a tr\x00ee.", "Oak \x00 it is.").encode()),
    "half a character": (".jsonl", GOOD.encode() + b'{"prompt": "\\ud800", "completion": "x"}\n'),
    "no end of line": (".jsonl", GOOD.encode().rstrip()),
    "old Mac lines": (".jsonl", (GOOD + GOOD).replace("\n", "\r").encode()),
    "windows lines": (".jsonl", (GOOD + GOOD).replace("\n", "\r\n").encode()),
    "one bad row of three": (".jsonl", (GOOD + "{oops}\n" + GOOD).encode()),
    "numbers for text": (".jsonl", (GOOD + line(1, 2.5)).encode()),
    "null for text": (".jsonl", (GOOD + line("Name a tree.", None)).encode()),
    "NaN": (".jsonl", b'{"prompt": NaN, "completion": Infinity}\n'),
    "deep nesting": (".jsonl", b'{"prompt": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n"),
    "huge number": (".jsonl", b'{"prompt": ' + b"9" * 10_000 + b', "completion": "x"}\n'),
    "a key twice": (".jsonl", b'{"prompt": "a b", "prompt": "c d", "completion": "An answer."}\n'),
    "a list of lists": (".json", b"[[1], [2]]"),
    "an array cut short": (".json", b'[{"instruction": "Name a tree.", "output": "Oak."}, {"instr'),
    "an object, no array": (".json", b'{"data": {"train": 3}}'),
    "a hundred thousand letters": (".jsonl", line("Say " + "a" * 100_000, "b" * 100_000).encode()),
    "a hundred thousand brackets": (".jsonl", line("Say (" + "(" * 100_000, "<" * 100_000).encode()),
    "a long run of one word": (".jsonl", line("Say it.", "so " * 50_000).encode()),
    "right to left and joiners": (".jsonl", line("\u202eesrever\u202c \u200d", "👩‍👩‍👧 \u200b\u2066x").encode()),
    "unknown role": (".jsonl", b'{"messages": [{"role": "wizard", "content": "x"}]}\n'),
    "assistant first": (".jsonl", b'{"messages": [{"role": "assistant", "content": "Hi there."}]}\n'),
    "no turns": (".jsonl", b'{"messages": []}\n'),
    "open quote": (".csv", b'prompt,completion\n"Name a tree,Oak.\nName another,Elm.\n'),
    "ragged table": (".csv", b"prompt,completion\nName a tree,Oak.,surplus\nonly one\n"),
    "no header": (".csv", b"Name a tree,Oak.\n"),
    "header only": (".csv", b"prompt,completion\n"),
    "no Parquet": (".parquet", b"PAR1 this is not one PAR1"),
    "half a Parquet": (".parquet", b"PAR1" + bytes(200)),
    "a zip": (".jsonl", b"PK\x03\x04" + bytes(60)),
    "gzip under a plain name": (".jsonl", b"\x1f\x8b\x08" + bytes(60)),
}


@pytest.mark.parametrize("name", HORRORS)
def test_horrors(name: str, tmp_path: Path) -> None:
    ending, raw = HORRORS[name]
    data = tmp_path / f"data{ending}"
    data.write_bytes(raw)
    curated(data, tmp_path / "project")
