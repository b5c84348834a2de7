"""Memory: how updates are cut to fit it, and what is refused."""

from __future__ import annotations

import pytest
import tiny

from yearling.errors import UserError
from yearling.train.room import LEAST, MOST, SPARE, Room, find_room

ROWS = tiny.rows(20)
LONGEST = max(len(row.tokens) for row in ROWS)
FIXED = LEAST * SPARE


def test_much_memory_keeps_activations_and_bounds_a_pass() -> None:
    assert find_room(tiny.model_of("llama"), ROWS, 10**12) == Room(MOST, False)
    assert find_room(tiny.model_of("llama"), ROWS, None) == Room(MOST, False)


def test_less_memory_makes_passes_smaller_then_computes_anew_then_refuses() -> None:
    model = tiny.model_of("llama")
    for weight in model.parameters():
        weight.requires_grad = False
    rooms, refused = [], 0
    for kib in range(4000, 0, -50):
        try:
            rooms.append(find_room(model, ROWS, int(FIXED + kib * 1024)))
        except UserError as error:
            refused += 1
            assert f"a student.max_seq_length under {LONGEST}, or another machine." in str(error)
    kept = [room.tokens for room in rooms if not room.recompute]
    assert kept == sorted(kept, reverse=True) and min(kept) >= LONGEST
    assert [room.recompute for room in rooms] == sorted(room.recompute for room in rooms)
    assert rooms[-1].recompute and refused


def test_all_weights_that_do_not_fit_are_told_to_try_an_adapter() -> None:
    with pytest.raises(UserError, match=r"or train\.method: lora\."):
        find_room(tiny.model_of("llama"), ROWS, int(FIXED))
