"""The export stage: base and adapter become one model, and files that run without this project.

In: the adapter and its base. Out: `export/` with merged safetensors, GGUF files, a Modelfile.
Every file is proved against the merged model before the stage is done. Trains nothing.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Sequence
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

from yearling.errors import UserError
from yearling.export.gguf_file import write_f16
from yearling.export.merge import merge
from yearling.export.ollama import modelfile
from yearling.export.parity import ParityError, Texts, parity_texts, prove_answer, prove_parity, score_merged
from yearling.export.quantise import quantise_in_child
from yearling.hub import licence_of
from yearling.measure.accepted import accepted_split
from yearling.measure.perplexity import Scores
from yearling.progress import progress, say
from yearling.recipe import Export, Recipe
from yearling.record import Record
from yearling.run_folder import Run, write_text
from yearling.students.load import Student, open_student, quiet
from yearling.students.rows import Row, find_stop, make_row
from yearling.students.trained import holds_training, is_adapter, open_trained

MERGED = 4  # rows on which the merged model and base plus adapter are compared
LABELS = {"f16": "F16", "q8_0": "Q8_0", "q4_k_m": "Q4_K_M"}


def run_export(recipe: Recipe, run: Run) -> tuple[dict[str, int], dict[str, Any], dict[str, Any]]:
    """Merge, write, prove; counts, results and proofs for the manifest.

    Raises ProofError where a file is not the trained model, UserError where disk or model do not allow an export.
    """
    settings = recipe.export
    assert settings is not None and recipe.student is not None
    if not holds_training(run.adapter):
        raise UserError(f"no adapter in {run.adapter}. Run `yearling train` first.")
    student = open_student(recipe.student)
    kinds = list(
        dict.fromkeys(["f16", *settings.quant])
    )  # the smaller files are made from F16, and it is what eval asks
    records = _proof_records(recipe, run, settings)
    with progress(run, "export", 3 + 2 * len(kinds), "steps") as advance:
        stop = find_stop(student).text
        model, merge_proof = _merge(student, run, [make_row(student, record, stop) for record in records[:MERGED]])
        advance(1, now="merged")
        files = _write_files(model, student, run, kinds)
        if student.gguf is None:
            _write_base(student, run)
        advance(2 + len(kinds), now="written")
        texts = parity_texts(student, records)
        merged = score_merged(model, student, texts, lambda done: None)
        del model
        proofs: dict[str, Any] = {"merge": merge_proof, "parity": {}}
        for place, kind in enumerate(kinds):
            proofs["parity"][kind] = prove_file(files, kind, merged, texts)
            advance(3 + len(kinds) + place, now=f"proved {kind}")
        last = files[kinds[-1]]
        proofs["answer"] = prove_answer(last, student)
        advance(3 + 2 * len(kinds))
    if settings.ollama:
        write_text(run.export / "Modelfile", modelfile(last.name, student.template, student.stop, _licence(recipe)))
    for kind, facts in proofs["parity"].items():
        ratio, bound = facts["ratio"], facts["bound"]
        say(f"export: {files[kind].name}: perplexity {ratio:.4f} of the merged model's (bound {bound})")
    results = {
        "files": {kind: str(path.relative_to(run.path)) for kind, path in files.items()},
        "bytes": {kind: path.stat().st_size for kind, path in files.items()},
        "modelfile": "export/Modelfile" if settings.ollama else None,
    }
    return {"files": len(files), "parity_rows": len(texts)}, results, proofs


def _licence(recipe: Recipe) -> str:
    assert recipe.student is not None
    return licence_of(recipe.student.base)


def _proof_records(recipe: Recipe, run: Run, settings: Export) -> Sequence[Record]:
    """Held-out rows, and rows of training where those are too few: parity is about arithmetic, not about learning."""
    records = [*accepted_split(run, recipe, "test"), *accepted_split(run, recipe, "train")]
    return records[: settings.parity_rows]


def _merge(student: Student, run: Run, rows: Sequence[Row]) -> tuple[Any, dict[str, float]]:
    """What was trained, in float32, an adapter merged and proved; written as safetensors in half precision, too."""
    import torch

    with quiet():
        model, proof = open_trained(student, run.adapter, "float32"), dict[str, float]()
        _check_disk(model.num_parameters(), run.export)
        if is_adapter(run.adapter):
            model, proof = merge(model, rows)
        folder, temporary = run.export / "merged", run.export / "merged.tmp"
        for stale in (folder, temporary):
            shutil.rmtree(stale, ignore_errors=True)
        state = {name: tensor.to(torch.float16) for name, tensor in model.state_dict().items()}
        with redirect_stderr(io.StringIO()):  # the library draws a bar that it does not let anybody switch off
            model.save_pretrained(temporary, state_dict=state)
        del state
        student.tokenizer.chat_template = student.template.text
        student.tokenizer.save_pretrained(temporary)
        temporary.replace(folder)
    return model, proof


def _write_files(model: Any, student: Student, run: Run, kinds: Sequence[str]) -> dict[str, Path]:
    files = {kind: run.export / f"{run.name}-{LABELS[kind]}.gguf" for kind in kinds}
    write_f16(
        model,
        student.tokenizer,
        files["f16"],
        chat_template=student.template.text,
        name=run.name,
        metadata_from=student.gguf,
    )
    for kind in kinds[1:]:
        quantise_in_child(files["f16"], files[kind], kind)  # type: ignore[arg-type] # kinds come from the recipe
    return files


def prove_file(files: dict[str, Path], kind: str, merged: Scores, texts: Texts) -> dict[str, Any]:
    """The parity proof of a file; one that its rounding takes past the bound is written anew with less of that."""
    if kind == "f16":
        return prove_parity(files[kind], kind, merged, texts, lambda done: None)
    try:
        return {**prove_parity(files[kind], kind, merged, texts, lambda done: None), "spared": False}
    except ParityError as miss:
        before = files[kind].stat().st_size
        quantise_in_child(files["f16"], files[kind], kind, spared=True)  # type: ignore[arg-type]
        facts = prove_parity(files[kind], kind, merged, texts, lambda done: None)
        say(
            f"export: {files[kind].name} was past its bound ({miss.ratio:.4f}): attention's inputs and ffn_down are "
            f"rounded less, {files[kind].stat().st_size >> 20} MB instead of {before >> 20}"
        )
        return {**facts, "spared": True}


def _write_base(student: Student, run: Run) -> None:
    """A base from the hub as a file too, so that eval asks base and student the same way."""
    out = run.export / "base-F16.gguf"
    model, template = student.weights("float32"), student.template
    write_f16(model, student.tokenizer, out, chat_template=template.text, name="base", metadata_from=None)


def _check_disk(parameters: int, folder: Path) -> None:
    """Merged, F16, a smaller file and the temporary beside it: about seven bytes a parameter."""
    folder.mkdir(parents=True, exist_ok=True)
    free, needed = shutil.disk_usage(folder).free, parameters * 7
    if free < needed:
        raise UserError(
            f"{folder} has {free >> 20} MB free, the export needs about {needed >> 20} MB. Free some space."
        )
