"""Every knob, once: flags, YAML keys, help, JSON schema and docs/knobs.md derive from these models.

In: a YAML file and overrides such as `train.learning_rate=1e-4`. Out: a frozen, checked Recipe.
Does not look at the machine: what depends on hardware or data is derived, and frozen, by the stages.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from yearling.errors import UserError

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Quant = Literal["f16", "q8_0", "q4_k_m"]
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"


class _Loader(yaml.SafeLoader):
    """YAML with the scalars of version 1.2: `on` is a key like any other, 1e-4 a number, 2026-01-31 a text."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - the library's own table
        first: [
            (tag, pattern) for tag, pattern in found if tag.rpartition(":")[2] not in ("bool", "float", "timestamp")
        ]
        for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]+)?|\.(inf|Inf|INF)|\.(nan|NaN|NAN))$"),
    list("-+.0123456789"),
)


class Section(BaseModel):
    """A section of the recipe: unknown keys are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False)


class Price(Section):
    """What the teacher's endpoint charges."""

    input: float = Field(ge=0, description="US dollars per million prompt tokens")
    output: float = Field(ge=0, description="US dollars per million completion tokens, hidden reasoning included")


class Teacher(Section):
    """The bigger model that writes the data."""

    model: str = Field(description="openai:<model>, or local:<file.gguf | hf repo/file.gguf | shipped:name>")
    base_url: str | None = Field(
        None, description="the OpenAI-compatible endpoint, as given: nothing is appended to it"
    )
    api_key_env: str = Field("OPENAI_API_KEY", description="environment variable that holds the key")
    price: Price | None = Field(None, description="without it the cost is unknown (a local teacher costs nothing)")
    template: Path | None = Field(None, description="the teacher's chat template, where only raw completion is served")
    concurrency: int = Field(8, ge=1, le=256, description="calls in flight at once")
    context: int = Field(2048, ge=256, description="tokens of context for one call of a local teacher")


class Budget(Section):
    """Caps that bind: reserved before each call, settled after it."""

    max_cost_usd: float | None = Field(None, ge=0, description="stop before this many US dollars")
    max_tokens: int | None = Field(None, ge=1, description="stop before this many teacher tokens")


class Generate(Section):
    """Birth: the teacher writes instructions and answers them."""

    method: Literal["magpie", "alpaca"] = Field("alpaca", description="how instructions are made")
    num: int = Field(1000, ge=1, description="rows wanted; raised later it tops up, nothing is made again")
    seeds: Path | None = Field(None, description="seed tasks as JSONL (alpaca); without it the shipped ones")
    system: str | None = Field(None, description="system turn under which the teacher answers")
    max_tokens: int = Field(512, ge=8, description="limit of an answer; an unfinished one is rejected, never cut")
    temperature: float = Field(1.0, ge=0, le=2, description="sampling temperature of instructions")
    answer_temperature: float = Field(0.7, ge=0, le=2, description="sampling temperature of answers")
    min_p: float = Field(0.05, ge=0, le=1, description="minimum probability relative to the best token (local only)")
    per_call: int = Field(8, ge=1, le=20, description="new tasks asked of one call (alpaca)")
    demonstrations: int = Field(3, ge=1, le=16, description="seed tasks shown in one call (alpaca)")
    attempts: float = Field(8.0, ge=1, description="give up after this many attempts for each row wanted")
    seed: int = Field(42, description="seed of the plan: call k asks the same on every run")


class Source(Section):
    """One data set to import."""

    path: Path = Field(description="a file, or a folder of files of one format")
    format: Literal["auto", "alpaca", "sharegpt", "messages", "prompt-completion", "csv", "parquet"] = Field(
        "auto", description="auto looks at the rows and says what it decided and why"
    )
    licence: str = Field("unknown", description="licence of the data, kept with each record")


class Length(Section):
    """The length judge, in words."""

    min_prompt: int = Field(2, ge=0, description="fewest words of a prompt")
    max_prompt: int = Field(400, ge=1, description="most words of a prompt")
    min_completion: int = Field(1, ge=0, description="fewest words of a completion")
    max_completion: int = Field(800, ge=1, description="most words of a completion")


class Curate(Section):
    """Judgement: each judge leaves a verdict on each record, nothing is deleted."""

    length: Length = Field(default_factory=lambda: Length(), description="limits of the length judge")
    shape: bool = Field(True, description="reject empty, unfinished, echoing and malformed rows")
    refusal: bool = Field(True, description="reject refusals and assistant boilerplate")
    exact: bool = Field(True, description="keep the first of exact duplicates")
    novelty: Share | None = Field(
        0.7, description="reject above this ROUGE-L F to an earlier prompt; null switches off"
    )
    test: Share = Field(0.1, description="share of prompts held out for eval, chosen by hash")


