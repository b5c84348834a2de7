"""A recipe read from YAML: overridden, checked, every problem told at once with its line.

In: a file and overrides such as `train.learning_rate=1e-4`. Out: a Recipe whose paths are absolute.
Does not know what a knob means, only what a recipe lacks as a whole.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from yearling.errors import UserError
from yearling.places import remote
from yearling.recipe import BRANCHES, Recipe

FORM = re.compile(r"(constrained-)?(float|int)$|literal\[")  # what pydantic calls the forms of a number or a word


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
    recipe = check_recipe(overridden(data, overrides or {}), str(path), lines)
    return _absolute(recipe, path.resolve().parent)


def check_recipe(data: Mapping[str, Any], where: str, lines: Mapping[str, int] | None = None) -> Recipe:
    """Check a recipe given as plain values; raises UserError that lists all problems at once."""
    try:
        recipe = Recipe.model_validate(data)
        problems = _missing(recipe)
    except ValidationError as error:
        problems = [_problem(item) for item in _whole(error.errors(include_url=False))]
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


def overridden(data: dict[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Plain values of a recipe with dotted keys set in them; raises UserError where a key is no section."""
    for key, value in overrides.items():
        _override(data, key, value)
    return data


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
        if recipe.curate and recipe.curate.judge:
            needs.append(("teacher", "curate.judge needs a teacher that marks the rows; or leave it out"))
        if recipe.curate and recipe.curate.toxic == "teacher":
            needs.append(("teacher", "curate.toxic: teacher needs one; or leave it to the lexicon"))
        if recipe.eval and recipe.eval.against == "teacher":
            needs.append(("teacher", "eval against the teacher needs one; or set `eval: {against: none}`"))
    for stage in ("train", "export", "eval"):
        if getattr(recipe, stage) and recipe.student is None:
            needs.append(
                ("student", f"{stage} needs a student, for example `student: {{base: HuggingFaceTB/SmolLM2-135M}}`")
            )
    needs += _method_needs(recipe)
    if recipe.eval and recipe.export:
        absent = [name for name in recipe.eval.on if name != "merged" and name not in recipe.export.quant]
        needs += [("eval.on", f"{name} is not exported; add it to export.quant") for name in absent]
    return needs


def _method_needs(recipe: Recipe) -> list[tuple[str, str]]:
    """What the chosen way of making data needs beside itself."""
    method = recipe.generate.method if recipe.generate else None
    needs: list[tuple[str, str]] = []
    borrowed = any(source.answer for source in recipe.import_)
    if borrowed and method not in ("answer", "evolve"):
        needs.append(("import", "answer: true needs a teacher that answers; add `generate: {method: answer}`"))
    if method == "answer" and not borrowed:
        needs.append(("generate.method", "answer needs prompts; add `import: [{path: data.jsonl, answer: true}]`"))
    if method == "documents" and recipe.generate and recipe.generate.documents is None:
        needs.append(("generate.documents", "is missing; add `documents: {path: folder}` to generate"))
    return needs


def _whole(items: Sequence[Any]) -> list[Any]:
    """What pydantic finds wrong, one item a key: of a key that may be a number or a word it finds two things wrong."""
    found: list[Any] = []
    for item in items:
        place = tuple(part for part in item["loc"] if not FORM.match(str(part)))
        if found and len(place) < len(item["loc"]) and found[-1]["loc"] == place:
            found[-1]["msg"] += f", or {item['msg'].removeprefix('Input should be ')}"
        else:
            found.append(item | {"loc": place})
    return found


def _problem(item: Any) -> tuple[str, str]:
    location = [part for part in item["loc"] if part not in BRANCHES]
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
    if item["type"] == "string_pattern_mismatch" and key == "run_on":
        return (
            key,
            f"{item['input']!r} is no place to run on; there are local, ray, ray:host:port, and `azureml: {{…}}`.",
        )
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
    def under(path: Path) -> Path:
        if str(path).startswith("hf:") or remote(path):
            return path
        try:
            return folder / path.expanduser()
        except RuntimeError:
            raise UserError(f"{path}: there is no such user's home. Write the path whole.") from None

    return with_paths(recipe, under)


def with_paths(recipe: Recipe, change: Callable[[Path], Path]) -> Recipe:
    """The recipe with all its paths changed; the student's base is one where it lies on Azure."""

    def some(path: Path | None) -> Path | None:
        return change(path) if path else None

    changes: dict[str, Any] = {
        "import_": tuple(s.model_copy(update={"path": change(s.path)}) for s in recipe.import_),
    }
    if made := recipe.generate:
        variety = {name: some(getattr(made.variety, name)) for name in ("personas", "systems", "prompts")}
        update: dict[str, Any] = {"seeds": some(made.seeds), "variety": made.variety.model_copy(update=variety)}
        if made.documents:
            update["documents"] = made.documents.model_copy(update={"path": change(made.documents.path)})
        changes["generate"] = made.model_copy(update=update)
    if judged := recipe.curate:
        update = {"decontaminate": tuple(map(change, judged.decontaminate))}
        if judged.judge:
            update["judge"] = judged.judge.model_copy(update={"rubric": some(judged.judge.rubric)})
        changes["curate"] = judged.model_copy(update=update)
    if recipe.train:
        lora = recipe.train.lora.model_copy(update={"start": some(recipe.train.lora.start)})
        changes["train"] = recipe.train.model_copy(update={"lora": lora})
    if recipe.teacher:
        changes["teacher"] = recipe.teacher.model_copy(update={"template": some(recipe.teacher.template)})
    if recipe.student and remote(recipe.student.base):
        base = Path(recipe.student.base)
        changes["student"] = recipe.student.model_copy(update={"base": remote(change(base)) or str(change(base))})
    return recipe.model_copy(update=changes)
