"""The stages in one tuple, in order, and what it means to run them.

In: a recipe and a project folder. Out: a run folder with one manifest a stage.
A stage whose key has not changed is not run again; one begun under another key starts with an empty folder.
"""

from __future__ import annotations

import importlib.metadata
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yearling.cloud.copying import here
from yearling.errors import UserError
from yearling.progress import say
from yearling.recipe import Recipe
from yearling.record import digest
from yearling.run_folder import Manifest, Run, folder_digest, read_json, stage_key, write_json
from yearling.train.ranks import ranks_asked

Counts = dict[str, int]
Facts = dict[str, Any]
PACKAGES = ("yearling", "xllamacpp", "gguf", "torch", "transformers", "peft")


@dataclass(frozen=True)
class Stage:
    """One verb: what its key depends on, what it does, which folders are its own,
    and of which patterns each must find a file where it is done.

    `version` is bumped by hand when the same settings and inputs would give another result.
    """

    name: str
    version: int
    wanted: Callable[[Recipe], bool]
    settings: Callable[[Recipe], Facts]
    inputs: Callable[[Recipe, Run], dict[str, str]]
    work: Callable[[Recipe, Run], tuple[Counts, Facts, Facts]]
    folders: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()


def _dump(value: Any, *without: str) -> Facts:
    dumped: Facts = value.model_dump(mode="json", exclude=set(without)) if value is not None else {}
    return dumped


def _teacher(recipe: Recipe) -> Facts:
    """What of the teacher decides its answers; how fast and at what price they come does not."""
    return _dump(recipe.teacher, "price", "concurrency", "api_key_env", "timeout_s", "batch", "azure")


def _ids(recipe: Recipe, run: Run, split: str) -> str:
    from yearling.measure.accepted import accepted_split

    return digest([record.id for record in accepted_split(run, recipe, split)])  # type: ignore[arg-type]


def _generate(recipe: Recipe, run: Run) -> tuple[Counts, Facts, Facts]:
    from yearling.generate.stage import run_generate

    counts, results = run_generate(recipe, run)
    return counts, results, {}


def _generate_settings(recipe: Recipe) -> Facts:
    novelty = recipe.curate.novelty if recipe.curate else 0.7
    return {
        "generate": _dump(recipe.generate),
        "teacher": _teacher(recipe),
        "language": recipe.language,
        "novelty": novelty,
    }


def _generate_inputs(recipe: Recipe, run: Run) -> dict[str, str]:
    from yearling.generate.stage import digest_inputs

    return digest_inputs(recipe, run)


def _import(recipe: Recipe, run: Run) -> tuple[Counts, Facts, Facts]:
    from yearling.sources.stage import run_import

    return run_import(recipe, run, recipe.generate.num if recipe.generate else 0), {}, {}


def _import_inputs(recipe: Recipe, run: Run) -> dict[str, str]:
    from yearling.sources.read import digest_source

    return {str(source.path): digest_source(source) for source in recipe.import_}


def _curate(recipe: Recipe, run: Run) -> tuple[Counts, Facts, Facts]:
    from yearling.curate.stage import run_curate
    from yearling.recipe import Source
    from yearling.sources.read import read_source

    assert recipe.curate is not None
    questions = [
        (record.origin.source, record.prompt)
        for path in recipe.curate.decontaminate
        for record in read_source(Source(path=path, answer=True), 0)[0]
    ]
    return run_curate(recipe, run, questions), {}, {}


def _curate_settings(recipe: Recipe) -> Facts:
    asked = recipe.curate is not None and (recipe.curate.judge is not None or recipe.curate.toxic == "teacher")
    return {
        "curate": _dump(recipe.curate),
        "language": recipe.language,
        "exam": list(recipe.eval.questions if recipe.eval else ()),
        "teacher": _teacher(recipe) if asked else None,
    }


def _curate_inputs(recipe: Recipe, run: Run) -> dict[str, str]:
    from yearling.curate.corpus import open_corpus
    from yearling.measure.accepted import kept
    from yearling.record import file_digest

    files = recipe.curate.decontaminate if recipe.curate else ()
    inputs = {"records": open_corpus(run).digest, **{str(path): file_digest(path) for path in files}}
    return inputs | ({"kept": digest(sorted(kept(run)))} if kept(run) else {})


def _train(recipe: Recipe, run: Run) -> tuple[Counts, Facts, Facts]:
    from yearling.train.stage import run_train

    return run_train(recipe, run)


def _train_inputs(recipe: Recipe, run: Run) -> dict[str, str]:
    rows, start = _ids(recipe, run, "train"), recipe.train.lora.start if recipe.train else None
    return {"rows": rows, **({"start": folder_digest(start, "*")} if start else {})}


def _export(recipe: Recipe, run: Run) -> tuple[Counts, Facts, Facts]:
    from yearling.export.stage import run_export

    return run_export(recipe, run)


def _eval(recipe: Recipe, run: Run) -> tuple[Counts, Facts, Facts]:
    from yearling.evaluate.stage import run_eval

    return run_eval(recipe, run)


def _eval_settings(recipe: Recipe) -> Facts:
    asked = (
        {"seed": recipe.generate.seed, **_dump(recipe.generate.answer, "max_tokens", "turns")}
        if recipe.generate
        else {}
    )
    return {"eval": _dump(recipe.eval), "student": _dump(recipe.student), "teacher": _teacher(recipe), "answers": asked}


def _eval_inputs(recipe: Recipe, run: Run) -> dict[str, str]:
    manifest = run.manifest("export")
    if manifest is None:
        raise UserError("eval needs exported files. Run `yearling export` first.")
    return {"export": manifest.key, "test": _ids(recipe, run, "test"), "train": _ids(recipe, run, "train")}


