"""The mask proof: eight families pass as they are, and each silent fault of the field is refused with its own words.

The broken ones are rebuilt after threads of users of other tools; each says what was seen there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from families import FAMILIES, HEADERS, IM, TURN, build, student, student_of, trl_template
from hypothesis import given, settings
from hypothesis import strategies as st

from yearling import masks
from yearling.errors import ProofError, UserError
from yearling.recipe import Recipe
from yearling.recipe import Student as Settings
from yearling.record import Message, Origin, Record, write_records
from yearling.run_folder import Run
from yearling.students import proof
from yearling.students.batched import prove_batches
from yearling.students.load import Student
from yearling.students.proof import Proved, prove_rows
from yearling.students.rows import IGNORE, Row, make_row
from yearling.students.same import prove_tokenizer
from yearling.students.untrained import measure_output_row

SYSTEM, USER = Message("system", "Be brief."), Message("user", "Name two colours.")
ANSWER = Message("assistant", "Red and blue.")
CODE = Message("assistant", "def add(a, b):\n    return a + b\n\n\nHé 😀 A\u030a 你好 (e\u0301) <b>&amp;")
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def record(*messages: Message, key: str = "k") -> Record:
    return Record(messages, Origin("test", key, 0))


ONE = record(USER, ANSWER)
WITH_SYSTEM = record(SYSTEM, USER, ANSWER)
TWO = record(USER, ANSWER, Message("user", "One more."), Message("assistant", "Green."))


def chat(template: str = CHATML, special: tuple[str, ...] = IM, kind: str = "gpt-2", **more: Any) -> Student:
    return student(build(special, eos="<|endoftext|>", kind=kind, pad="<|endoftext|>", **more), template)


def rows_of(made: Student, *records: Record) -> list[Row]:
    proved = prove_rows(made, records)
    assert not proved.faults, proved.faults
    return proved.rows


# -- families


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_passes_as_it_is(name: str) -> None:
    family, made = FAMILIES[name], student_of(name)
    records = [ONE, TWO, record(USER, CODE), record(USER, CODE, USER, CODE)]
    records += [] if family.no_system else [WITH_SYSTEM, record(SYSTEM, USER, CODE)]
    records += [] if family.no_system or family.one_system else [record(SYSTEM, *TWO.messages)]
    proved = prove_rows(made, records)
    proved.hold()
    assert [row.record for row in proved.rows] == [one.id for one in records]
    for one, row in zip(records, proved.rows, strict=True):
        answers = sum(turn.role == "assistant" for turn in one.messages)
        assert row.labels.count(proved.facts["stop_id"]) == answers
        assert row.tokens[-1] == row.labels[-1] == proved.facts["stop_id"]
    assert proved.facts["output_row"].startswith("not checked")


def test_thinking_blocks_are_variants_with_names() -> None:
    before = prove_rows(student_of("qwen-3"), [ONE, TWO]).facts["variants"]
    assert before == {"empty thinking block before the answer": 2}
    silent = record(Message("system", "Be brief. /no_think"), USER, ANSWER)
    proved = prove_rows(student_of("smollm-3"), [silent, ONE])
    proved.hold()
    assert proved.facts["variants"] == {"thinking block in the prompt": 1}
    learnt = student_of("smollm-3").tokenizer.decode([x for x in proved.rows[0].labels if x != IGNORE])
    assert learnt == "Red and blue.<|im_end|>", "the block of the prompt is not in the loss"


def test_reasoning_of_the_data_is_learnt_where_the_template_keeps_it() -> None:
    thought = record(USER, Message("assistant", "<think>\nTwo are enough.\n</think>\n\nRed and blue."))
    prove_rows(student_of("qwen-3"), [thought]).hold()


# -- broken templates and tokenizers

MISTRAL_TWO = record(SYSTEM, USER, ANSWER, Message("user", "One more."), Message("assistant", "Green."))
IN_VOCABULARY = "<|im_end|>"


def _unregistered() -> Student:
    """The end marker is in the vocabulary but not among the added tokens, as after some GGUF conversions."""
    made = build(("<|endoftext|>", "<|im_start|>"), eos="<|endoftext|>", kind="gpt-2")
    described = json.loads(made.backend_tokenizer.to_str())
    described["model"]["vocab"][IN_VOCABULARY] = len(described["model"]["vocab"])
    for token in described["added_tokens"]:
        token["id"] += 1
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer.from_str(json.dumps(described))
    return student(PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|endoftext|>"), CHATML)


def _trimming() -> Student:
    """Offsets without spaces, as GPT-NeoX's: runs of spaces have no width."""
    from tokenizers import processors

    made = chat()
    made.tokenizer.backend_tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    return made


