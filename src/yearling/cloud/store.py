"""A container of Azure Blob: what lies there, and bytes to and from it, checked and never seen half-written.

In: a place and an access. Out: blobs listed page by page, files up and down in parts, with the bytes moved told as they
go. Each blob written here carries the XXH3-128 checksum of its bytes (a large one that of the checksums of its parts),
and what is read is held against it. A broken transfer goes on with the parts that are there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yearling.cloud.identity import INSTALL, STORAGE, Access
from yearling.cloud.mends import explain, trouble_of
from yearling.cloud.parts import DIGEST, Moved, checksum, is_large, receive, send
from yearling.errors import UserError
from yearling.places import Place

if TYPE_CHECKING:
    from azure.storage.blob import BlobClient, ContainerClient

RETRIES = 8  # of a request that the service is too busy for
AUTHORITIES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")


@dataclass(frozen=True)
class Blob:
    """What a listing tells of a blob; `name` is whole, from the container on."""

    name: str
    size: int
    modified: datetime
    tag: str


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
                            yield _blob(found)
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
        with refused(self, name):
            send(file, self.client(name), moved)

    def find(self, name: str) -> Blob | None:
        """A blob's line of the listing, or None where there is no such blob."""
        import obstore

        try:
            with refused(self, name):
                found = obstore.get(self._fast, name, options={"head": True})
        except FileNotFoundError:
            return None
        if "hdi_isfolder" in found.attributes:  # where the account has folders, one looks like an empty blob
            return None
        return _blob(found.meta)

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
                raise self._gone(blob.name)
            partial.write_bytes(data)
            moved(len(data))
        else:
            self._download(blob, partial, moved)
        os.utime(partial, (blob.modified.timestamp(), blob.modified.timestamp()))
        partial.replace(file)

    def _download(self, blob: Blob, partial: Path, moved: Moved) -> None:
        import obstore

        def fetch(begin: int, end: int) -> Any:
            options: Any = {"range": (begin, end), "if_match": f'"{blob.tag}"'}
            try:
                return obstore.get(self._fast, blob.name, options=options)
            except FileNotFoundError:
                raise self._gone(blob.name) from None

        with refused(self, blob.name):
            if not receive(fetch, blob.size, blob.tag, partial, moved):
                partial.unlink()  # so that the next try fetches all of it
                raise UserError(f"{self.at(blob.name)}: {DIFFERS}")

    def _gone(self, name: str) -> UserError:
        return UserError(f"{self.at(name)} is gone: somebody deleted it meanwhile.")


DIFFERS = "its bytes are not those that were written (their checksum differs). Write it again."


def _blob(found: Any) -> Blob:
    """What obstore tells of a blob; a listing tells its tag without the quotes that stand around it elsewhere."""
    return Blob(found["path"], found["size"], found["last_modified"], (found["e_tag"] or "").strip('"'))


def _told(data: bytes) -> Any:
    return {DIGEST: checksum(data).hex()}


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
