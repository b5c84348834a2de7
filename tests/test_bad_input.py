"""Every kind of bad input is one clear line and exit code 2: what, where, what to do; nothing half-written stays."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from golden_line import Done, environment, yearling
from refusal import left_behind, refused

from yearling.run_folder import Run

ROWS = [{"instruction": f"Say the number {n}.", "output": f"It is {n}."} for n in range(12)]
DATA = "name: one\nimport: [{path: data.jsonl}]\ncurate: {}\n"
ASK = "name: one\nteacher: {model: '%s'}\ngenerate: {num: 3}\n"
SERVED = "name: one\nteacher: {model: 'openai:x', base_url: '%s'%s}\ngenerate: {num: 3%s}\n"
CLOSED = "http://127.0.0.1:9/v1"
TRAIN = DATA + "student: {base: '%s', template: %s}\ntrain: {}\n"
BAD_GGUF = b"GGUF\x03\x00\x00\x00" + b"\xa5" * 4000


def lines(rows: list[dict[str, object]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


ROW_LINES = lines([dict(row) for row in ROWS])
Content = str | bytes


@dataclass(frozen=True)
class Case:
    """A command in a folder of files; `words` must all be in its error. `@` is the folder, wherever it is written."""

    command: str
    words: tuple[str, ...]
    files: Mapping[str, Content]
    lines: int = 1


def recipe(text: Content, *words: str, command: str = "run @/r.yaml", lines: int = 1) -> Case:
    return Case(command, words, {"r.yaml": text, "data.jsonl": ROW_LINES}, lines)


RECIPES = {
    "unknown key": recipe(DATA + "student: {base: x, tempalte: plain}\n", "r.yaml:4", "tempalte", "mean template?"),
    "unknown section": recipe(DATA + "trian: {}\n", "r.yaml:4: trian", "did you mean train?"),
    "wrong type": recipe(DATA + "train: {epochs: many}\n", "r.yaml:4: train.epochs", "a valid number", "'many'"),
    "out of range": recipe(DATA.replace("{}", "{novelty: 1.5}"), "r.yaml:3: curate.novelty", "equal to 1", "1.5"),
    "a list for a section": recipe("name: one\ncurate: [a]\n", "r.yaml:2: curate", "dictionary"),
    "not YAML": recipe("name: one\nimport: [{path\n", "r.yaml:3: not YAML", "yearling init"),
    "a tab": recipe("name: one\n\tcurate: {}\n", "r.yaml:2: not YAML", r"'\t'"),
    "a control character": recipe("name: one\x00\n", "r.yaml: not YAML", "#x0000"),
    "a key twice": recipe(DATA + "curate: {}\n", "r.yaml:4", "curate is given twice"),
    "no mapping": recipe("- a\n- b\n", "r.yaml", "this is list", "yearling init"),
    "empty": recipe("", "r.yaml", "this is empty", "yearling init"),
    "a ring": recipe("name: one\ncurate: &a {length: *a}\n", "r.yaml", "not a recipe that can be read"),
    "not UTF-8": recipe("name: café\n".encode("latin-1"), "r.yaml is not UTF-8 (byte 9)", "Save it as UTF-8"),
    "missing": Case("run @/none.yaml", ("no recipe at @/none.yaml", "yearling init"), {}),
    "a folder": Case("run @/r", ("@/r cannot be read", "directory"), {"r/x": ""}),
    "bad name": recipe(DATA.replace("one", "../one"), "r.yaml:1: name", "'../one'", "use letters, digits"),
    "sections that are needed": recipe(
        "name: one\ngenerate: {}\ntrain: {}\n", "teacher: {model:", "student: {base:", lines=2
    ),
    "three problems at once": recipe(
        "curate: {novelty: 2, neer: 1}\n", "name: is missing", "curate.novelty", "did you mean near?", lines=3
    ),
    "override of an unknown knob": recipe(
        DATA, "curate.noveltyy", "did you mean novelty?", command="run @/r.yaml --curate.noveltyy 1"
    ),
    "override without a value": recipe(
        DATA, "--curate.novelty needs a value", "for example", command="run @/r.yaml --curate.novelty"
    ),
    "override of the wrong type": recipe(
        DATA, "curate.novelty", "a valid number", "'high'", command="run @/r.yaml --curate.novelty=high"
    ),
    "override without dashes": recipe(DATA, "'novelty=1'", "--section.key value", command="run @/r.yaml novelty=1"),
    "verb without its section": recipe(DATA, "no section for train", "`train: {}`", command="train @/r.yaml"),
    "import without sources": recipe("name: one\ncurate: {}\n", "`import: [{path", command="import @/r.yaml"),
    "unknown verb": recipe(DATA, "'trian'", "'train'", "--help", command="trian @/r.yaml"),
}


def data(content: Content, *words: str, name: str = "data.jsonl", format: str = "auto", lines: int = 1) -> Case:
    text = f"name: one\nimport: [{{path: {name}, format: {format}}}]\n"
    return Case("import @/r.yaml", words, {"r.yaml": text, name: content}, lines)


MISSPELT = [{"instruction": "Say a.", "outptu": "A."}]
SOURCES = {
    "broken JSON on line 7": data(
        lines([dict(row) for row in ROWS[:6]]) + '{"instruction": "a", "output":\n' + ROW_LINES,
        "@/data.jsonl:7: not JSON",
        "column 31",
        "mend the file",
    ),
    "empty": data("", "@/data.jsonl: the file is empty", "take it out of the recipe"),
    "wrong encoding": data(
        '{"instruction": "é", "output": "x"}\n'.encode("latin-1"), "@/data.jsonl: not UTF-8 at byte 17", "as UTF-8"
    ),
    "UTF-16": data(ROW_LINES.encode("utf-16"), "@/data.jsonl", "looks like UTF-16"),
    "missing column": data(
        lines([dict(row) for row in MISSPELT]), "@/data.jsonl:1: output missing", "Rename outptu?", format="alpaca"
    ),
    "no format fits": data(
        lines([dict(row) for row in MISSPELT]), "@/data.jsonl", "instruction, outptu", "alpaca: instruction", lines=7
    ),
    "unknown format": data(ROW_LINES, "@/r.yaml:2: import.0.format", "'alpaca'", "got 'alapca'", format="alapca"),
    "last turn is the user's": data(
        lines([{"messages": [{"role": "user", "content": "x"}]}]), "@/data.jsonl:1", "last turn is user", "mend"
    ),
    "two rows": data('{"prompt": "a"}\n{\n{"prompt": "b", "completion": "c"}\n', "data.jsonl:1", "2 problems", lines=4),
    "corrupt Parquet": data(
        b"PAR1" + b"\xa5" * 300, "@/data.parquet: not a Parquet file", "again", name="data.parquet"
    ),
    "CSV with semicolons": data(
        "prompt;completion\na;b\n", "@/data.csv:1", "Save the file with commas", name="data.csv"
    ),
    "missing file": Case(
        "import @/r.yaml", ("@/data.jsonl: there is no such file", "mean data.json?"), {"r.yaml": DATA, "data.json": ""}
    ),
}


def seeds(*rows: str) -> dict[str, Content]:
    return {"r.yaml": SERVED % (CLOSED, "", ", seeds: s.jsonl"), "s.jsonl": "\n".join(rows)}


def magpie(template: Content) -> dict[str, Content]:
    return {"r.yaml": SERVED % (CLOSED, ", template: t.jinja", ", method: magpie"), "t.jinja": template}


def teacher(model: str, *words: str) -> Case:
    return Case("generate @/r.yaml", words, {"r.yaml": ASK % model, "bad.gguf": BAD_GGUF, "zip.gguf": b"PK\x03\x04"})


def ask(files: Mapping[str, Content], *words: str) -> Case:
    return Case("generate @/r.yaml", words, files)


SEED = '{"instruction": "Say a."}'
TEACHERS = {
    "unknown kind": teacher("opnai:x", "teacher.model 'opnai:x'", "openai:<model>"),
    "no model": teacher("openai:", "teacher.model names no model", "openai:<model>"),
    "missing key": teacher("openai:x", "key is not set", "export OPENAI_API_KEY=", "teacher.api_key_env"),
    "missing file": teacher("local:@/none.gguf", "no model file at @/none.gguf", "shipped:<name>"),
    "corrupt GGUF": teacher("local:@/bad.gguf", "@/bad.gguf", "gguf_init", "download it again"),
    "no GGUF": teacher("local:@/zip.gguf", "@/zip.gguf is not a GGUF file", "download it again"),
    "unknown shipped name": teacher("local:shipped:smollm3", "'smollm3'", "smollm2-135m-instruct"),
    "address without a scheme": ask(
        {"r.yaml": SERVED % ("127.0.0.1:9/v1", "", "")}, "teacher.base_url is no address", "https://host/v1"
    ),
    "address that is none": ask({"r.yaml": SERVED % ("http://[x", "", "")}, "teacher.base_url", "https://host/v1"),
    "dollar cap without a price": ask(
        {"r.yaml": SERVED % (CLOSED, "", "") + "budget: {max_cost_usd: 1}\n"}, "price is unknown", "`price: {input:"
    ),
    "seeds broken on line 3": ask(seeds(SEED, SEED, '{"instruction": c}'), "@/s.jsonl:3: not JSON", "column 17"),
    "seed of another shape": ask(seeds(SEED, '{"instruction": "a", "instances": 5}'), "@/s.jsonl:2", "a list of"),
    "seed with half an emoji": ask(seeds('{"instruction": "Say \\ud83d."}'), "@/s.jsonl:1", "lone surrogate"),
    "seeds missing": ask({"r.yaml": seeds()["r.yaml"]}, "generate.seeds: @/s.jsonl", "No such file"),
    "template not UTF-8": ask(magpie(b"\xe9"), "teacher.template @/t.jinja is not UTF-8", "as UTF-8"),
    "template not Jinja": ask(magpie("{% for %}"), "@/t.jinja", "line 1"),
    "template that fails": ask(magpie("{{ messages + 1 }}"), "@/t.jinja", "fails"),
}


def student(base: str, *words: str, template: str = "plain") -> Case:
    files: dict[str, Content] = {
        "r.yaml": TRAIN % (base, template),
        "data.jsonl": ROW_LINES,
        "zip.gguf": b"PK\x03\x04",
        "empty/x": "",
    }
    return Case("run @/r.yaml", words, {**files, "latin.jinja": b"\xe9"})


# told before the first stage, so that a teacher is not paid for a student that is not there
STUDENTS = {
    "missing file": student("@/none.gguf", "no model file at @/none.gguf", "shipped:<name>"),
    "missing folder": student("./none", "student.base './none' is no folder", "<org>/<name> on the hub"),
    "empty folder": student("@/empty", "'@/empty' holds no config.json"),
    "no GGUF": student("@/zip.gguf", "@/zip.gguf is not a GGUF file", "download it again"),
    "unknown template": student("shipped:gemma-3-270m", "student.template 'alpca'", "alpaca, chatml", template="alpca"),
    "template not UTF-8": student("shipped:gemma-3-270m", "@/latin.jinja is not UTF-8", template="'@/latin.jinja'"),
}

RUN = {"runs/one/run.json": '{"format": 1, "created": 1.0}'}
COMMANDS = {
    "chat without runs": Case("chat -p hi", ("no runs in @/runs", "yearling demo"), {}),
    "chat before export": Case("chat one -p hi", ("run one has no exported file", "yearling export"), RUN),
    "chat with a corrupt file": Case("chat @/x.gguf -p hi", ("@/x.gguf", "download it again"), {"x.gguf": BAD_GGUF}),
    "trace of an unknown run": Case("trace r1:abc --run two", ("no run 'two'", "There are: one"), RUN),
    "trace without records": Case("trace r1:abc", ("run one has no records", "yearling generate"), RUN),
    "delete of an unknown run": Case("runs delete two --yes", ("no run 'two'", "There are: one"), RUN),
    "delete unasked": Case("runs delete one", ("@/runs/one was not deleted", "--yes"), RUN),
    "eval before export": Case(
        "eval @/r.yaml",
        ("eval needs exported files", "yearling export"),
        {"r.yaml": "name: one\nstudent: {base: x.gguf}\neval: {against: none}\n"},
    ),
    "curate without records": Case("curate @/r.yaml", ("no records", "yearling generate"), {"r.yaml": DATA}),
    "a run of another format": Case(
        "import @/r.yaml",
        ("@/runs/one has format 9", "new run name"),
        {"runs/one/run.json": '{"format": 9}', "r.yaml": DATA},
    ),
    "a broken run.json": Case("status", ("@/runs/one/run.json", "Restore"), {"runs/one/run.json": "{"}),
    "a run.json of another shape": Case("status", ("@/runs/one/run.json", "delete"), {"runs/one/run.json": "[]"}),
    "a file where a folder belongs": Case(
        "import @/r.yaml",
        ("@/runs/one/records cannot be used", "mend this one"),
        {**RUN, "runs/one/records": "", "r.yaml": DATA, "data.jsonl": ROW_LINES},
    ),
    "a ledger that is none": Case(
        "generate @/r.yaml",
        ("@/ledger.sqlite", "not a database", "Restore it"),
        {"ledger.sqlite": "no ledger " * 500, "r.yaml": SERVED % (CLOSED, "", "")},
    ),
    "init over a file": Case("init @/recipe.yaml", ("@/recipe.yaml exists", "--force"), {"recipe.yaml": "mine"}),
    "demo with an unknown student": Case("demo --student llama", ("'llama'", "gemma, smollm2"), {}),
    "a port that is none": Case("serve --port 70000", ("--port", "65535"), {}),
}
GROUPS = {"recipe": RECIPES, "data": SOURCES, "teacher": TEACHERS, "student": STUDENTS, "command": COMMANDS}
CASES = {f"{group}: {name}": case for group, cases in GROUPS.items() for name, case in cases.items()}


def put(folder: Path, files: Mapping[str, Content]) -> dict[str, bytes]:
    """Write the files of a case; what is there then."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        raw = content.encode() if isinstance(content, str) else content
        path.write_bytes(raw.replace(b"@", str(folder).encode()))
    return {name: (folder / name).read_bytes() for name in files}


