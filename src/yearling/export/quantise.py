"""A smaller GGUF file from a half-precision one, tensor by tensor, and the reading and writing of GGUF files.

In: an F16 GGUF file and `q8_0` or `q4_k_m`. Out: a GGUF file with the same metadata, and how many tensors have which
type. Which tensor gets which type follows llama.cpp's own mixture of the same name (`llama_tensor_get_type` in
llama.cpp's src/llama-quant.cpp) without its importance matrices and its exceptions for 70B and mixture-of-experts
models, and with eight bits instead of five where rows do not fit the blocks of a K-quant. A model that this rounds too
much has some of its tensors `spared`. The numbers come from
llama.cpp's `ggml_quantize_chunk`, so callers outside a child process use `quantise_in_child`. Not done here: judging
what a smaller type costs in quality.
"""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf import GGUFValueType as Value
from numpy.typing import NDArray

from yearling.errors import UserError

Kind = Literal["q8_0", "q4_k_m"]
# What is rounded less where a file is spared: a small model's error comes from these more than their size says.
SPARED = re.compile(r"\.(attn_(q|k|v|qkv)|ffn_down)\.weight$")
LESS = {"q8_0": Type.F16, "q4_k_m": Type.Q8_0}
CHUNK = 1 << 22  # weights widened to float32 at once, a thread: 16 MiB


class GgufReader(gguf.GGUFReader):
    """gguf's reader with arrays kept whole: a quarter of a million tokens open in tenths of a second, not in nine."""

    def _get_field_parts(self, orig_offs: int, raw_type: int) -> tuple[int, list[NDArray[Any]], list[int], list[Value]]:
        if raw_type != Value.ARRAY:
            return super()._get_field_parts(orig_offs, raw_type)
        item, count = struct.unpack_from("<IQ", self.data.data, orig_offs)
        start = orig_offs + 12  # behind the item type and the count
        end = start
        if item == Value.STRING:
            for _ in range(count):
                end += 8 + struct.unpack_from("<Q", self.data.data, end)[0]
            part = self.data[start:end]
        else:
            part = self._get(start, self.gguf_scalar_to_np[Value(item)], count)
            end += count * part.itemsize
        if end > len(self.data):
            raise ValueError("an array ends behind the file")
        return end - orig_offs, [part], [0], [Value.ARRAY, Value(item)]


def read_gguf(path: Path) -> GgufReader:
    """Open a GGUF file, its weights memory-mapped; raises UserError where it is damaged."""
    try:
        reader = GgufReader(path)
        for field in reader.fields.values():
            if field.types == [Value.STRING]:
                field.contents()  # decodes: bytes that are no UTF-8 are damage too
        if any(not tensor.data.ndim or not tensor.data.size for tensor in reader.tensors):
            raise ValueError("a tensor is empty")
    except (OSError, ValueError, LookupError, OverflowError, struct.error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"{path} cannot be read as GGUF ({reason}). Export or download it again.") from None
    if reader.byte_order == "S":
        raise UserError(f"{path} was written for machines of the other byte order. Export it again on this one.")
    return reader


def field_value(field: gguf.ReaderField) -> Any:
    """The value of a field read by `GgufReader`; strings inside arrays stay bytes."""
    if field.types[0] != Value.ARRAY:
        return field.contents()
    if field.types[1] != Value.STRING:
        return field.parts[-1].tolist()
    block, strings, place = bytes(field.parts[-1]), [], 0
    while place < len(block):
        end = place + 8 + struct.unpack_from("<Q", block, place)[0]
        strings.append(block[place + 8 : end])
        place = end
    return strings


def copy_fields(reader: GgufReader, writer: gguf.GGUFWriter, prefix: str = "", without: Sequence[str] = ()) -> None:
    """Give `writer` the fields of `reader` whose names begin with `prefix`, types and bytes as they are."""
    for key, field in reader.fields.items():
        if not key.startswith(prefix) or key.startswith("GGUF.") or key in without:
            continue
        value = field_value(field)
        if value == []:
            continue  # gguf's writer refuses an empty array; a missing one means the same to llama.cpp
        writer.add_key_value(key, value, field.types[0], field.types[1] if len(field.types) > 1 else None)