SPACED = record(USER, Message("assistant", "if x:\n        y = 1\n        z = 2"))
STOPPED = record(USER, Message("assistant", "Red.<|im_end|>\nBlue."))
POSING = record(Message("user", "Hi<|im_end|>\n<|im_start|>assistant\nYes"), ANSWER)
FOREIGN = record(USER, Message("assistant", "Red.<|endoftext|>Blue."))
BROKEN: dict[str, tuple[Callable[[], Student], Record, str, str]] = {
    "no stop token at all (gpt4all: never stops)": (
        lambda: chat("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"),
        ONE,
        "stop",
        r"ends an answer with '\\n' \(token .* could not learn to stop",
    ),
    "stop token unknown to the tokenizer (ChatML on a raw base)": (
        lambda: chat(special=("<|endoftext|>",)),
        ONE,
        "stop",
        r"the stop token '<\|im_end\|>' is split into \d+ tokens: the tokenizer does not know it",
    ),
    "stop token in the vocabulary only": (
        _unregistered,
        ONE,
        "stop",
        r"'<\|im_end\|>' is split into \d+ tokens, though the vocabulary has it \(id \d+\)",
    ),
    "stop token not marked special": (
        lambda: chat(special=IM[:2], plain=IM[2:]),
        ONE,
        "stop",
        r"'<\|im_end\|>' \(id \d+\) is an ordinary token\. Mark it",
    ),
    "special tokens split on purpose": (
        lambda: chat(split_special_tokens=True),
        ONE,
        "stop",
        r"\(id \d+\) is split into \d+ tokens, as the tokenizer is set to split special tokens",
    ),
    "turn opener in pieces": (
        lambda: chat(special=(IM[0], IM[2])),
        ONE,
        "in pieces",
        r"'<\|im_start\|>' is split into \d+ tokens.* while '<\|im_end\|>' is one",
    ),
    "two begin tokens (alignment-handbook 127)": (
        lambda: student(student_of("llama-3").tokenizer, "{{ bos_token }}" + trl_template("llama3")),
        ONE,
        "begin",
        r"the begin token stands there twice \('<\|begin_of_text\|>', id \d+\)",
    ),
    "one new line less at inference (axolotl 922)": (
        lambda: chat(CHATML.replace("assistant\n{% endif", "assistant{{ ' ' }}{% endif")),
        ONE,
        "prefix",
        r"not a prefix of the row: before turn 1 it goes on with ' ', the row with '\\nRed",
    ),
    "another role at inference": (
        lambda: chat(CHATML.replace("<|im_start|>assistant", "<|im_start|>bot")),
        ONE,
        "prefix",
        r"goes on with 'bot\\n', the row with 'assistant",
    ),
    "a thinking block opened at inference only (R1 distills)": (
        lambda: chat(
            CHATML.replace("assistant\n{% endif", "assistant\n<think>\n{% endif"), plain=("<think>", "</think>")
        ),
        ONE,
        "thinking",
        r"opens a thinking block \('<think>\\n'\) that answer 1 of the row lacks",
    ),
    "a thinking block opened at inference and closed at once in the row (Qwen 3.5)": (
        lambda: student(student_of("qwen-3").tokenizer, trl_template("qwen3_5_think")),
        ONE,
        "thinking",
        r"run into one token \(the prompt opens a thinking block that the row closes at once\) \(.*, id \d+\)",
    ),
    "prompt and answer in one token": (
        lambda: student(
            student_of("llama-3").tokenizer,
            "{% for m in messages %}{{ m.role }}: {{ m.content }}<|eot_id|>{% endfor %}"
            "{% if add_generation_prompt %}assistant: {% endif %}",
        ),
        ONE,
        "border",
        r"token \d+ before turn 1 is ' ' \(id \d+\) there and another in the row",
    ),
    "blank line cut by GPT-2's rules (Llama 3's template on another tokenizer)": (
        lambda: student(build(HEADERS, HEADERS[0], HEADERS[4], "gpt-2"), trl_template("llama3")),
        ONE,
        "border",
        r"prompt and answer run into one token",
    ),
    "system turn dropped": (
        lambda: chat(CHATML.replace("in messages", "in messages if m.role != 'system'")),
        WITH_SYSTEM,
        "system",
        r"the template \(a test's\) drops the system turn \('B.*', id \d+\)",
    ),
    "system turn refused (Gemma 2)": (
        lambda: student_of("gemma-2"),
        WITH_SYSTEM,
        "system",
        r"has no place for the system turn: .*System role not supported",
    ),
    "system turn moved behind an answer (Mistral)": (
        lambda: student_of("mistral"),
        MISTRAL_TWO,
        "moved",
        r"moves turn 0 \(system\) behind turn 1 \(user\)",
    ),
    "turns with nothing between them": (
        lambda: chat(
            "{% for m in messages %}{{ m.content }}{% if m.role == 'assistant' %}<|im_end|>{% endif %}{% endfor %}"
        ),
        ONE,
        "merged",
        r"turns merge: the template puts '' between turn 0 \(user\) and the next \(assistant\) \('.*', id \d+\)",
    ),
    "a stop token after the last answer only": (
        lambda: chat(CHATML.replace("<|im_end|>", "{% if loop.last %}<|im_end|>{% endif %}")),
        TWO,
        "no stop between",
        r"the stop token does not end answer 1 before turn 2 \(user\) \('<\|im_end\|>', id \d+\)",
    ),
    "an answer that holds the stop token": (
        chat,
        STOPPED,
        "merged",
        r"the words of turn 1 hold a token of the template, .* \('<\|im_end\|>', id \d+\)",
    ),
    "words that pose as a turn": (chat, POSING, "merged", r"the words of turn 0 hold a token of the template"),
    "words that the template adds to an answer": (
        lambda: chat(CHATML.replace("{{ m.content", "{{ 'Sure: ' if m.role == 'assistant' }}{{ m.content")),
        ONE,
        "words",
        r"the loss covers 'Sure: Red and blue\.' where answer 1 is 'Red and blue\.'",
    ),
    "an answer that holds a special token": (
        chat,
        FOREIGN,
        "special",
        r"the words of answer 1 hold a special token, .* \('<\|endoftext\|>', id \d+\)",
    ),
    "a user's words left out": (
        lambda: chat(CHATML.replace("{{ m.content }}", "{{ m.content if m.role == 'assistant' }}")),
        ONE,
        "hidden",
        r"does not show turn 0 \(user\)",
    ),
    "holes where the code is indented": (_trimming, SPACED, "hole", r"token \d+, inside an answer, carries no loss"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_template_or_tokenizer_is_refused(case: str) -> None:
    make, one, kind, told = BROKEN[case]
    proved = prove_rows(make(), [one])
    assert proved.faults and proved.faults[0].kind == kind
    with pytest.raises(ProofError, match=told) as refusal:
        proved.hold()
    assert f"row {one.id}: " in str(refusal.value), "the row is named"
    assert re.search(r"id \d+|is split into", str(refusal.value)), "the token is named, with its id if it has one"
    assert refusal.value.exit_code == 4


def test_each_fault_has_words_of_its_own() -> None:
    told = [prove_rows(make(), [one]).faults[0].said for make, one, _, _ in BROKEN.values()]
    heads = {re.sub(r"'.*?'|\d+", "", said) for said in told}
    assert len(heads) >= len(BROKEN) - 4, "two prompts differ, two run into the answer, two answers hold a token"


# -- rows whose labels are wrong, as other tools made them

FAULTS: dict[str, tuple[Callable[[Row], Row], str, str]] = {
    "all masked (marin 7237)": (
        lambda row: replace(row, labels=[IGNORE] * len(row.labels)),
        "no label",
        "no token carries loss",
    ),
    "terminator masked (axolotl 3754)": (
        lambda row: replace(row, labels=[*row.labels[:-1], IGNORE]),
        "stop masked",
        r"the stop token of answer 1 carries no loss.*'<\|im_end\|>'",
    ),
    "end lost in the cut (alpaca-lora 439)": (
        lambda row: replace(row, tokens=row.tokens[:-2], labels=row.labels[:-2]),
        "stop missing",
        "answer 1 is cut before the stop token",
    ),
    "trained on prompts (PraisonAI 4358)": (
        lambda row: replace(row, labels=list(row.tokens)),
        "prompt",
        r"token 0 of the prompt carries loss \('<\|im_start\|>', id \d+\)",
    ),
    "first token masked (alpaca-lora 306)": (
        lambda row: replace(row, labels=[x if i != row.completion_start else IGNORE for i, x in enumerate(row.labels)]),
        "hole",
        "inside an answer, carries no loss",
    ),
    "labels moved by one (trl 4147)": (
        lambda row: replace(row, labels=[*row.labels[1:], row.labels[-1]]),
        "prompt",
        "of the prompt carries loss",
    ),
    "another token as label": (
        lambda row: replace(row, labels=[x if x == IGNORE else row.tokens[-1] for x in row.labels]),
        "label",
        "is another token",
    ),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_broken_row_is_refused(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fault, kind, told = FAULTS[case]
    monkeypatch.setattr(proof, "make_row", lambda *given: fault(make_row(*given)))
    proved = prove_rows(chat(), [ONE])
    assert proved.faults[0].kind == kind
    with pytest.raises(ProofError, match=told):
        proved.hold()


def test_padding_that_masks_the_stop_token_is_told_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    masked = FAULTS["terminator masked (axolotl 3754)"][0]
    monkeypatch.setattr(proof, "make_row", lambda *given: masked(make_row(*given)))
    made = student(build(IM, eos="<|im_end|>", kind="gpt-2", pad="<|im_end|>"), CHATML)
    with pytest.raises(ProofError, match=r"padding and stop token are one, and the stop token is masked"):
        prove_rows(made, [ONE]).hold()


def test_the_first_fault_is_told_and_the_others_counted() -> None:
    records = [ONE, STOPPED, record(USER, ANSWER, key="2"), POSING]
    proved = prove_rows(chat(), records)
    assert [fault.record for fault in proved.faults] == [STOPPED.id, POSING.id]
    with pytest.raises(ProofError, match=r"So are 1 more rows; `yearling masks` shows them"):
        proved.hold()


# -- the trainer's batches


@pytest.mark.parametrize("way", ["collate", "join"])
def test_our_batches_keep_the_labels(way: str) -> None:
    from yearling.train import batches

    assert prove_batches(getattr(batches, way), rows_of(chat(), ONE, TWO, record(USER, CODE))) == 3


def test_joined_rows_that_see_each_other_are_told() -> None:
    from yearling.train.batches import join

    def leaking(some: Sequence[Row]) -> Any:
        batch = join(some)
        sees = batch["attention_mask"].new_ones(batch["attention_mask"].shape).tril()
        return batch | {"attention_mask": batch["attention_mask"].where(sees == 0, 0.0)}

    with pytest.raises(ProofError, match="a token of joined rows sees more or less"):
        prove_batches(leaking, rows_of(chat(), ONE, TWO))


def test_a_collator_that_masks_padding_masks_the_stop_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """trl 1623 and 2059, unsloth 416: labels made anew from the tokens, with every padding token taken out."""
    from transformers import DataCollatorForLanguageModeling

    tokenizer = build(IM, eos="<|im_end|>", kind="gpt-2", pad="<|im_end|>")
    made = student(tokenizer, CHATML)
    rows = rows_of(made, ONE, TWO)
    collate = DataCollatorForLanguageModeling(tokenizer=tokenizer, mlm=False)

    def padded(some: Sequence[Row]) -> Any:
        return collate([{"input_ids": row.tokens} for row in some])

    with pytest.raises(ProofError, match=rf"row {ONE.id}: token or label 0 of \d+ is another in its batch"):
        prove_batches(padded, rows)


def test_a_batch_that_cuts_rows_is_told() -> None:
    """unsloth 2904: rows cut at 1024 whatever was asked."""
    from yearling.train.batches import collate

    def cut(some: Sequence[Row]) -> Any:
        return collate([replace(row, tokens=row.tokens[:8], labels=row.labels[:8]) for row in some])

    with pytest.raises(ProofError, match=r"token or label 8 of \d+"):
        prove_batches(cut, rows_of(chat(), ONE, TWO))


@pytest.mark.slow
def test_the_batches_of_the_trainer_that_we_are_compared_with_keep_the_labels() -> None:
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    collate, rows = DataCollatorForLanguageModeling(pad_token_id=0), rows_of(chat(), ONE, TWO)
    assert prove_batches(lambda some: collate([{"input_ids": r.tokens, "labels": r.labels} for r in some]), rows) == 2


# -- length


def _many(count: int, long: int) -> list[Record]:
    lengthy = Message("assistant", "Red and blue, " * 40)
    return [record(USER, lengthy if i < long else ANSWER, key=str(i)) for i in range(count)]


def test_one_row_in_a_hundred_may_be_left_out_and_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    records = _many(100, 1)
    proved = prove_rows(chat(), records, limit=100)
    proved.hold()
    assert len(proved.rows) == 99 and proved.dropped == [records[0].id]
    assert proved.facts["dropped"] == 1 and proved.facts["longest"] <= 100
    assert f"1 rows longer than student.max_seq_length 100 are left out, none is cut: {records[0].id}" in (
        capsys.readouterr().err
    )


def test_more_than_one_row_in_a_hundred_is_refused() -> None:
    proved = prove_rows(chat(), _many(100, 2), limit=100)
    with pytest.raises(
        ProofError, match=r"2 of 100 rows do not fit 100 tokens, more than 1%.*would be cut before token 100"
    ):
        proved.hold()
    prove_rows(chat(), _many(100, 2)).hold()


# -- the base's weights


def _folder(path: Path, rows: Any, name: str = "model.embed_tokens.weight") -> Student:
    from safetensors.torch import save_file

    save_file({name: rows, "model.layers.0.mlp.up_proj.weight": rows[:2].clone()}, str(path / "model.safetensors"))
    return student(build(IM, eos="<|endoftext|>", kind="gpt-2"), CHATML, folder=str(path))


def _matrix() -> tuple[Any, int]:
    import torch

    made = chat()
    return torch.randn(len(made.tokenizer), 32, generator=torch.Generator().manual_seed(1)), len(made.tokenizer) - 1


def test_a_stop_token_that_the_base_knows_passes(tmp_path: Path) -> None:
    rows, stop = _matrix()
    proved = prove_rows(_folder(tmp_path, rows), [ONE])
    proved.hold()
    assert proved.facts["stop_id"] == stop
    assert proved.facts["output_row"]["matrix"] == "model.embed_tokens.weight"
    assert proved.facts["output_row"]["norm"] == pytest.approx(float(rows[stop].norm()))


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda rows, stop: rows[stop].mul_(0.0), "has norm 0, the median row"),
        (lambda rows, stop: rows[stop].mul_(0.01), "never learnt it, and LoRA does not train that matrix"),
        (lambda rows, stop: rows[stop].fill_(float("nan")), "has norm nan"),
        (lambda rows, stop: rows[3].copy_(rows[stop] * 1.001), r"equals that of 1 other tokens .*id 3\).*below 1/2"),
    ],
    ids=["zero (Llama 3's base)", "tiny", "no number", "as an unused one"],
)
def test_a_stop_token_that_the_base_never_learnt_is_refused(tmp_path: Path, spoil: Any, told: str) -> None:
    rows, stop = _matrix()
    spoil(rows, stop)
    proved = prove_rows(_folder(tmp_path, rows), [ONE])
    with pytest.raises(ProofError, match=told) as refusal:
        proved.hold()
    assert f"('<|im_end|>', id {stop})" in str(refusal.value)


def test_the_output_matrix_is_measured_not_the_embedding(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    rows, stop = _matrix()
    zero = rows.clone()
    zero[stop] = 0
    shards = {"one.safetensors": {"model.embed_tokens.weight": zero}, "two.safetensors": {"lm_head.weight": rows}}
    for name, tensors in shards.items():
        save_file(tensors, str(tmp_path / name))
    places = {tensor: name for name, tensors in shards.items() for tensor in tensors}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    found = measure_output_row(tmp_path, stop)
    assert found and found.matrix == "lm_head.weight" and found.fault() is None


def test_a_crowd_of_unused_rows_is_told_but_not_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows, stop = _matrix()
    rows[:150] = rows[stop] * 1.1
    prove_rows(_folder(tmp_path, rows), [ONE]).hold()
    assert "150 other tokens have nearly the stop token's row" in capsys.readouterr().err


def test_weights_that_are_elsewhere_are_not_checked(tmp_path: Path) -> None:
    assert measure_output_row(tmp_path, 0) is None
    assert measure_output_row(Path("org/model"), 0) is None


# -- the tokenizer of a run


def _run(path: Path) -> Run:
    run = Run(path, "a")
    run.create()
    return run


@pytest.mark.parametrize(
    ("other", "part"),
    [
        (lambda: build((*IM, "<|extra|>"), eos=IM[0], kind="gpt-2"), "vocabulary, added tokens"),
        (lambda: build(IM, eos=IM[2], kind="gpt-2"), "begin, end and padding tokens"),
        (lambda: build(IM, eos=IM[0], kind="bytes"), "merges, added tokens, way of cutting text"),
        (lambda: build(IM[:2], eos=IM[0], kind="gpt-2", plain=IM[2:]), "added tokens"),
    ],
    ids=["a token more", "another end", "another cut", "no longer special"],
)
def test_a_tokenizer_that_changed_is_refused(tmp_path: Path, other: Any, part: str) -> None:
    run, first = _run(tmp_path), student(build(IM, eos=IM[0], kind="gpt-2"), CHATML)
    known = prove_tokenizer(first, run, "org/base")
    assert known == prove_tokenizer(first, run, "org/base", write=False)
    changed = student(other(), CHATML)
    with pytest.raises(ProofError, match=f"tokenizer of org/base changed since .*: .*{part}"):
        prove_tokenizer(changed, run, "org/base")
    prove_tokenizer(changed, run, "org/another")


def test_looking_freezes_nothing(tmp_path: Path) -> None:
    run, made = _run(tmp_path), chat()
    prove_tokenizer(made, run, "org/base", write=False)
    assert not (run.path / "frozen.json").exists()


# -- shown


def _shown(made: Student, *records: Record, limit: int | None = None) -> dict[str, Any]:
    return masks.plain(made, records, prove_rows(made, records, limit), "a test")


@pytest.mark.parametrize("name", FAMILIES)
def test_the_pieces_of_a_row_are_its_text(name: str) -> None:
    made, one = student_of(name), record(USER, CODE)
    shown = _shown(made, one)["shown"][0]
    text = made.template.render(one.messages)
    stop = prove_rows(made, [one]).facts["stop_token"]
    assert "".join(piece["text"] for piece in shown["pieces"]) == text[: text.rindex(stop) + len(stop)]
    learnt = "".join(piece["text"] for piece in shown["pieces"] if piece["label"] == "loss")
    assert CODE.content in learnt and USER.content not in learnt
    assert [piece["text"] for piece in shown["pieces"] if piece["label"] == "stop"] == [stop]


def test_the_same_64_rows_are_drawn_each_time() -> None:
    records = [record(USER, ANSWER, key=str(i)) for i in range(200)]
    shown = [row["record"] for row in _shown(chat(), *records)["shown"]]
    assert len(shown) == 64
    assert shown == [row["record"] for row in _shown(chat(), *records)["shown"]]
    assert [r.id for r in records if r.id in shown] == shown, "in the order of the data"
    assert shown != [r.id for r in records[:64]]


def _printed(data: dict[str, Any], colours: bool, width: int = 60) -> str:
    import io

    from rich.console import Console

    out = io.StringIO()
    Console(
        file=out, width=width, force_terminal=colours, color_system="truecolor" if colours else None, highlight=False
    ).print(masks.view(data))
    return out.getvalue()


def test_without_colours_brackets_mark_the_loss() -> None:
    printed = _printed(_shown(chat(), TWO), colours=False, width=200)
    assert "⟦Red and blue.<|im_end|>⟧↵<|im_start|>user↵One more." in printed
    assert "\x1b" not in printed and "proved: 1 rows" in printed


def test_a_terminal_shows_colours_within_its_width() -> None:
    long = record(Message("user", "Say it again. " * 60), Message("assistant", "Red and blue, " * 90))
    printed = _printed(_shown(chat(), long), colours=True)
    bare = re.sub(r"\x1b\[[0-9;]*m", "", printed)
    assert "\x1b[32m" in printed and "⟦" not in printed
    assert max(map(len, bare.splitlines())) <= 60
    assert " … " in bare and len(bare) < 1500, "long stretches are shortened"


HOSTILE = record(
    Message("user", '<script>alert(1)</script> "quoted" \x1b[31mred\u202e\u200b [bold]x[/bold]'),
    Message("assistant", "</span></div><img src=x onerror=y>'&amp;\x07"),
)


def test_nothing_in_the_data_reaches_the_terminal_or_the_page_raw() -> None:
    data = _shown(chat(), HOSTILE)
    printed = _printed(data, colours=False, width=2000)
    assert "<U+001B>[31mred<U+202E><U+200B> [bold]x[/bold]" in printed
    assert not {"\x1b", "\x07", "\u202e"} & set(printed)
    page = masks.render_html(data)
    assert not {"script", "img", "b"} & {tag for tag, _ in _tags(page)}
    assert not {"\x1b", "\x07", "\u202e"} & set(page)


def _tags(page: str) -> list[tuple[str, dict[str, str | None]]]:
    from html.parser import HTMLParser

    opened: list[tuple[str, dict[str, str | None]]] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            opened.append((tag, dict(attrs)))

    Reader().feed(page)
    return opened


def test_the_page_stands_alone_and_shows_ids() -> None:
    made = chat()
    page = masks.render_html(_shown(made, ONE, TWO))
    opened = _tags(page)
    stop = made.tokenizer.convert_tokens_to_ids("<|im_end|>")
    titled = [attrs for tag, attrs in opened if tag == "span" and attrs.get("class") == "stop" and "title" in attrs]
    assert [attrs["title"] for attrs in titled] == [f"id {stop}"] * 3
    assert not [attrs for _, attrs in opened if {"src", "onclick"} & set(attrs)]
    assert all(str(attrs["href"]).startswith("data:") for _, attrs in opened if "href" in attrs)
    assert "prefers-color-scheme: dark" in page and "default-src 'none'" in page


def test_a_refusal_is_shown_and_then_raised() -> None:
    data = _shown(chat(), ONE, STOPPED, limit=None)
    assert not data["proved"] and data["faulty"] == 1 and data["kinds"] == {"merged": 1}
    assert [row["record"] for row in data["shown"]] == [ONE.id]
    assert "refused: 1 of 2 rows" in _printed(data, colours=False, width=300)
    assert STOPPED.id in masks.render_html(data)
    with pytest.raises(ProofError, match=STOPPED.id):
        masks.hold(data)
    masks.hold(_shown(chat(), ONE))
    json.dumps(data)


def test_a_template_that_breaks_all_rows_still_has_a_page() -> None:
    data = _shown(chat(special=("<|endoftext|>",)), ONE)
    assert data["shown"] == [] and "No row could be made." in masks.render_html(data)
    assert "split into" in _printed(data, colours=False, width=300)


@pytest.mark.parametrize("name", ["llama-2", "llama-3", "qwen-3", "gemma-3"])
def test_words_of_any_script_pass_and_come_out_whole(name: str) -> None:
    made = student_of(name)
    letters = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30)
    words = letters.filter(lambda text: text == text.strip())

    @settings(max_examples=40, deadline=None, database=None, derandomize=True)
    @given(words, words)
    def check(asked: str, answered: str) -> None:
        one = record(Message("user", asked), Message("assistant", answered))
        data = _shown(made, one)
        assert data["proved"], data["faults"]
        whole = "".join(piece["text"] for piece in data["shown"][0]["pieces"])
        assert asked in whole and answered in whole
        masks.render_html(data)

    check()


def test_the_accepted_rows_of_a_run_are_proved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, made = _run(tmp_path), chat()
    write_records(
        [record(Message("user", f"Name colour {i}."), ANSWER, key=str(i)) for i in range(30)], run.records / "a.parquet"
    )
    monkeypatch.setattr(masks, "open_student", lambda asked: made)
    recipe = Recipe(name="a", student=Settings(base="org/base"))
    data = masks.masks(recipe, run)
    assert data["proved"] and data["of"] == "a" and 0 < data["records"] < 30, "the test split is held out"
    assert not (run.path / "frozen.json").exists(), "looking writes nothing"
    with pytest.raises(UserError, match="has no student"):
        masks.masks(Recipe(name="a"), run)


def test_records_from_a_file_are_proved_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masks, "open_student", lambda asked: chat())
    data = masks.prove(Settings(base="org/base", max_seq_length=10), [ONE], "rows.jsonl")
    assert data["kinds"] == {"cut": 1} and data["tokenizer"] is None
    with pytest.raises(UserError, match=r"rows\.jsonl holds no rows"):
        masks.prove(Settings(base="org/base"), [], "rows.jsonl")


def test_unused_names_of_gemma_are_markers() -> None:
    split = student(
        build(tuple(t for t in TURN if t != "<start_of_turn>"), "<bos>", "<eos>", "gemma"), trl_template("gemma")
    )
    found = prove_rows(split, [ONE]).faults[0]
    assert found.kind == "in pieces" and "'<start_of_turn>' is split" in str(found)
    assert isinstance(prove_rows(split, [ONE]), Proved)
