"""What is trained: a base, its adapter, where both lie and in which precision; whole, or as shapes without weights.

In: a student, the recipe's train section. Out: models of transformers, with PEFT's adapters; facts for the run.
"""

from __future__ import annotations

from math import sqrt
from typing import Any

from yearling.progress import say
from yearling.recipe import Train
from yearling.record import digest
from yearling.run_folder import Run
from yearling.students.load import Student, quiet
from yearling.students.trained import open_trained
from yearling.train.adapted import hasten
from yearling.train.proof import Weights
from yearling.train.ranks import Ranks
from yearling.train.room import Needs, Room, find_room, free_bytes, needs_of
from yearling.train.watch import FEWEST

WIDTH, RATES = 4096, {"lora": 2e-4, "qlora": 2e-4, "full": 2e-5}
FAST = ("avx512_bf16", "amx_bf16")  # what a processor that multiplies bfloat16 faster than float32 has one of


# Of each dtype, why it is taken.
WHY = {
    "bfloat16": "this device multiplies it faster than float32",
    "float32": "bfloat16 is not known to be faster here",
}


def derive_machine() -> dict[str, Any]:
    """What is derived from the hardware; frozen, so that a resume elsewhere trains the same way."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if device == "cuda":
        bfloat = torch.cuda.is_bf16_supported()
    else:
        bfloat = device == "cpu" and any(torch.cpu.get_capabilities().get(name) for name in FAST)
    return {"device": device, "dtype": "bfloat16" if bfloat else "float32"}


def weights_of(settings: Train, machine: dict[str, Any]) -> Weights:
    """What the base is loaded as; all weights are tuned in 32 bits, for an update is less than bfloat16 can hold."""
    dtype = machine["dtype"] if settings.precision == "auto" else settings.precision
    dtype = "float32" if settings.method == "full" else dtype
    return Weights(dtype, machine["device"], settings.method == "qlora")


def rate_of(settings: Train, width: int) -> float:
    """The peak learning rate for a base of a width (numbers of its hidden states).

    At LLaMA-7B's width it is that of QLoRA for an adapter (Dettmers et al. 2023, table 9), and Alpaca's for all
    weights. Wider models want less, narrower ones more: by the root of the width, which lies between QLoRA's own step
    to wider ones (half of the rate at twice the width) and none.
    """
    if settings.learning_rate != "auto":
        return settings.learning_rate
    return RATES[settings.method] * sqrt(WIDTH / width)


def epochs_of(settings: Train, rows: int) -> float:
    """Passes over a train split of so many rows: a second one only where rows are watched, for then the weights from
    before it hurts are kept."""
    if settings.epochs != "auto":
        return settings.epochs
    return 2.0 if settings.watch and rows >= FEWEST else 1.0


def says(settings: Train, machine: dict[str, Any]) -> str:
    """What was derived from the hardware and the method, and why, for people."""
    weights = weights_of(settings, machine)
    why = WHY[weights.dtype] if settings.precision == "auto" else "train.precision"
    why = "all weights are tuned, and an update is less than bfloat16 can hold" if settings.method == "full" else why
    return f"on {weights.device}, the base in {'4 bits, multiplied in ' * weights.four_bits}{weights.dtype}: {why}"


def load(student: Student, settings: Train, machine: dict[str, Any]) -> Any:
    """All of the base, or an adapter on it, on the machine's device; the same of every start."""
    import torch

    weights = weights_of(settings, machine)
    torch.manual_seed(settings.seed)
    if settings.lora.start:
        model = open_trained(student, settings.lora.start, weights.dtype, True, weights.four_bits_on)
    else:
        model = _adapted(student.weights(weights.dtype, weights.four_bits_on), settings)
    return hasten(weights.there(model))


def toy(student: Student, settings: Train, machine: dict[str, Any], layers: int) -> Any:
    """What `load` gives, of the first layers only and with weights by chance, never in 4 bits; fetches no weights."""
    weights = weights_of(settings, machine)
    return hasten(_adapted(student.shape(weights.dtype, layers), settings).to(weights.device))


def needs(student: Student, settings: Train, machine: dict[str, Any]) -> Needs:
    """What `load` and a training of what it loads would take of the memory; loads nothing."""
    import torch

    weights = weights_of(settings, machine)
    with torch.device("meta"):
        shape = _adapted(student.shape(weights.dtype), settings)
    return needs_of(shape, weights.device, weights.four_bits)


def _adapted(model: Any, settings: Train) -> Any:
    """The model with a new adapter, unless all of its weights are tuned."""
    if settings.method == "full":
        return model
    with quiet():
        from peft import get_peft_model

        return get_peft_model(model, _adapter(settings))


def _adapter(settings: Train) -> Any:
    """PEFT's settings of the adapter."""
    from peft import LoraConfig, PeftConfig

    if settings.lora.start:
        config = PeftConfig.from_pretrained(str(settings.lora.start))
        config.inference_mode = False  # as it was saved; here it is trained on
        return config
    lora = settings.lora
    return LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        use_rslora=lora.rslora,
        use_dora=lora.dora,
        target_modules="all-linear" if lora.targets == "all-linear" else ["q_proj", "k_proj", "v_proj", "o_proj"],
        task_type="CAUSAL_LM",
    )


def room_of(
    takes: Needs, student: Student, settings: Train, machine: dict[str, Any], longest: int, processes: int = 1
) -> Room:
    """How updates of a training with these needs are cut here; raises UserError where the longest row does not fit."""

    def others() -> dict[str, Needs]:
        methods = {"full": ["lora"], "lora": ["qlora"] if machine["device"] == "cuda" else []}.get(settings.method, [])
        return {
            f"train.method: {name}": needs(student, settings.model_copy(update={"method": name}), machine)
            for name in methods
        }

    return find_room(takes, longest, free_bytes(machine["device"]), others, processes)


def fit(
    student: Student, longest: int, settings: Train, machine: dict[str, Any], run: Run, ranks: Ranks | None = None
) -> tuple[Any, Room]:
    """What is trained, on the device, and how its updates are cut.

    Raises UserError where a row of `longest` tokens does not fit this machine's memory; nothing is loaded then.
    """
    ranks = ranks or Ranks()
    # a resume with other memory cuts the updates the same way, and so gets the same bits
    told = [student.digest, settings.model_dump(mode="json"), machine, longest, ranks.size]
    with ranks.first_alone():
        name = f"train.room-{digest(told)[:12]}"
        takes = needs(student, settings, machine)
        given = run.freeze(name, lambda: room_of(takes, student, settings, machine, longest, ranks.size))
        room = Room(*given)
        if ranks.first:
            say(f"train: {room.says()}")
        model = load(student, settings, machine | {"device": "cpu"} if room.spread else machine)
    model = cut_to(model, room)
    if room.spread:
        from yearling.train.shard import spread

        model = spread(model, machine["device"])
    return model, room


def cut_to(model: Any, room: Room) -> Any:
    """The model, made to compute its activations again where the room asks for it."""
    if room.recompute:
        with quiet():
            model.enable_input_require_grads()
            model.gradient_checkpointing_enable({"use_reentrant": False})
    return model
