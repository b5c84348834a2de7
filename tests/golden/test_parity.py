"""The parity proof turns red when the file is not the trained model: other template, zeroed tensor, other tokens."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
from golden_line import GOLDEN, Done

from yearling.errors import ProofError
from yearling.export import parity
from yearling.export.parity import parity_texts, prove_answer, prove_parity, score_merged
from yearling.export.quantise import copy_fields, quantise_in_child, read_gguf, write_gguf
from yearling.export.stage import prove_file
from yearling.measure.accepted import accepted_split
from yearling.measure.perplexity import Scores
from yearling.recipe_file import load_recipe
from yearling.run_folder import Run
from yearling.students.load import Student, open_student

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def student() -> Student:
    recipe = load_recipe(GOLDEN)
    assert recipe.student is not None
    return open_student(recipe.student)


@pytest.fixture(scope="module")
def merged(golden: tuple[Run, Done], student: Student) -> tuple[Scores, list[tuple[str, str]]]:
    """Log probabilities of the merged model, read back from its own folder in float32."""
    import torch
    from transformers import AutoModelForCausalLM

    run, _ = golden
    texts = list(parity_texts(student, accepted_split(run, load_recipe(GOLDEN), "test")[:4]))
    model = AutoModelForCausalLM.from_pretrained(run.export / "merged", dtype=torch.float32)
    return score_merged(model, student, texts, lambda done: None), texts


def rewritten(source: Path, out: Path, *, template: str | None = None, zeroed: str | None = None) -> Path:
    """A copy of a GGUF file with another chat template, or with one tensor set to zero."""
    reader = read_gguf(source)
    writer = gguf.GGUFWriter(None, str(reader.fields["general.architecture"].contents()))
    without = ["tokenizer.chat_template"] if template else []
    copy_fields(reader, writer, without=without)
    if template:
        writer.add_chat_template(template)
    arrays = []
    for tensor in reader.tensors:
        data = np.zeros_like(tensor.data) if tensor.name == zeroed else tensor.data
        writer.add_tensor_info(tensor.name, data.shape, data.dtype, data.nbytes)
        arrays.append(data)
    write_gguf(writer, out, arrays)
    return out


def test_the_real_file_is_green(golden: tuple[Run, Done], merged: tuple[Scores, list[tuple[str, str]]]) -> None:
    scores, texts = merged
    facts = prove_parity(golden[0].export / "golden-F16.gguf", "f16", scores, texts, lambda done: None)
    assert facts["ratio"] == pytest.approx(1.0, abs=0.002)


def test_a_zeroed_tensor_is_red(
    golden: tuple[Run, Done], merged: tuple[Scores, list[tuple[str, str]]], tmp_path: Path
) -> None:
    scores, texts = merged
    broken = rewritten(golden[0].export / "golden-F16.gguf", tmp_path / "zero.gguf", zeroed="blk.20.ffn_down.weight")
    with pytest.raises(ProofError, match=r"perplexity of zero\.gguf"):
        prove_parity(broken, "q4_k_m", scores, texts, lambda done: None)


def test_a_file_past_its_bound_is_written_anew_and_proved_again(
    golden: tuple[Run, Done],
    merged: tuple[Scores, list[tuple[str, str]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scores, texts = merged
    files = {"f16": golden[0].export / "golden-F16.gguf", "q8_0": tmp_path / "golden-Q8_0.gguf"}
    quantise_in_child(files["f16"], files["q8_0"], "q8_0")
    before = files["q8_0"].stat().st_size
    first = prove_parity(files["q8_0"], "q4_k_m", scores, texts, lambda done: None)
    monkeypatch.setitem(parity.BOUNDS, "q8_0", first["ratio"] - 1e-6)
    with pytest.raises(parity.ParityError):
        prove_parity(files["q8_0"], "q8_0", scores, texts, lambda done: None)
    monkeypatch.setitem(parity.BOUNDS, "q8_0", 0.0)
    with pytest.raises(parity.ParityError):
        prove_file(files, "q8_0", scores, texts)
    assert files["q8_0"].stat().st_size > before
    second = prove_parity(files["q8_0"], "q4_k_m", scores, texts, lambda done: None)
    assert second["largest_difference"] < first["largest_difference"]


def test_a_swapped_template_is_red(golden: tuple[Run, Done], student: Student, tmp_path: Path) -> None:
    other = (
        "{% for m in messages %}<|im_start|>{{ m.role }}: {{ m.content }}<|im_end|>{% endfor %}<|im_start|>assistant\n"
    )
    broken = rewritten(golden[0].export / "golden-F16.gguf", tmp_path / "other.gguf", template=other)
    with pytest.raises(ProofError, match="was trained on"):
        prove_answer(broken, student)


def test_other_tokens_are_red(golden: tuple[Run, Done], merged: tuple[Scores, list[tuple[str, str]]]) -> None:
    scores, texts = merged
    shifted = Scores([[*row[:-1], row[-1] + 1] for row in scores.tokens], scores.logprobs)
    with pytest.raises(ProofError, match="other tokens"):
        prove_parity(golden[0].export / "golden-F16.gguf", "f16", shifted, texts, lambda done: None)