class Student(Section):
    """The small model that learns."""

    base: str = Field(description="hub name, folder, file.gguf, or shipped:name")
    template: str | None = Field(None, description="a shipped template (plain, alpaca, chatml) or a .jinja file")
    max_seq_length: int | Literal["auto"] = Field(
        "auto", description="auto holds the longest row; cut rows are refused"
    )


class Lora(Section):
    """Low-rank adapter (Hu et al. 2021)."""

    r: int = Field(16, ge=1, le=1024, description="rank")
    alpha: int = Field(32, ge=1, description="scale numerator")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout on the adapter's input")
    targets: Literal["all-linear", "attention"] = Field("all-linear", description="layers that get an adapter")


class Train(Section):
    """School: the student learns the accepted rows of the train split."""

    method: Literal["lora"] = Field("lora", description="how weights are tuned")
    lora: Lora = Field(default_factory=lambda: Lora(), description="adapter settings")
    epochs: float = Field(2.0, gt=0, description="passes over the data")
    learning_rate: float = Field(2e-4, gt=0, description="peak learning rate")
    batch_size: int = Field(4, ge=1, description="rows a step on one device")
    accumulate: int = Field(1, ge=1, description="steps whose gradients are added before an update")
    warmup: Share = Field(0.05, description="share of the steps that warm the learning rate up")
    schedule: Literal["cosine", "linear", "constant"] = Field("cosine", description="learning rate after the warm-up")
    save_every: int = Field(10, ge=1, description="updates between checkpoints")
    seed: int = Field(42, description="order of the rows and start of the adapter")


class Export(Section):
    """Press: the adapter is merged and written as files that run anywhere."""

    quant: tuple[Quant, ...] = Field(("f16", "q4_k_m"), description="GGUF files to write")
    ollama: bool = Field(True, description="write an Ollama Modelfile beside the GGUF")
    parity_rows: int = Field(24, ge=1, description="held-out rows on which files and merged model are compared")


class Eval(Section):
    """Exam: base, student and teacher answer held-out prompts."""

    against: Literal["teacher", "none"] = Field("teacher", description="whom the student is compared with")
    on: tuple[Literal["merged", "q8_0", "q4_k_m"], ...] = Field(
        ("merged", "q4_k_m"), description="student files to ask"
    )
    max_rows: int = Field(200, ge=1, description="held-out rows asked, the first by hash")
    max_tokens: int = Field(256, ge=1, description="limit of an answer; a longer one did not stop by itself")
    questions: tuple[str, ...] = Field((), description="questions of your own, answered side by side in the report")


class Recipe(Section):
    """One run from teacher to file; a missing stage is skipped."""

    name: str = Field(pattern=NAME, description="name of the run folder")
    language: str = Field("en", min_length=2, max_length=35, description="BCP 47 tag of the language to write in")
    teacher: Teacher | None = Field(None, description="needed by generate, and by eval against the teacher")
    budget: Budget = Field(default_factory=lambda: Budget(), description="caps on what the teacher may cost")
    generate: Generate | None = None
    import_: tuple[Source, ...] = Field((), alias="import", description="data sets to bring in")
    curate: Curate | None = None
    student: Student | None = Field(None, description="needed by train, export and eval")
    train: Train | None = None
    export: Export | None = None
    eval: Eval | None = None
    run_on: Literal["local"] = Field("local", description="where the stages run")


def load_recipe(path: Path, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Read, override and check a recipe; relative paths start at the recipe's folder.

    `overrides` maps dotted keys to values. Raises UserError naming every problem with its line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"no recipe at {path}. `yearling init` writes one.") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 (byte {error.start}). Save it as UTF-8.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None
    try:
        lines = _lines(yaml.compose(text, Loader=_Loader))
        data = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        said = " ".join(str(getattr(error, "problem", error)).split())
        raise UserError(f"{where}: not YAML: {said}. `yearling init` writes a recipe to compare with.") from None
    except (ValueError, LookupError, AttributeError, RecursionError) as error:  # a tag that does not fit its value
        raise UserError(f"{path}: not a recipe that can be read: {error}.") from None
    if not isinstance(data, dict):
        found = "empty" if data is None else type(data).__name__
        raise UserError(f"{path}: a recipe is a mapping with a `name:`, this is {found}. `yearling init` writes one.")
    for key, value in (overrides or {}).items():
        _override(data, key, value)
    recipe = check_recipe(data, str(path), lines)
    return _absolute(recipe, path.resolve().parent)


def check_recipe(data: Mapping[str, Any], where: str, lines: Mapping[str, int] | None = None) -> Recipe:
    """Check a recipe given as plain values; raises UserError that lists all problems at once."""
    try:
        recipe = Recipe.model_validate(data)
        problems = _missing(recipe)
    except ValidationError as error:
        problems = [_problem(item) for item in error.errors(include_url=False)]
    if not problems:
        return recipe
    shown = []
    for key, message in problems:
        line = _nearest(lines or {}, key)
        shown.append(f"{where}{f':{line}' if line else ''}: {key}: {message}")
    raise UserError("\n".join(shown))


