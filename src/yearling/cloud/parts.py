"""Large blobs: parts up and down, some at a time; those that a broken transfer left are not moved again.

In: a file and what sends or fetches a range of bytes. Out: all of them, and whether they are those that were written:
a blob carries the XXH3-128 checksum of its bytes, a large one that of the checksums of its parts. Each part goes from
disk to the service or back by one thread, through memory that is used again and again.
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, CancelledError, ThreadPoolExecutor, wait
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from yearling.cloud.mends import trouble_of
from yearling.errors import UserError
from yearling.run_folder import write_json

if TYPE_CHECKING:
    from azure.storage.blob import BlobClient

PART = 16 << 20  # bytes of one request
AT_ONCE = 4  # parts in flight of one file
PIECE = 512 << 10  # bytes of a part that are in memory
LARGE = 8 << 20  # a blob of no more bytes goes whole, in one request
DIGEST = "xxh128"  # the metadata that carries the checksum
PARTS_DIGEST = "xxh128parts"  # of a large blob: the size of a part, a hyphen, the checksum of their checksums
NOTE_S = 1.0  # between two notes of what was fetched
TOLD_EVERY_S = 0.2
Moved = Callable[[int], None]
T = TypeVar("T")


class Fetched(NamedTuple):
    """A part that is in its place in the file."""

    at: int
    digest: str
    told: Mapping[str, str]  # the blob's metadata


def is_large(size: int) -> bool:
    """Whether so many bytes go in parts."""
    return size > LARGE


def send(file: Path, client: BlobClient, moved: Moved) -> None:
    """Send a large file; the blob is there once all of it is. Raises UserError where the file changes meanwhile."""
    from azure.storage.blob import BlobBlock

    before = file.stat()
    # a block that a broken transfer left is the right one while the file is the one that it was read from
    stamp = checksum(f"{before.st_size} {before.st_mtime_ns}".encode()).hex()[:24]
    blocks = [f"{number:08d}-{stamp}" for number in range(-(-before.st_size // PART))]
    there, digests = _staged(client), dict[int, bytes]()

    def stage(number: int, count: Moved) -> tuple[int, bytes]:
        part = _Part(file, number * PART, min(PART, before.st_size - number * PART), count)
        if there.get(blocks[number]) == part.size:
            deque(part, maxlen=0)  # only for the checksum
        else:
            client.stage_block(blocks[number], part, length=part.size)
        return number, part.digest

    _in_parts(stage, range(len(blocks)), moved, lambda part: digests.update([part]))
    after = file.stat()
    if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise UserError(f"{file} was changed while it was sent. Run the same command again.")
    told = {PARTS_DIGEST: _of_parts(digests[number] for number in range(len(blocks)))}
    client.commit_block_list([BlobBlock(block) for block in blocks], metadata=told)


class _Part:
    """A part of a file, as the client's library asks for it: piece by piece, and from its start again where it must."""

    def __init__(self, file: Path, at: int, size: int, count: Moved) -> None:
        self.size = size
        self.digest = b""  # of all of it, once it was read
        self._file, self._at, self._count = file, at, count
        self._counted = 0

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[Any]:  # memory, which is bytes to the library
        import xxhash

        self._count(-self._counted)
        self._counted, digest = 0, xxhash.xxh3_128()
        buffer = memoryview(bytearray(min(PIECE, self.size)))
        with self._file.open("rb", buffering=0) as source:
            source.seek(self._at)
            while self._counted < self.size:
                if not (got := source.readinto(buffer[: self.size - self._counted])):
                    raise UserError(f"{self._file} became shorter while it was sent. Run the same command again.")
                digest.update(buffer[:got])
                yield buffer[:got]
                self._count(got)
                self._counted += got
        self.digest = digest.digest()


