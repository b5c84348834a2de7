"""A container of Azure Blob: what lies there, and bytes to and from it, checked and never seen half-written.

In: a place and an access. Out: blobs listed page by page, files up and down in parts, with the bytes moved told as they
go. Each blob written here carries the XXH3-128 checksum of its bytes (a large one that of the checksums of its parts),
and what is read is held against it. A broken transfer goes on with the parts that are there.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from yearling.cloud.identity import INSTALL, STORAGE, Access
from yearling.cloud.mends import explain, trouble_of
from yearling.errors import UserError
from yearling.places import Place
from yearling.run_folder import write_json

if TYPE_CHECKING:
    from azure.storage.blob import BlobClient, ContainerClient

PART = 8 << 20  # bytes of one request
AT_ONCE = 5  # parts in flight of one file
RETRIES = 8  # of a request that the service is too busy for
DIGEST = "xxh128"  # the metadata that carries it
PARTS_DIGEST = "xxh128parts"  # of a large blob: the size of a part, a hyphen, the checksum of their checksums
NOTE_S = 1.0  # between two notes of what was fetched
Moved = Callable[[int], None]
S = TypeVar("S")
T = TypeVar("T")
AUTHORITIES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")


@dataclass(frozen=True)
class Blob:
    """What a listing tells of a blob; `name` is whole, from the container on."""

    name: str
    size: int
    modified: datetime
    tag: str
    told: Mapping[str, str] | None = None  # its metadata, where they were asked for


class Store:
    """One container."""

    def __init__(self, place: Place, access: Access) -> None:
        self.place, self.access = place, access
        self.container = _client(place, access)
        self._fast = _fast(place, access)

    def at(self, name: str) -> Place:
        """The place of a blob, by its whole name."""
        return replace(self.place, path=name)

    def blobs(self, folder: str = "") -> Iterator[Blob]:
        """All blobs in a folder ("" is the container), as they come, a page at a time."""
        import obstore
        from obstore.exceptions import BaseError

        last, tries = "", RETRIES
        while True:
            with refused(self):
                try:
                    for page in obstore.list(self._fast, folder or None, offset=last or None, chunk_size=1000):
                        for found in page:
                            last = found["path"]
                            yield Blob(last, found["size"], found["last_modified"], found["e_tag"] or "")
                    return
                except BaseError as error:
                    tries -= 1
                    if trouble_of(error).status or not tries:  # only an answer that broke off is asked for again
                        raise

    def read(self, name: str) -> bytes | None:
        """A blob's bytes, or None where there is no such blob."""
        import obstore

        try:
            with refused(self, name):
                got = obstore.get(self._fast, name)
                data = bytes(got.bytes())
        except FileNotFoundError:
            return None
        self._hold(name, got.attributes, data)
        return data

    def write(self, name: str, data: bytes, new: bool = False) -> bool:
        """Write a blob whole; whether it was written, which it is not where it must be `new` and is there."""
        import obstore
        from obstore.exceptions import AlreadyExistsError

        try:
            with refused(self, name):
                obstore.put(self._fast, name, data, attributes=_told(data), mode="create" if new else "overwrite")
        except AlreadyExistsError:
            return False
        return True

    def _hold(self, name: str, told: Mapping[Any, str], data: bytes) -> None:
        """Hold a blob's bytes against what it says of them."""
        wanted = told.get(DIGEST)
        if wanted is not None and wanted != checksum(data).hex():
            raise UserError(f"{self.at(name)}: {DIFFERS}")

    def delete(self, names: list[str]) -> None:
        """Delete blobs; those that are gone already are no error."""
        import obstore

        with refused(self):
            obstore.delete(self._fast, names)

    def client(self, name: str) -> BlobClient:
        """The SDK's own client of a blob."""
        return self.container.get_blob_client(name)

    def upload(self, file: Path, name: str, moved: Moved = lambda count: None) -> None:
        """Send a file; a large one in parts, of which those that a broken transfer left are not sent again."""
        size = file.stat().st_size
        if not is_large(size):
            self.write(name, file.read_bytes())
            moved(size)
            return
        from azure.storage.blob import BlobBlock

        client, before = self.client(name), file.stat()
        # a block that a broken transfer left is the right one while the file is the one that it was read from
        stamp = checksum(f"{size} {before.st_mtime_ns}".encode()).hex()[:24]
        blocks, digests = list[str](), list[bytes]()
        with refused(self, name), file.open("rb") as source:
            there = _staged(client)

            def read() -> Iterator[tuple[str, bytes]]:
                while data := source.read(PART):
                    blocks.append(f"{len(blocks):08d}-{stamp}")
                    digests.append(checksum(data))
                    yield blocks[-1], data

            def stage(part: tuple[str, bytes]) -> int:
                block, data = part
                if there.get(block) != len(data):
                    client.stage_block(block, data, length=len(data))
                return len(data)

            _in_parts(stage, read(), moved)
            after = file.stat()
            if (after.st_size, after.st_mtime_ns) != (size, before.st_mtime_ns):
                raise UserError(f"{file} was changed while it was sent. Run the same command again.")
            told = {PARTS_DIGEST: _of_parts(digests)}
            client.commit_block_list([BlobBlock(block) for block in blocks], metadata=told)

    def find(self, name: str) -> Blob | None:
        """A blob's line of the listing, or None where there is no such blob."""
        from azure.core.exceptions import ResourceNotFoundError

        with refused(self, name):
            try:
                found = self.client(name).get_blob_properties()
            except ResourceNotFoundError as error:
                if error.error_code == "ContainerNotFound":  # type: ignore[attr-defined]
                    raise
                return None
        return Blob(name, found.size, found.last_modified, found.etag, found.metadata)

    def download(self, blob: Blob, file: Path, moved: Moved = lambda count: None) -> None:
        """Fetch a blob into a file, which is there only once it is whole and checked.

        A large one is fetched in parts: a broken transfer leaves `<file>.part` and a list of those, and goes on there
        while the blob is the same.
        """
        if not file.parent.is_dir():
            file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_name(file.name + ".part")
        if not is_large(blob.size):
            data = self.read(blob.name)
            if data is None:
                raise UserError(f"{self.at(blob.name)} is gone: somebody deleted it meanwhile.")
            partial.write_bytes(data)
            moved(len(data))
        else:
            self._download(blob, partial, moved)
        os.utime(partial, (blob.modified.timestamp(), blob.modified.timestamp()))
        partial.replace(file)

    def _download(self, blob: Blob, partial: Path, moved: Moved) -> None:
        import obstore

        state = partial.with_name(partial.name + "s")
        done = _parts_of(state, blob) if partial.exists() else dict[int, str]()
        told = self.client(blob.name).get_blob_properties().metadata if blob.told is None else blob.told
        left = [at for at in range(0, blob.size, PART) if at not in done]
        moved(sum(min(PART, blob.size - at) for at in done))

        def part(at: int) -> tuple[int, str, Any]:
            options: Any = {"range": (at, min(at + PART, blob.size)), "if_match": blob.tag}
            with refused(self, blob.name):
                data = obstore.get(self._fast, blob.name, options=options).bytes()
            return at, checksum(data).hex(), data

        def note() -> None:
            write_json(state, {"tag": blob.tag, "size": blob.size, "part": PART, "done": done})

        noted = time.monotonic()
        with partial.open("r+b" if done else "wb") as out:

            def land(fetched: tuple[int, str, Any]) -> None:
                nonlocal noted
                at, digest, data = fetched
                out.seek(at)
                out.write(data)
                done[at] = digest
                if time.monotonic() - noted > NOTE_S:
                    out.flush()
                    note()
                    noted = time.monotonic()
                moved(len(data))

            try:
                _in_parts(part, left, land)
            finally:
                out.flush()
                note()
        state.unlink()
        if wanted := told.get(PARTS_DIGEST) or told.get(DIGEST):
            ours = wanted.startswith(f"{PART}-")
            found = _of_parts(bytes.fromhex(done[at]) for at in sorted(done)) if ours else _digest(partial, wanted)
            if wanted != found:
                partial.unlink()  # so that the next try fetches all of it
                raise UserError(f"{self.at(blob.name)}: {DIFFERS}")