def parse_overrides(tokens: Sequence[str]) -> dict[str, Any]:
    """`--train.learning-rate 1e-4` or `--train.epochs=2` to {"train.learning_rate": 1e-4, ...}."""
    found: dict[str, Any] = {}
    rest = list(tokens)
    while rest:
        token = rest.pop(0)
        name, equals, value = token.removeprefix("--").partition("=")
        if not token.startswith("--") or not name:
            raise UserError(f"unexpected argument {token!r}. A knob is written as --section.key value.")
        if not equals:
            if not rest:
                raise UserError(f"{token} needs a value, for example {token} 1.")
            value = rest.pop(0)
        found[name.replace("-", "_")] = _scalar(value)
    return found


def _scalar(text: str) -> Any:
    """A flag's value as the recipe's YAML reads it."""
    try:
        return yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError, LookupError, AttributeError):
        return text


def _override(data: dict[str, Any], dotted: str, value: Any) -> None:
    *parents, last = dotted.split(".")
    for part in parents:
        inner = data.setdefault(part, {})
        if inner is None:
            inner = data[part] = {}
        if not isinstance(inner, dict):
            raise UserError(f"--{dotted}: {part} is not a section of this recipe.")
        data = inner
    data[last] = value


def _missing(recipe: Recipe) -> list[tuple[str, str]]:
    needs: list[tuple[str, str]] = []
    if recipe.teacher is None:
        if recipe.generate:
            needs.append(("teacher", "generate needs a teacher, for example `teacher: {model: openai:<model>}`"))
        if recipe.eval and recipe.eval.against == "teacher":
            needs.append(("teacher", "eval against the teacher needs one; or set `eval: {against: none}`"))
    for stage in ("train", "export", "eval"):
        if getattr(recipe, stage) and recipe.student is None:
            needs.append(
                ("student", f"{stage} needs a student, for example `student: {{base: HuggingFaceTB/SmolLM2-135M}}`")
            )
    if recipe.eval and recipe.export:
        absent = [name for name in recipe.eval.on if name != "merged" and name not in recipe.export.quant]
        needs += [("eval.on", f"{name} is not exported; add it to export.quant") for name in absent]
    return needs


def _problem(item: Any) -> tuple[str, str]:
    location = [part for part in item["loc"]]
    key = ".".join(str(part) for part in location) or "recipe"
    if item["type"] == "extra_forbidden":
        known = _fields_at(location[:-1])
        near = difflib.get_close_matches(str(location[-1]), known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known keys: {', '.join(sorted(known))}."
        return key, f"unknown key; {hint}"
    if item["type"] == "missing":
        return key, "is missing."
    if item["type"] == "string_pattern_mismatch" and key == "name":
        return key, f"{item['input']!r} is no name for a folder; use letters, digits, . _ - (at most 64)."
    return key, f"{item['msg'][0].lower()}{item['msg'][1:]}; got {item['input']!r}."


def _fields_at(location: Sequence[Any]) -> list[str]:
    model: type[BaseModel] = Recipe
    for part in location:
        if isinstance(part, int):
            continue
        field = next((f for n, f in model.model_fields.items() if part in (n, f.alias)), None)
        inner = _model_in(field.annotation) if field else None
        if inner is None:
            return []
        model = inner
    return [field.alias or name for name, field in model.model_fields.items()]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = (_model_in(argument) for argument in getattr(annotation, "__args__", ()))
    return next((model for model in inner if model), None)


def _lines(node: yaml.Node | None, prefix: str = "") -> dict[str, int]:
    found: dict[str, int] = {}
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            path = f"{prefix}{key.value}"
            if path in found and key.value != "<<":
                raise yaml.MarkedYAMLError(problem=f"{path} is given twice", problem_mark=key.start_mark)
            found[path] = key.start_mark.line + 1
            found.update(_lines(value, path + "."))
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            found[f"{prefix}{index}"] = value.start_mark.line + 1
            found.update(_lines(value, f"{prefix}{index}."))
    return found


def _nearest(lines: Mapping[str, int], key: str) -> int | None:
    while key and key not in lines:
        key = key.rpartition(".")[0]
    return lines.get(key)


def _absolute(recipe: Recipe, folder: Path) -> Recipe:
    def under(path: Path | None) -> Path | None:
        try:
            return folder / path.expanduser() if path else None
        except RuntimeError:
            raise UserError(f"{path}: there is no such user's home. Write the path whole.") from None

    changes: dict[str, Any] = {
        "import_": tuple(s.model_copy(update={"path": under(s.path)}) for s in recipe.import_),
    }
    if recipe.generate:
        changes["generate"] = recipe.generate.model_copy(update={"seeds": under(recipe.generate.seeds)})
    if recipe.teacher:
        changes["teacher"] = recipe.teacher.model_copy(update={"template": under(recipe.teacher.template)})
    return recipe.model_copy(update=changes)
