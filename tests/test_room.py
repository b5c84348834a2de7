"""Memory: how updates are cut to fit it, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st

from yearling.errors import UserError
from yearling.recipe import Train
from yearling.train import fitting
from yearling.train.room import LEAST, MOST, SPARE, Needs, Room, find_room, needs_of

LONGEST = max(len(row.tokens) for row in tiny.rows(20))
CPU = {"device": "cpu", "dtype": "float32"}


def _adapted(**more: Any) -> Needs:
    base = tiny.model_of("llama", **more)
    for weight in base.parameters():
        weight.requires_grad = False
    return needs_of(base, "cpu")


def test_much_memory_keeps_activations_and_bounds_a_pass() -> None:
    for free in (10**12, None):
        assert find_room(_adapted(), LONGEST, free) == Room(MOST, False)


def test_less_memory_makes_passes_smaller_then_computes_anew_then_refuses() -> None:
    needs, rooms, refused = _adapted(), list[Room](), 0
    for kib in range(4000, 0, -50):
        free = needs.weights + LEAST * SPARE + kib * 1024
        try:
            rooms.append(find_room(needs, LONGEST, free))
        except UserError:
            refused += 1
            assert free < needs.asked(LONGEST)
        else:
            room = rooms[-1]
            assert free >= needs.asked(LONGEST)
            assert needs.weights + SPARE * (needs.bytes(*_pass(room)) - needs.weights) <= free
    kept = [room.tokens for room in rooms if not room.recompute]
    assert kept == sorted(kept, reverse=True) and min(kept) >= LONGEST
    assert [room.recompute for room in rooms] == sorted(room.recompute for room in rooms)
    assert rooms[-1].recompute and refused


def _pass(room: Room) -> tuple[int, int, bool]:
    return room.tokens, LONGEST, room.recompute


def _scaled(needs: Needs, share: float) -> Needs:
    """The needs of a base of so many times the parameters."""
    fixed = LEAST + share * (needs.fixed - LEAST)
    rest = (share * value for value in (needs.kept, needs.anew, needs.once))
    weights, layered = share * needs.weights, share * needs.layered
    return Needs(int(share * needs.parameters), needs.width, needs.layers, weights, layered, fixed, *rest)


BILLION = Needs(10**9, 2048, 16, 4e9, 3e9, LEAST + 1e8, 4e6, 2e5, 1e6)  # about, in float32


@given(st.floats(0.2, 0.99), st.booleans())
def test_each_change_that_is_named_makes_it_fit(share: float, another: bool) -> None:
    needs, longest = BILLION, 4000
    free = share * needs.asked(longest)
    others = {"train.method: other": _scaled(needs, 0.1), "train.method: worse": needs} if another else {}
    assert needs.room(longest, free) is None
    with pytest.raises(UserError) as refused:
        find_room(needs, longest, free, lambda: others)
    changes = str(refused.value).split("Any of these makes it fit: ")[1].rstrip(".").split("; ")
    assert 1 <= len(changes) <= 3
    for change in changes:
        number = float(re.findall(r"[\d,.]*\d", change)[0].replace(",", ""))
        if change.startswith("train.method: other"):
            assert others["train.method: other"].room(longest, free)
        elif change.startswith("student.max_seq_length"):
            assert needs.room(int(number), free) and not needs.room(int(number) + 2, free)
        elif change.startswith("a student.base"):
            assert _scaled(needs, (number - 1) / 1e3).room(longest, free)  # told in whole millions
        else:
            assert change.startswith("a machine with") and needs.room(longest, (number + 0.1) * 1e9)


def _room(student: Any, settings: Train) -> Room:
    return fitting.room_of(fitting.needs(student, settings, CPU), student, settings, CPU, LONGEST)


def test_all_weights_that_do_not_fit_are_told_to_try_an_adapter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    student = tiny.saved(tmp_path, vocab_size=100_000, hidden_size=64)
    monkeypatch.setattr(fitting, "free_bytes", lambda device: int(LEAST * SPARE + 80e6))
    with pytest.raises(UserError, match=r"Any of these makes it fit: train\.method: lora \(takes"):
        _room(student, Train(method="full"))
    assert _room(student, Train()).tokens >= LONGEST


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_shapes_need_what_the_loaded_model_needs(tmp_path: Path, method: str, dtype: str) -> None:
    student, settings = tiny.saved(tmp_path), Train.model_validate({"method": method})
    machine = CPU | {"dtype": dtype}
    loaded = fitting.load(student, settings, machine)
    assert fitting.needs(student, settings, machine) == needs_of(loaded, "cpu")
    assert next(loaded.parameters()).dtype == getattr(torch, dtype if method == "lora" else "float32")


def test_four_bits_take_less() -> None:
    base = tiny.model_of("llama", hidden_size=256, intermediate_size=512)
    for weight in base.parameters():
        weight.requires_grad = False
    inner = sum(w.numel() for name, w in base.named_parameters() if "proj" in name)
    saved = needs_of(base, "cpu").weights - needs_of(base, "cpu", True).weights
    assert saved == pytest.approx(inner * (4 - 0.52))