def is_large(size: int) -> bool:
    """Whether so many bytes go in parts."""
    return size > PART


DIFFERS = "its bytes are not those that were written (their checksum differs). Write it again."


def _told(data: bytes) -> Any:
    return {DIGEST: checksum(data).hex()}


def _of_parts(digests: Iterable[bytes]) -> str:
    return f"{PART}-{checksum(b''.join(digests)).hex()}"


def _in_parts(work: Callable[[S], T], parts: Iterable[S], landed: Callable[[T], None]) -> None:
    """Do all parts, some at a time; what each gives lands in this thread, as it comes. The first that fails ends it."""
    left = iter(parts)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        flying = {pool.submit(work, part) for part in islice(left, AT_ONCE)}
        try:
            while flying:
                ready, flying = wait(flying, return_when=FIRST_COMPLETED)
                flying |= {pool.submit(work, part) for part in islice(left, len(ready))}
                for future in ready:
                    landed(future.result())
        finally:
            for future in flying:
                future.cancel()


def _parts_of(state: Path, blob: Blob) -> dict[int, str]:
    """The parts that a broken transfer left, and their digests, where they are of the same blob."""
    try:
        told = json.loads(state.read_text(encoding="utf-8"))
        same = [told["tag"], told["size"], told["part"]] == [blob.tag, blob.size, PART]
        return {int(at): str(digest) for at, digest in told["done"].items()} if same else {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}  # then all of it is fetched