def commanded(folder: Path, command: str) -> Done:
    return yearling(folder, *command.replace("@", str(folder)).split(), timeout=120)


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("YEARLING_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("name", CASES)
def test_one_line_and_nothing_half_written(project: Path, name: str) -> None:
    case = CASES[name]
    before = put(project, case.files)
    done = commanded(project, case.command)
    refused(done, *(word.replace("@", str(project)) for word in case.words), lines=case.lines)
    assert not set(left_behind(project)) - before.keys()
    assert {file: (project / file).read_bytes() for file in before} == before
    if name.startswith(("recipe", "student")):
        assert not (project / "runs").exists(), "nothing is begun"


def test_there_are_more_than_twenty_kinds() -> None:
    assert len(CASES) > 60


def test_a_key_that_is_none_is_told_and_not_shown(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(project, {"r.yaml": SERVED % (CLOSED, "", "")})
    monkeypatch.setenv("OPENAI_API_KEY", "sk-geheim\n")
    done = commanded(project, "generate @/r.yaml")
    refused(done, "OPENAI_API_KEY", "Set OPENAI_API_KEY anew")
    assert "geheim" not in done.err


def test_an_endpoint_that_is_not_there_is_the_teachers_failure(project: Path) -> None:
    put(project, {"r.yaml": SERVED % (CLOSED, "", "")})
    quick = "from yearling.teachers import ask; ask.FIRST_WAIT_S = 0.001; from yearling.cli import main; main()"
    command = [sys.executable, "-c", quick, "--project", str(project), "generate", str(project / "r.yaml")]
    refused(spawned(command), "openai:x failed 8 times", f"at {CLOSED}", "Run the same command again", code=5)
    assert left_behind(project) == []


def spawned(command: list[str]) -> Done:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment(), check=False)
    return Done(done.returncode, done.stdout, done.stderr, 0.0)


def test_a_busy_port(project: Path) -> None:
    put(project, {"x.gguf": BAD_GGUF})
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused(commanded(project, f"serve @/x.gguf --port {port}"), f"port {port} on 127.0.0.1", "another with --port")


def test_an_unknown_record(project: Path) -> None:
    put(project, {"r.yaml": DATA, "data.jsonl": ROW_LINES})
    assert commanded(project, "import @/r.yaml").code == 0
    refused(commanded(project, "trace r1:0123456789"), "no record r1:0123456789 in this run", "The nearest ids: r1:")


@pytest.mark.slow
def test_a_corrupt_student_keeps_the_stages_before_it(project: Path) -> None:
    put(project, {"r.yaml": TRAIN % ("@/bad.gguf", "plain"), "data.jsonl": ROW_LINES, "bad.gguf": BAD_GGUF})
    refused(commanded(project, "run @/r.yaml"), "@/bad.gguf cannot be converted".replace("@", str(project)), "again")
    run = Run(project, "one")
    assert [stage for stage in ("import", "curate", "train") if run.manifest(stage)] == ["import", "curate"]
    assert not list(project.rglob("*.tmp"))


# -- a folder that a user without rights may not write


@pytest.fixture
def powerless() -> Iterator[list[str]]:
    """What goes before a command so that it runs as a user who owns nothing here, but may read the interpreter."""
    if sys.platform == "win32":
        pytest.skip("Windows has other rights")
    if os.geteuid() != 0:
        yield []
        return
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("root cannot be given up without setpriv")
    rights = ["--inh-caps", "-all,+dac_read_search", "--ambient-caps", "+dac_read_search"]
    yield [setpriv, "--reuid", "65534", "--regid", "65534", "--clear-groups", *rights]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("import @/r.yaml", ["@/runs/one cannot be made", "Permission denied", "a folder you may write"]),
        ("init @/new.yaml", ["@/new.yaml", "Permission denied"]),
    ],
)
def test_a_folder_that_may_not_be_written(project: Path, powerless: list[str], command: str, words: list[str]) -> None:
    before = put(project, {"r.yaml": DATA, "data.jsonl": ROW_LINES})
    _refused_powerless(project, powerless, command, words)
    assert sorted(path.name for path in project.iterdir()) == sorted(before)