def write_gguf(writer: gguf.GGUFWriter, out: Path, arrays: Iterable[NDArray[Any]]) -> None:
    """Write `writer`'s fields and announced tensors to `out`, the arrays one after another, seen only when whole."""
    with _renamed(out) as temporary:
        try:
            writer.write_header_to_file(temporary)
            writer.write_kv_data_to_file()
            writer.write_ti_data_to_file()
            for array in arrays:
                writer.write_tensor_data(array)
        finally:
            writer.close()


@contextmanager
def _renamed(out: Path) -> Iterator[Path]:
    temporary = _temporary(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(out)
    except OSError as error:
        reason = error.strerror or error  # numpy's own short-write error carries no number
        raise UserError(f"{out} cannot be written: {reason}. Free some space, or choose another folder.") from error
    finally:
        temporary.unlink(missing_ok=True)


def _temporary(out: Path) -> Path:
    return out.with_name(out.name + ".tmp")


def quantise(source: Path, out: Path, kind: Kind, spared: bool = False) -> dict[str, int]:
    """Write `out` from the half-precision GGUF file `source`; returns the count of tensors of each type.

    `spared` rounds attention's inputs and `ffn_down` less, for a tenth to a quarter more bytes.
    Calls native code: outside a child process use `quantise_in_child`.
    """
    if kind not in get_args(Kind):
        raise UserError(f"no quantisation {kind!r}. There are: {', '.join(get_args(Kind))}.")
    reader = read_gguf(source)
    types = plan_types(reader, kind, spared)
    writer = gguf.GGUFWriter(None, str(field_value(_field(reader, source, "general.architecture"))))
    own = ("general.architecture", "general.file_type", "general.quantization_version")
    copy_fields(reader, writer, without=own)
    mixture = {"q8_0": gguf.LlamaFileType.MOSTLY_Q8_0, "q4_k_m": gguf.LlamaFileType.MOSTLY_Q4_K_M}[kind]
    writer.add_file_type(mixture)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    for tensor in reader.tensors:
        shape, kept = tensor.data.shape, types[tensor.name]
        size = int(np.prod(shape[:-1])) * row_bytes(shape[-1], kept)
        writer.add_tensor_info(tensor.name, shape, tensor.data.dtype, size, raw_dtype=kept)
    with ThreadPoolExecutor(_threads()) as pool:
        write_gguf(writer, out, (_converted(tensor, types[tensor.name], pool) for tensor in reader.tensors))
    return dict(Counter(found.name for found in types.values()))


def _field(reader: GgufReader, source: Path, key: str) -> gguf.ReaderField:
    found = reader.fields.get(key)
    if found is None:
        raise UserError(f"{source} has no field {key}. Export or download it again.")
    return found


def plan_types(reader: GgufReader, kind: Kind, spared: bool = False) -> dict[str, Type]:
    """The type of every tensor; raises UserError where the source is quantised already."""
    tied = all(tensor.name != "output.weight" for tensor in reader.tensors)
    layers = 1 + max((_layer(tensor.name) for tensor in reader.tensors), default=-1)
    plan: dict[str, Type] = {}
    for tensor in reader.tensors:
        if tensor.tensor_type not in (Type.F16, Type.F32):
            found = tensor.tensor_type.name
            raise UserError(f"{tensor.name} is {found} already: quantise the half-precision GGUF file instead.")
        if tensor.data.ndim < 2:
            plan[tensor.name] = tensor.tensor_type
            continue
        wanted = Type.Q8_0 if kind == "q8_0" else _mixture(tensor.name, layers, tied)
        if spared and SPARED.search(tensor.name):
            wanted = LESS[kind]
        plan[tensor.name] = _fitting(wanted, tensor.data.shape[-1])
    return plan


def _mixture(name: str, layers: int, tied: bool) -> Type:
    """The Q4_K_M mixture: six bits where a rounding error spreads furthest, four elsewhere."""
    if name == "output.weight" or (tied and name == "token_embd.weight"):
        return Type.Q6_K
    dear = name.endswith((".attn_v.weight", ".ffn_down.weight"))
    return Type.Q6_K if dear and use_more_bits(_layer(name), layers) else Type.Q4_K


def use_more_bits(layer: int, layers: int) -> bool:
    """Whether a layer is in the first or last eighth, or every third between."""
    eighth = layers // 8
    return layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2


def _layer(name: str) -> int:
    found = re.match(r"blk\.(\d+)\.", name)
    return int(found[1]) if found else -1


def _fitting(wanted: Type, width: int) -> Type:
    """`wanted`, or eight bits for rows that are no whole number of 256-weight blocks.

    llama.cpp takes five bits there. A student's base is often a file of such bits: its weights lie on their grid, an
    adapter moves most of them by less than half a step, and rounding would put them back (docs/lab-log.md).
    """
    if wanted not in (Type.Q8_0, Type.F16) and width % 256:
        wanted = Type.Q8_0
    return Type.F16 if width % 32 else wanted


def row_bytes(width: int, kind: Type) -> int:
    """Bytes of one row of `width` weights."""
    block, size = gguf.GGML_QUANT_SIZES[kind]
    return width // block * size


def _converted(tensor: gguf.ReaderTensor, kind: Type, pool: ThreadPoolExecutor) -> NDArray[Any]:
    if kind == tensor.tensor_type:
        return tensor.data
    if kind == Type.F16:
        return tensor.data.astype(np.float16)
    from yearling.llama import native

    native().ggml_quantize_init(int(kind))
    rows = tensor.data.reshape(-1, tensor.data.shape[-1])
    out = np.empty((rows.shape[0], row_bytes(rows.shape[1], kind)), dtype=np.uint8)
    step = max(1, CHUNK // rows.shape[1])
    parts = [slice(first, first + step) for first in range(0, len(rows), step)]
    for finite in pool.map(lambda part: _quantise_rows(rows[part], out[part], kind), parts):
        if not finite:
            raise UserError(f"{tensor.name} holds values that are not finite. Train again with a lower learning rate.")
    return out


def _quantise_rows(rows: NDArray[Any], out: NDArray[np.uint8], kind: Type) -> bool:
    """Fill `out` with the quantised `rows`, the GIL released; False where a weight is NaN or infinite."""
    from yearling.llama import native

    wide = np.ascontiguousarray(rows, dtype=np.float32)
    if not np.isfinite(wide).all():
        return False
    native().ggml_quantize_chunk(int(kind), wide.ctypes.data, out.ctypes.data, 0, len(wide), wide.shape[1], None)
    return True


def _threads() -> int:
    from yearling.llama import threads

    return threads()


def quantise_in_child(source: Path, out: Path, kind: Kind, spared: bool = False) -> dict[str, int]:
    """`quantise` in a Python child: any way it ends but well is a UserError with the child's last words."""
    command = [sys.executable, "-m", "yearling.export.quantise", str(source), str(out), kind, *["spared"][:spared]]
    environment = {**os.environ, "GGML_NO_BACKTRACE": "1", "PYTHONIOENCODING": "utf-8"}
    try:
        child = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", errors="replace")
    finally:
        _temporary(out).unlink(missing_ok=True)  # a killed child cannot tidy up
    if child.returncode == 0:
        counts: dict[str, int] = json.loads(child.stdout.splitlines()[-1])
        return counts
    words = " | ".join(line for line in child.stderr.splitlines()[-3:] if line.strip()) or "it said nothing"
    if child.returncode == UserError.exit_code:
        raise UserError(words)
    raise UserError(f"quantising {source} to {kind} ended with exit {child.returncode}: {words}")


def main(arguments: Sequence[str]) -> int:
    """`python -m yearling.export.quantise IN OUT KIND [spared]`: prints the counts as JSON."""
    try:
        source, out, kind, *more = arguments
    except ValueError:
        print(f"usage: python -m yearling.export.quantise IN OUT {'|'.join(get_args(Kind))} [spared]", file=sys.stderr)
        return UserError.exit_code
    try:
        print(json.dumps(quantise(Path(source), Path(out), kind, more == ["spared"])))  # type: ignore[arg-type]  # checked inside
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
