"""Load the student's base: tokenizer, template and weights, from the hub, a folder or a GGUF file.

In: the recipe's student section. Out: objects of transformers, and the facts that rows and files depend on.
A GGUF base is converted once into the project's cache. Weights are read from safetensors or GGUF only.
"""

from __future__ import annotations

import io
import os
import shutil
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yearling.errors import UserError
from yearling.hub import SHIPPED, cache_folder, find_gguf, is_gguf, shipped_models
from yearling.llama import check_gguf
from yearling.progress import say
from yearling.recipe import Student as Settings
from yearling.record import digest, file_digest
from yearling.students.template import Template, find_template

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

CONVERSION = 1  # raised when what `_convert` writes changes


@dataclass(frozen=True)
class Student:
    """A base model that is not loaded until asked for: `folder` is a local folder or a hub name."""

    folder: str
    gguf: Path | None
    template_name: str | None
    digest: str

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The fast tokenizer, with a padding token that is never the stop token."""
        return load_tokenizer(self.folder)

    @cached_property
    def template(self) -> Template:
        """The template named in the recipe, or the base's own."""
        tokenizer = self.tokenizer
        text = find_template(self.template_name) if self.template_name else tokenizer.chat_template
        if not isinstance(text, str):
            raise UserError(
                f"{self.folder} has no chat template of its own. Name one: `student: {{template: plain}}` (or "
                "alpaca, chatml, a .jinja file)."
            )
        return Template(
            text, tokenizer.bos_token or "", tokenizer.eos_token or "", self.template_name or "the model's own"
        )

    @cached_property
    def stop(self) -> str:
        """The token that ends the assistant's turn in this template."""
        from yearling.students.rows import find_stop

        return find_stop(self).text

    def weights(self, dtype: str, four_bits_on: str | None = None) -> PreTrainedModel:
        """The model with its weights as torch's `dtype` ("float32", "bfloat16"), or in 4 bits on a device.

        Four bits are NF4 with quantised scales (QLoRA: Dettmers et al. 2023, section 3); `dtype` is what they are
        multiplied in.
        """
        import torch
        from transformers import AutoModelForCausalLM

        more = _four_bits(getattr(torch, dtype), four_bits_on) if four_bits_on else {}
        with quiet():
            try:
                model = AutoModelForCausalLM.from_pretrained(
                    self.folder, dtype=getattr(torch, dtype), use_safetensors=True, **more
                )
            except (OSError, ValueError) as error:
                raise UserError(f"the base {self.folder} cannot be loaded: {str(error).splitlines()[0]}") from None
        return model

    def shape(self, dtype: str, layers: int | None = None) -> PreTrainedModel:
        """The model as torch's `dtype`, or its first `layers`, with weights by chance; on torch's present device."""
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM

        with quiet():
            try:
                config = AutoConfig.from_pretrained(self.folder)
                if layers is not None:
                    shape = config.get_text_config()
                    shape.num_hidden_layers = layers
                    if getattr(shape, "layer_types", None):
                        shape.layer_types = shape.layer_types[:layers]
                return AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype))
            except (OSError, ValueError) as error:
                raise UserError(f"the base {self.folder} cannot be loaded: {str(error).splitlines()[0]}") from None


def _four_bits(dtype: Any, device: str) -> dict[str, Any]:
    import importlib.util

    if device != "cuda":  # bitsandbytes multiplies there, but hands no gradient back
        raise UserError(f"qlora needs a CUDA GPU, this machine trains on {device}. Take train.method: lora.")
    if importlib.util.find_spec("bitsandbytes") is None:
        raise UserError("train.method: qlora needs bitsandbytes: run `pip install 'yearling[qlora]'`.")
    from transformers import BitsAndBytesConfig

    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    return {"quantization_config": config, "device_map": {"": device}}