@pytest.mark.parametrize("command", ["curate @/r.yaml", "import @/other.yaml", "generate @/ask.yaml"])
def test_a_run_of_somebody_else(project: Path, powerless: list[str], command: str) -> None:
    other = DATA.replace("path: data.jsonl", "path: data.jsonl, licence: mit")
    put(project, {"r.yaml": DATA, "other.yaml": other, "data.jsonl": ROW_LINES, "ask.yaml": SERVED % (CLOSED, "", "")})
    assert commanded(project, "import @/r.yaml").code == 0
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    _refused_powerless(project, powerless, command, ["@/runs/one", "Permission denied", "--project"])
    assert {path: path.read_bytes() for path in project.rglob("*") if path.is_file()} == before


def _refused_powerless(project: Path, powerless: list[str], command: str, words: list[str]) -> None:
    arguments = command.replace("@", str(project)).split()
    folders = [project, *(path for path in project.rglob("*") if path.is_dir())]
    files = [path for path in project.rglob("*") if path.is_file()]
    for path in (*folders, *files):
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        done = spawned([*powerless, sys.executable, "-m", "yearling.cli", "--project", str(project), *arguments])
    finally:
        for path in (*folders, *files):
            path.chmod(0o755 if path.is_dir() else 0o644)
    refused(done, *(word.replace("@", str(project)) for word in words))