STAGES: tuple[Stage, ...] = (
    Stage(
        "import",
        1,
        lambda r: bool(r.import_),
        lambda r: {"import": [_dump(source, "azure") for source in r.import_]},
        _import_inputs,
        _import,
    ),
    Stage(
        "generate",
        2,
        lambda r: r.generate is not None,
        _generate_settings,
        _generate_inputs,
        _generate,
        evidence=("records/generate-00000.parquet",),
    ),
    Stage(
        "curate",
        2,
        lambda r: r.curate is not None,
        _curate_settings,
        _curate_inputs,
        _curate,
        evidence=("verdicts",),
    ),
    Stage(
        "train",
        2,
        lambda r: r.train is not None,
        lambda r: {"train": _dump(r.train, "save_every", "track"), "student": _dump(r.student)},
        _train_inputs,
        _train,
        folders=("train", "adapter"),
        evidence=("adapter/*model*.safetensors",),
    ),
    Stage(
        "export",
        1,
        lambda r: r.export is not None,
        lambda r: {"export": _dump(r.export), "student": _dump(r.student)},
        lambda r, run: {"adapter": folder_digest(run.adapter, "*"), "rows": _ids(r, run, "test")},
        _export,
        folders=("export",),
        evidence=("export",),
    ),
    Stage(
        "eval",
        1,
        lambda r: r.eval is not None,
        _eval_settings,
        _eval_inputs,
        _eval,
        folders=("eval",),
        evidence=("eval/exam.json", "eval/report.html"),
    ),
)


def run_stages(recipe: Recipe, root: Path, names: Sequence[str] | None = None) -> Run:
    """Run the recipe's stages in order, or those named; finished ones are passed over.

    Raises UserError (and its children) where a stage cannot be done; what is done stays done.
    """
    run = Run(root, recipe.name)
    chosen = [stage for stage in STAGES if (names is None or stage.name in names) and stage.wanted(recipe)]
    if not chosen:
        what = " or ".join(names) if names else "any stage"
        example = "import: [{path: data.jsonl}]" if names and "import" in names else f"{(names or ['curate'])[0]}: {{}}"
        raise UserError(f"the recipe {recipe.name} has no section for {what}. Add one, for example `{example}`.")
    _check_student(recipe, chosen)
    rank, ranks = ranks_asked()
    if ranks > 1 and [stage.name for stage in chosen] != ["train"]:
        raise UserError("torchrun is for `yearling train`. Run the other stages without it.")
    if rank:
        _follow(chosen[0], recipe, run)
        return run
    run.create()
    with run.lock():
        _store_recipe(recipe, run)
        for stage in chosen:
            _run_stage(stage, recipe, run)
    return run


def _follow(train: Stage, recipe: Recipe, run: Run) -> None:
    """Be one of several processes that train; the first, which holds the run, does all else."""
    from yearling.train.stage import follow

    near = here(recipe)
    if not _stands(train, run, stage_key(train.settings(recipe), train.inputs(near, run), train.version)):
        follow(near, run)


def _stands(stage: Stage, run: Run, key: str) -> bool:
    done = run.manifest(stage.name)
    return done is not None and done.key == key and all(any(run.path.glob(path)) for path in stage.evidence)


def _check_student(recipe: Recipe, chosen: Sequence[Stage]) -> None:
    """Look for the student before the first stage: a name that is wrong must not wait for a paid teacher."""
    if recipe.student and any(stage.name in ("train", "export") for stage in chosen):
        from yearling.students.load import check_student

        check_student(here(recipe).student or recipe.student)


def _store_recipe(recipe: Recipe, run: Run) -> None:
    """The resolved recipe, every default written out."""
    import yaml

    from yearling.run_folder import write_text

    resolved = recipe.model_dump(mode="json", by_alias=True, exclude_none=True)
    write_text(run.path / "recipe.yaml", yaml.safe_dump(resolved, sort_keys=False, allow_unicode=True))


def _run_stage(stage: Stage, recipe: Recipe, run: Run) -> None:
    near = here(recipe)
    settings, inputs = stage.settings(recipe), stage.inputs(near, run)
    key = stage_key(settings, inputs, stage.version)
    if _stands(stage, run, key):
        say(f"{stage.name}: done before, nothing to do")
        return
    run.forget(stage.name)
    _begin(stage, key, run)
    run.event("stage", stage=stage.name, state="started", key=key)
    began = time.monotonic()
    counts, results, proofs = stage.work(near, run)
    seconds = round(time.monotonic() - began, 1)
    cost = results.pop("cost_usd", 0.0)
    manifest = Manifest(
        stage=stage.name,
        key=key,
        version=stage.version,
        settings=settings,
        inputs=inputs,
        counts=counts,
        results=results,
        proofs=proofs,
        cost_usd=cost,
        seconds=seconds,
        versions=_versions(),
    )
    run.finish(manifest)
    run.event("stage", stage=stage.name, state="done", seconds=seconds, **counts)


def _begin(stage: Stage, key: str, run: Run) -> None:
    """Clear the stage's folders unless they were begun under the same key: then the stage goes on in them."""
    mark = run.path / f"{stage.name}.begun.json"
    if mark.exists() and read_json(mark).get("key") == key:
        return
    for name in stage.folders:
        shutil.rmtree(run.path / name, ignore_errors=True)
    write_json(mark, {"key": key})


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # an extra that is not installed took no part
    return found


def write_accepted(recipe: Recipe, root: Path, out: Path, format: Any) -> None:
    """Write the records that judgement left standing to a file; raises UserError where that loses something."""
    from yearling.measure.accepted import accepted
    from yearling.sources.write import write_source

    count = write_source(accepted(Run(root, recipe.name), recipe), out, format)
    say(f"curate: {count} records written to {out} as {format}")
