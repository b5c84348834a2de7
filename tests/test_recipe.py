"""Every knob is taken as written, and what is wrong is told with its place, all of it at once."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, ValidationError

from yearling.errors import UserError
from yearling.recipe import Recipe
from yearling.recipe_azure import Section
from yearling.recipe_file import _Loader, _model_in, check_recipe, load_recipe, parse_overrides

EVERY = """\
name: all-knobs
language: pt-BR
teacher:
  model: openai:tutor
  base_url: http://127.0.0.1:1/v1
  api_key_env: MY_KEY
  price: {input: 0.5, output: 1.5}
  template: teacher.jinja
  concurrency: 3
  timeout_s: 20.0
  reasoning: {effort: low, max_tokens: 100, keep: true}
  batch: true
  structured: false
  local: {context: 4096, min_p: 0.2}
  azure: {identity: entra, client_id: abc, scope: https://example.org/.default}
budget: {max_cost_usd: 2.5, max_tokens: 1000, max_minutes: 1.5, hour_usd: 2.0,
  share: {generate: 0.5, curate: 0.25, eval: 1.0}}
generate:
  method: answer
  num: 7
  seeds: data/seeds.jsonl
  temperature: 0.9
  attempts: 3.5
  seed: 1
  answer: {system: Be short., max_tokens: 99, temperature: 0.1, turns: 2}
  variety: {personas: people.txt, attributes: {tone: [formal, dry]}, systems: systems.txt, prompts: words}
  alpaca: {per_call: 4, demonstrations: 2, together: true}
  self_instruct: {human: 3, machine: 1, per_call: 5, instances: 2, completion: true}
  evolve: {rounds: 2, keep_start: false}
  documents: {path: docs, words: 100, pairs: 2, with_passage: true}
import:
  - path: more.csv
    format: csv
    licence: MIT
    answer: true
    azure: {identity: managed, client_id: 00000000-0000-0000-0000-000000000001, cloud: china, workspace: a/b/c}
curate:
  length: {min_prompt: 1, max_prompt: 50, min_completion: 2, max_completion: 60}
  off: [shape, refusal, exact]
  language: recipe
  personal: mask
  toxic: teacher
  near: {above: 0.5, on: prompt}
  semantic: {above: 0.9, exam: 0.8, outlier: 0.1, model: multilingual}
  novelty: null
  decontaminate: [exam.jsonl]
  judge: {min_score: 3, rubric: rubric.txt}
  select: 9
  test: 0.25
student: {base: some/model, template: alpaca, max_seq_length: 512}
train:
  method: lora
  lora: {r: 8, alpha: 16, dropout: 0.1, targets: attention, rslora: true, dora: true,
    start: adapter}
  epochs: 1.5
  learning_rate: 1e-4
  batch_size: 2
  warmup: 0.1
  schedule: linear
  precision: float32
  watch: 0.1
  save_every: 5
  track: [tensorboard]
  seed: 7
export: {quant: [q8_0], ollama: false, parity_rows: 3}
eval: {against: none, on: [merged, q8_0], max_rows: 9, max_tokens: 11, questions: ["Who are you?"]}
run_on:
  azureml:
    subscription: s
    resource_group: g
    workspace: w
    compute: c
    identity: user
    instances: 2
    gpus: 1
    spot: true
    cloud: usgov
    register_as: mine
"""
SMALL: dict[str, Any] = {"name": "x"}


@pytest.fixture
def path(project: Path) -> Path:
    return project / "recipe.yaml"


def load(path: Path, text: str | bytes, overrides: dict[str, Any] | None = None) -> Recipe:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_recipe(path, overrides)


def problems(path: Path, text: str | bytes, overrides: dict[str, Any] | None = None) -> str:
    with pytest.raises(UserError) as caught:
        load(path, text, overrides)
    assert caught.value.exit_code == 2
    return str(caught.value)


def knobs(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        key = prefix + (field.alias or name)
        inner = _model_in(field.annotation)
        yield from knobs(inner, key + ".") if inner else (key,)


def written(value: Any, known: Collection[str], prefix: str = "") -> Iterator[str]:
    key = prefix.removesuffix(".")
    if key in known:  # a knob may hold names of its own
        yield key
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from written(inner, known, f"{prefix}{name}.")
    elif isinstance(value, (list, tuple)) and value and isinstance(value[0], dict):
        for inner in value:
            yield from written(inner, known, prefix)
    else:
        yield key


# -- what is right


def test_every_knob_is_taken_as_written(path: Path, project: Path) -> None:
    recipe = load(path, EVERY)
    data = yaml.load(EVERY, Loader=_Loader)
    every = list(knobs(Recipe))
    assert sorted(written(data, every)) == sorted(every), "this recipe sets every knob that there is"
    dumped = recipe.model_dump(mode="json", by_alias=True)
    data["teacher"]["template"] = str(project / "teacher.jinja")
    data["curate"]["decontaminate"] = [str(project / "exam.jsonl")]
    data["curate"]["judge"]["rubric"] = str(project / "rubric.txt")
    data["generate"]["seeds"] = str(project / "data/seeds.jsonl")
    data["generate"]["documents"]["path"] = str(project / "docs")
    for name in ("personas", "systems", "prompts"):
        data["generate"]["variety"][name] = str(project / data["generate"]["variety"][name])
    data["import"][0]["path"] = str(project / "more.csv")
    data["train"]["lora"]["start"] = str(project / "adapter")
    assert dumped == data


def test_no_section_has_more_than_twelve_knobs() -> None:
    kinds: list[type[Section]] = Section.__subclasses__()
    assert len(kinds) >= 12
    for kind in kinds:
        assert len(kind.model_fields) <= 12, kind
        for name, field in kind.model_fields.items():
            assert field.description or _model_in(field.annotation), f"{kind.__name__}.{name} is not described"


def test_a_short_recipe_gets_the_defaults(path: Path) -> None:
    recipe = load(path, "name: x\ngenerate:\n  num: 5\nteacher: {model: openai:tutor}\ncurate: {}\n")
    assert recipe.generate is not None and recipe.curate is not None
    assert (recipe.generate.num, recipe.generate.method, recipe.curate.novelty) == (5, "alpaca", 0.7)
    assert recipe.train is None and recipe.import_ == ()


def test_a_recipe_never_changes(path: Path) -> None:
    recipe = load(path, EVERY)
    assert recipe.generate is not None
    with pytest.raises(ValidationError):
        recipe.name = "y"  # type: ignore[misc]
    with pytest.raises(ValidationError):
        recipe.generate.answer.turns = 3  # type: ignore[misc]


def test_no_knob_is_one_that_has_moved(path: Path) -> None:
    """A recipe of an older form is told, key by key, and never read as something else."""
    old = "name: x\nteacher:\n  model: openai:y\n  context: 9\ngenerate:\n  system: Short.\n  max_tokens: 9\n"
    said = problems(path, old + "  min_p: 0.1\n  per_call: 4\n")
    places = [":4: teacher.context", ":6: generate.system", ":7: generate.max_tokens", ":8: generate.min_p"]
    for place in (*places, ":9: generate.per_call"):
        assert f"{path}{place}: unknown key" in said


def test_paths_start_at_the_recipes_folder(path: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = project / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("HOME", str(elsewhere))
    path.write_text(f"name: x\nimport: [{{path: a.csv}}, {{path: {project}/b.csv}}, {{path: ~/c.csv}}]\n")
    recipe = load_recipe(Path("../recipe.yaml"))
    assert [source.path for source in recipe.import_] == [project / "a.csv", project / "b.csv", elsewhere / "c.csv"]


@pytest.mark.parametrize("word", ["on", "off", "yes", "no", "y", "n", "2024-99-99"])
def test_a_word_is_a_word(path: Path, word: str) -> None:
    """`on` is a key of eval, and `no` a language: YAML 1.1 takes both for booleans, and more for dates."""
    text = f"name: {word}\neval: {{on: [merged], against: none, questions: [{word}]}}\nstudent: {{base: {word}}}\n"
    recipe = load(path, text)
    assert recipe.eval is not None and recipe.student is not None
    assert (recipe.name, recipe.student.base, recipe.eval.questions) == (word, word, (word,))
    assert recipe.eval.on == ("merged",)
    assert parse_overrides(["--name", word]) == {"name": word}


# -- what is wrong


def test_an_unknown_key_gets_the_nearest_and_its_line(path: Path) -> None:
    said = problems(path, "name: x\ntrain:\n  lora:\n    rr: 3\nstudent: {base: y}\n")
    assert said == f"{path}:4: train.lora.rr: unknown key; did you mean r?"
    assert "did you mean generate?" in problems(path, "name: x\ngenerat: {}\n")
    said = problems(path, "name: x\nbudget: {zzz: 1}\n")
    assert (
        said
        == f"{path}:2: budget.zzz: unknown key; known keys: hour_usd, max_cost_usd, max_minutes, max_tokens, share."
    )
    assert f"{path}:3: import.0.fromat: unknown key; did you mean format?" in problems(
        path, "name: x\nimport:\n - fromat: csv\n   path: y\n"
    )


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ("train: {epochs: many}", "train.epochs"),
        ("train: {epochs: 0}", "train.epochs"),
        ("train: {epochs: .nan}", "train.epochs"),
        ("train: {learning_rate: -1}", "train.learning_rate"),
        ("student: {base: y, max_seq_length: 0}", "student.max_seq_length"),
        ("train: [1]", "train"),
        ("curate: {test: 1.5}", "curate.test"),
        ("export: {quant: [q3]}", "export.quant.0"),
        ("export: {quant: q8_0}", "export.quant"),
        ("eval: {on: [q8_0, f16]}", "eval.on.1"),
        ("generate: {num: 0}", "generate.num"),
        ("generate: {num: 1.5}", "generate.num"),
        ("generate: {method: revolve}", "generate.method"),
        ("generate: {answer: {max_tokens: 7}}", "generate.answer.max_tokens"),
        ("generate: {answer: {turns: 0}}", "generate.answer.turns"),
        ("generate: {alpaca: {per_call: 21}}", "generate.alpaca.per_call"),
        ("generate: {variety: {attributes: {tone: dry}}}", "generate.variety.attributes.tone"),
        ("generate: {documents: {words: 100}}", "generate.documents.path"),
        ("import: {path: x}", "import"),
        ("import: [{}]", "import.0.path"),
        ("teacher: {}", "teacher.model"),
        ("teacher: {model: x, concurrency: 0}", "teacher.concurrency"),
        ("teacher: {model: x, price: {input: -1, output: 1}}", "teacher.price.input"),
        ("teacher: {model: x, price: {input: 1}}", "teacher.price.output"),
        ("teacher: {model: x, timeout_s: 0}", "teacher.timeout_s"),
        ("teacher: {model: x, local: {context: 9}}", "teacher.local.context"),
        ("teacher: {model: x, reasoning: {effort: great}}", "teacher.reasoning.effort"),
        ("teacher: {model: x, azure: {identity: guess}}", "teacher.azure.identity"),
        ("budget: {max_minutes: 0}", "budget.max_minutes"),
        ("budget: {share: {generate: 1.1}}", "budget.share.generate"),
        ("budget: {share: {train: 0.5}}", "budget.share.train"),
        ("student: {base: y, max_seq_length: lots}", "student.max_seq_length"),
        ("language: e", "language"),
        ("run_on: moon", "run_on"),
        ("budget: {max_tokens: 0}", "budget.max_tokens"),
        ("3: x", "3"),
    ],
)
def test_a_wrong_value_is_told_with_its_place(path: Path, line: str, place: str) -> None:
    said = problems(path, f"name: x\n{line}\n")
    assert said.startswith(f"{path}:2: {place}")
    assert len(said) > len(f"{path}:2: {place}: ") + 5


@pytest.mark.parametrize("name", ["", "a/b", "..", ".x", "a b", "é", "x" * 65, "a\\b", "CON\n"])
def test_a_name_that_is_no_folder_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="name"):
        check_recipe({"name": name}, "r")


def test_all_problems_are_shown_together(path: Path) -> None:
    said = problems(path, "name: x y\ntrain:\n  epoch: 3\n  seed: z\nbuget: {}\nteacher: {}\n")
    lines = said.splitlines()
    assert len(lines) == 5
    for start in (":1: name:", ":3: train.epoch:", ":4: train.seed:", ":5: buget:", ":6: teacher.model:"):
        assert any(line.startswith(f"{path}{start}") for line in lines), start


def test_what_a_stage_needs_is_told_before_it_starts(path: Path) -> None:
    said = problems(path, "name: x\ngenerate: {}\ntrain: {}\nexport: {quant: [f16]}\neval: {on: [q8_0]}\n")
    assert said.count("needs a student") == 3
    assert "generate needs a teacher" in said and "eval against the teacher needs one" in said
    assert f"{path}:5: eval.on: q8_0 is not exported" in said


@pytest.mark.parametrize(
    ("rest", "place", "words"),
    [
        ("generate: {method: answer}", "4: generate.method", "answer: true"),
        ("import: [{path: a.csv, answer: true}]", "4: import", "generate: {method: answer}"),
        ("generate: {}\nimport: [{path: a.csv, answer: true}]", "5: import", "generate: {method: answer}"),
        ("generate: {method: documents}", "4: generate.documents", "documents: {path: folder}"),
    ],
)
def test_what_a_method_needs_is_told_before_it_starts(path: Path, rest: str, place: str, words: str) -> None:
    head = "name: x\nteacher:\n  model: openai:y\n"
    said = problems(path, head + rest)
    assert said.startswith(f"{path}:{place}: ") and words in said
    assert len(said.splitlines()) == 1


def test_borrowed_prompts_have_a_teacher_that_answers(path: Path) -> None:
    for method in ("answer", "evolve"):
        text = f"name: x\nteacher: {{model: openai:y}}\ngenerate: {{method: {method}}}\n"
        assert load(path, text + "import: [{path: a.csv, answer: true}]").import_[0].answer


@pytest.mark.parametrize("text", ["", "just words", "- a", "3", "null", "# nothing"])
def test_what_is_no_mapping_is_refused(path: Path, text: str) -> None:
    assert f"{path}: a recipe is a mapping" in problems(path, text)


@pytest.mark.parametrize(
    ("text", "line"),
    [("name: [", 1), ("name: x\n\tb: 1", 2), ("name: x\n? [a]\n: b", 2), ("name: !!python/name:os x", 1)],
)
def test_what_is_not_yaml_is_told_with_its_line(path: Path, text: str, line: int) -> None:
    assert problems(path, text).startswith(f"{path}:{line}: not YAML")


def test_a_file_that_cannot_be_read_is_told(path: Path, project: Path) -> None:
    assert "is not UTF-8 (byte 6)" in problems(path, b"name: \xff")
    assert "not YAML" in problems(path, "name: \x00")
    with pytest.raises(UserError, match=r"no recipe at .*yearling init"):
        load_recipe(project / "none.yaml")
    with pytest.raises(UserError, match="cannot be read"):
        load_recipe(project)


@pytest.mark.parametrize(
    "value", ["0b_", "9" * 5000, "!!float x", "!!int x", "&a [*a]", "[" * 2000], ids=lambda value: value[:12]
)
def test_a_value_that_yaml_cannot_make_is_told(path: Path, value: str) -> None:
    assert str(path) in problems(path, f"name: x\nlanguage: {value}\n")


@pytest.mark.parametrize("value", ["!!bool x", "!!timestamp x", "!!int"])
def test_a_tag_that_does_not_fit_its_value_is_told(path: Path, value: str) -> None:
    assert str(path) in problems(path, f"name: x\nlanguage: {value}\n")


def test_a_home_that_there_is_not_is_told(path: Path) -> None:
    problems(path, "name: x\nimport: [{path: ~nobody-of-that-name/x}]\n")


def test_no_number_is_infinite(path: Path) -> None:
    problems(path, "name: x\ntrain: {learning_rate: .inf}\nstudent: {base: y}\n")


# -- overrides


def test_flags_are_read_as_yaml_reads_them() -> None:
    tokens = ["--train.learning-rate", "1e-4", "--train.epochs=2", "--curate.novelty", "null", "--curate.off=[shape]"]
    tokens += [
        "--export.quant",
        "[f16, q8_0]",
        "--generate.answer.system",
        "a: b: c",
        "--name=x=y",
        "--train.warmup",
        "5E-2",
    ]
    assert parse_overrides(tokens) == {
        "train.learning_rate": 1e-4,
        "train.epochs": 2,
        "curate.novelty": None,
        "curate.off": ["shape"],
        "export.quant": ["f16", "q8_0"],
        "generate.answer.system": "a: b: c",
        "name": "x=y",
        "train.warmup": 0.05,
    }
    assert parse_overrides([]) == {}
    assert parse_overrides(["--train.seed", "-3"]) == {"train.seed": -3}


@pytest.mark.parametrize("tokens", [["train.epochs", "2"], ["--"], ["--=3"], ["--train.epochs"], ["-x", "1"]])
def test_what_is_no_flag_is_told(tokens: list[str]) -> None:
    with pytest.raises(UserError):
        parse_overrides(tokens)


def test_a_date_that_there_is_not_is_text() -> None:
    assert parse_overrides(["--name", "2024-99-99"]) == {"name": "2024-99-99"}


def test_overrides_win_over_the_file(path: Path) -> None:
    text = "name: x\ntrain: {epochs: 1, lora: {r: 4}}\nstudent: {base: y}\nexport:\n"
    recipe = load(path, text, parse_overrides(["--train.learning-rate", "1e-4", "--train.lora.alpha=9", "--name", "z"]))
    assert recipe.train is not None
    assert (recipe.name, recipe.train.epochs, recipe.train.learning_rate) == ("z", 1, 1e-4)
    assert (recipe.train.lora.r, recipe.train.lora.alpha) == (4, 9)
    recipe = load(path, text, {"export.quant": ["f16"], "eval.against": "none", "eval.on": ["merged"]})
    assert recipe.export is not None and recipe.eval is not None
    assert recipe.export.quant == ("f16",), "an empty section can be written into"


def test_a_wrong_override_is_told(path: Path) -> None:
    said = problems(path, "name: x\nlanguage: en\n", {"language.x": 1})
    assert said == "--language.x: language is not a section of this recipe."
    assert "train.epohcs: unknown key; did you mean epochs?" in problems(path, "name: x\n", {"train.epohcs": 1})
    assert math.isclose(1e-4, parse_overrides(["--a", "1e-4"])["a"])