def checksum(data: Any) -> bytes:
    """XXH3 in 128 bits (xxhash.com): it finds what a transfer may break, at the speed of the memory."""
    import xxhash

    return xxhash.xxh3_128_digest(data)


def _staged(client: BlobClient) -> dict[str, int]:
    """Blocks that a broken transfer left, and their sizes."""
    from azure.core.exceptions import ResourceNotFoundError

    try:
        return {block.id: block.size for block in client.get_block_list("uncommitted")[1]}
    except ResourceNotFoundError as error:
        if error.error_code == "ContainerNotFound":  # type: ignore[attr-defined]
            raise
        return {}


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


def _client(place: Place, access: Access) -> ContainerClient:
    try:
        from azure.storage.blob import ContainerClient
    except ImportError:
        raise UserError(f"{place} is on Azure Blob: {INSTALL}.") from None
    from azure.storage.blob import ExponentialRetry

    again = ExponentialRetry(initial_backoff=1, increment_base=2, retry_total=RETRIES)
    more: dict[str, Any] = {"retry_policy": again, "raw_response_hook": _busy_is_busy}
    if authority := certificates():
        more["connection_verify"] = authority
    given: Any = access.credential
    if access.key:
        given = {"account_name": place.account, "account_key": access.key}
    elif access.sas:
        given = access.sas
    return ContainerClient(place.endpoint, place.container, credential=given, **more)


def _busy_is_busy(response: Any) -> None:
    """A 429 is as good a reason to try again as a 503, which is the one that the library tries again on."""
    if response.http_response.status_code == 429:
        response.http_response.status_code = 503


def _fast(place: Place, access: Access) -> Any:
    from obstore.store import AzureStore

    config: Any = {"account_name": place.account, "endpoint": place.endpoint}
    options: Any = {"timeout": timedelta(minutes=5)}
    if place.endpoint.startswith("http://"):
        options["allow_http"] = True
    if authority := certificates():
        options["root_certificate"] = Path(authority).read_bytes()
    if access.key:
        config["account_key"] = access.key
    elif access.sas:
        config["sas_key"] = access.sas
    provider = _provider(access) if access.credential else None
    return AzureStore(
        place.container,
        config=config,
        client_options=options,
        retry_config={"max_retries": RETRIES},
        credential_provider=provider,
    )


def _provider(access: Access) -> Callable[[], Any]:
    from yearling.cloud.identity import token_of

    def provide() -> dict[str, Any]:
        got = token_of(access, STORAGE)
        return {"token": got.token, "expires_at": datetime.fromtimestamp(got.expires_on, UTC)}

    return provide


def certificates() -> str | None:
    """The file of authorities that this machine trusts beside the usual ones, where one is set."""
    return next((os.environ[name] for name in AUTHORITIES if os.environ.get(name)), None)


@contextmanager
def refused(store: Store, name: str = "") -> Iterator[None]:
    """Turns what the service refuses into one clear error; a blob that is not there stays what it is."""
    from azure.core.exceptions import AzureError
    from obstore.exceptions import AlreadyExistsError, BaseError

    try:
        yield
    except AlreadyExistsError:
        raise
    except FileNotFoundError as error:
        if "ContainerNotFound" not in str(error):
            raise
        raise UserError(explain(trouble_of(error), store.access, store.at(name))) from None
    except (AzureError, BaseError) as error:
        raise UserError(explain(trouble_of(error), store.access, store.at(name))) from None