def receive(fetch: Callable[[int, int], Any], size: int, tag: str, partial: Path, moved: Moved) -> bool:
    """Fetch a large blob into `partial`; whether its bytes are those that it says were written.

    `fetch` asks for the bytes from one place to another and gives obstore's answer. A broken transfer leaves
    `partial` and a list of its parts beside it, and goes on there while the blob's tag is the same.
    """
    import xxhash

    state = partial.with_name(partial.name + "s")
    same = {"tag": tag, "size": size, "part": PART}
    done = _left(state, same) if partial.exists() else dict[int, str]()
    if not done:
        partial.write_bytes(b"")
    moved(sum(min(PART, size - at) for at in done))
    told, noted = dict[str, str](), time.monotonic()

    def part(at: int, count: Moved) -> Fetched:
        answer, digest = fetch(at, min(at + PART, size)), xxhash.xxh3_128()
        with partial.open("r+b") as out:
            out.seek(at)
            for chunk in answer.stream(PIECE):
                digest.update(chunk)
                out.write(chunk)
                count(len(chunk))
        return Fetched(at, digest.hexdigest(), answer.attributes)

    def land(part: Fetched) -> None:
        nonlocal noted
        done[part.at] = part.digest
        told.update(part.told)
        if time.monotonic() - noted > NOTE_S:
            note()
            noted = time.monotonic()

    def note() -> None:
        write_json(state, {**same, "done": done})

    try:
        # where all parts are there, one tells what the blob says of itself
        _in_parts(part, [at for at in range(0, size, PART) if at not in done] or [0], moved, land)
    finally:
        note()
    state.unlink()
    if not (wanted := told.get(PARTS_DIGEST) or told.get(DIGEST)):
        return True  # somebody else wrote it
    ours = wanted.startswith(f"{PART}-")
    return wanted == (_of_parts(bytes.fromhex(done[at]) for at in sorted(done)) if ours else _digest(partial, wanted))


def _in_parts(work: Callable[[int, Moved], T], parts: Iterable[int], moved: Moved, landed: Callable[[T], None]) -> None:
    """Do all parts, some at a time; what each gives lands in this thread, which also tells what was moved.

    The first that fails ends it, and others with their next count.
    """
    left, counts, ended = iter(parts), deque[int](), threading.Event()

    def count(bytes_: int) -> None:
        if ended.is_set():
            raise CancelledError
        counts.append(bytes_)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        flying = {pool.submit(work, part, count) for part in islice(left, AT_ONCE)}
        try:
            while flying:
                ready, flying = wait(flying, TOLD_EVERY_S, FIRST_COMPLETED)
                flying |= {pool.submit(work, part, count) for part in islice(left, len(ready))}
                for future in ready:
                    landed(future.result())
                moved(sum(counts.popleft() for _ in range(len(counts))))
        finally:
            ended.set()
            for future in flying:
                future.cancel()


def _left(state: Path, same: dict[str, Any]) -> dict[int, str]:
    """The parts that a broken transfer left, and their digests, where they are of the same blob."""
    try:
        told = json.loads(state.read_text(encoding="utf-8"))
        done = {int(at): str(digest) for at, digest in told.pop("done").items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}  # then all of it is fetched
    return done if told == same else {}


def _staged(client: BlobClient) -> dict[str, int]:
    """Blocks that a broken transfer left, and their sizes."""
    from azure.core.exceptions import ResourceNotFoundError

    try:
        return {block.id: block.size for block in client.get_block_list("uncommitted")[1]}
    except ResourceNotFoundError as error:
        if trouble_of(error).code == "ContainerNotFound":
            raise
        return {}


def checksum(data: Any) -> bytes:
    """XXH3 in 128 bits (xxhash.com): it finds what a transfer may break, at the speed of the memory."""
    import xxhash

    return xxhash.xxh3_128_digest(data)


def _of_parts(digests: Iterable[bytes]) -> str:
    return f"{PART}-{checksum(b''.join(digests)).hex()}"


def _digest(file: Path, like: str) -> str:
    """The checksum of a file in the form of another one: of the whole, or of parts of another size than ours."""
    import xxhash

    size, hyphen, _ = like.partition("-")
    whole, digests = xxhash.xxh3_128(), list[bytes]()
    with file.open("rb") as source:
        for part in iter(lambda: source.read(int(size) if hyphen else PART), b""):
            whole.update(part)
            digests.append(checksum(part))
    return f"{size}-{checksum(b''.join(digests)).hex()}" if hyphen else str(whole.hexdigest())