def open_student(settings: Settings) -> Student:
    """Find the base of a recipe, converting a GGUF file once; raises UserError where it cannot be had."""
    check_student(settings)
    if is_gguf(settings.base):
        gguf = find_gguf(settings.base)
        sha = file_digest(gguf)
        folder = cache_folder() / "bases" / f"{sha[:24]}-{CONVERSION}"
        if not (folder / "config.json").is_file():
            _convert(gguf, folder)
        return Student(str(folder), gguf, settings.template, sha)
    path = Path(settings.base).expanduser()
    if path.is_dir():
        return Student(
            str(path), None, settings.template, digest([[p.name, p.stat().st_size] for p in sorted(path.iterdir())])
        )
    return Student(settings.base, None, settings.template, digest(settings.base))


def check_student(settings: Settings) -> None:
    """Raise UserError where the base or its template can be seen to be missing; fetches and loads nothing."""
    require_train()
    base, path = settings.base, Path(settings.base).expanduser()
    if settings.template:
        find_template(settings.template)
    if is_gguf(base):
        if base.removeprefix(SHIPPED) not in shipped_models() and not _is_at_hub(base):
            check_gguf(find_gguf(base))
    elif path.is_dir():
        if not (path / "config.json").is_file():
            raise UserError(f"student.base {base!r} holds no config.json. Give a folder that transformers has saved.")
    elif not _is_at_hub(base):
        raise UserError(
            f"student.base {base!r} is no folder, no .gguf file, no <org>/<name> on the hub. "
            f"Relative paths start at {Path.cwd()}."
        )


def _is_at_hub(base: str) -> bool:
    """Whether a base can be a name on the hub: `<org>/<name>`, or `<org>/<name>/<file>.gguf`."""
    slashes = base.count("/")
    named = slashes > 1 if base.endswith(".gguf") else slashes == 1
    return named and not base.startswith((".", "/", "~")) and not Path(base).exists()


def load_tokenizer(folder: str) -> PreTrainedTokenizerBase:
    """A fast tokenizer whose padding differs from its stop token."""
    from transformers import AutoTokenizer

    with quiet():
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, use_fast=True)
        except (OSError, ValueError) as error:
            raise UserError(f"the tokenizer of {folder} cannot be loaded: {str(error).splitlines()[0]}") from None
    return tokenizer


def require_train() -> None:
    """Raise UserError where the `train` extra is not installed."""
    import importlib.util

    missing = [name for name in ("torch", "transformers", "peft") if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"this step needs {', '.join(missing)}: run `pip install 'yearling[train]'`.")


@contextmanager
def quiet() -> Iterator[None]:
    """Silence transformers' bars and warnings: what matters is said by the stages."""
    import logging as python_logging

    from transformers.utils import logging

    # when PEFT imports it, it warns of fast kernels for CPUs that nothing here asks for
    python_logging.getLogger("bitsandbytes").setLevel(python_logging.ERROR)
    level = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            # names that transformers renames from one minor to the next, inside itself and PEFT
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        logging.set_verbosity(level)
        logging.enable_progress_bar()


def _convert(gguf: Path, folder: Path) -> None:
    """Write a GGUF base as a transformers folder: weights as float32 safetensors, tokenizer, config."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    check_gguf(gguf)
    say(f"student: converting {gguf.name} for training (once)")
    temporary = folder.with_name(f"{folder.name}.{os.getpid()}.tmp")
    where: dict[str, Any] = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    try:
        # the converter draws a bar of its own on stderr
        with quiet(), redirect_stderr(io.StringIO()):
            tokenizer = AutoTokenizer.from_pretrained(**where)
            model = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
            # the weights are dequantised now; the mark of the GGUF quantiser would forbid saving them
            model.hf_quantizer = None
            if hasattr(model.config, "quantization_config"):
                del model.config.quantization_config
            model.save_pretrained(temporary)
            tokenizer.save_pretrained(temporary)
        temporary.replace(folder)
    except (ValueError, LookupError, OverflowError, RuntimeError, TypeError, struct.error) as error:
        said = " ".join(str(error).split())
        raise UserError(f"{gguf} cannot be converted: {said}. If it is damaged, download it again.") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
