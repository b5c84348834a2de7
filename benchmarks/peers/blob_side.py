"""One client of the Blob benchmark, which does a lap whenever it is asked for one.

In: client, port, folder of the files, folder to fetch into; then "up" or "down", line by line. Out: a line of JSON for
each lap, with what it took; what was fetched is compared, outside of the clock.
"""

from __future__ import annotations

import filecmp
import json
import os
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from asked import clock

KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
Work = Callable[[str, dict[str, Path]], None]
ACCOUNT, PART, AT_ONCE, MANY_AT_ONCE = "devstoreaccount1", 16 << 20, 4, 16


def main() -> None:
    """Do laps, and say how long each took, until it is killed."""
    side, port, source, target = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4])
    _make(source.name, port)
    files = {f"x/{file.name}": file for file in sorted(source.iterdir())}
    work = CLIENTS[side](source.name, port)
    for lap, line in enumerate(sys.stdin):
        way, here = line.strip(), target / str(lap)
        here.mkdir()
        targets = {name: here / Path(name).name for name in files}
        began = clock()
        work(way, files if way == "up" else targets)
        seconds, cpu = (after - before for before, after in zip(began, clock(), strict=True))
        if way == "down":
            assert all(filecmp.cmp(targets[name], file, shallow=False) for name, file in files.items()), "other bytes"
        if len(files) == 1:  # many stay: ext4 looks at each inode that was freed of late, for each file that comes
            shutil.rmtree(here)
        print(json.dumps({"seconds": seconds, "cpu": cpu, "peak": _peak()}), flush=True)


def _peak() -> float:
    """MiB; Linux only. What getrusage tells is no less than the most that the parent had."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))


def _make(container: str, port: int) -> None:
    from azure.core.exceptions import ResourceExistsError
    from azure.storage.blob import ContainerClient

    try:
        ContainerClient(f"http://127.0.0.1:{port}/{ACCOUNT}", container, KEY).create_container()
    except ResourceExistsError:
        return


def _each(files: dict[str, Path], work: Callable[[str, Path], Any]) -> None:
    if len(files) == 1:
        work(*next(iter(files.items())))
        return
    with ThreadPoolExecutor(MANY_AT_ONCE) as pool:
        list(pool.map(lambda pair: work(*pair), files.items()))


def _same(files: dict[str, Path], found: list[str]) -> None:
    """A folder is fetched as people do it: what lies there is asked for first."""
    assert sorted(files) == sorted(found), "other files"


def yearling(container: str, port: int) -> Work:
    """As `yearling blob cp` does it, but for the command line."""
    os.environ["AZURE_STORAGE_KEY"] = KEY
    from yearling.cloud.copying import copy
    from yearling.recipe import Cloud

    place = f"http://127.0.0.1:{port}/{ACCOUNT}/{container}/x"

    def work(way: str, files: dict[str, Path]) -> None:
        ((name, file), *more) = files.items()
        there, here = (place, str(file.parent)) if more else (f"{place}/{Path(name).name}", str(file))
        copy(*((here, there) if way == "up" else (there, here)), Cloud())

    return work


def obstore(container: str, port: int) -> Work:
    """Parts of 16 MiB, four at a time; many files at once, by its asynchronous calls."""
    import asyncio

    import obstore as library
    from obstore.store import AzureStore

    config: Any = {"account_name": ACCOUNT, "account_key": KEY, "endpoint": f"http://127.0.0.1:{port}/{ACCOUNT}"}
    store = AzureStore(container, config=config, client_options={"allow_http": True})

    async def many(way: str, files: dict[str, Path]) -> None:
        gate = asyncio.Semaphore(MANY_AT_ONCE)

        async def one(name: str, file: Path) -> None:
            async with gate:
                if way == "up":
                    await library.put_async(store, name, file.read_bytes(), use_multipart=False)
                else:
                    file.write_bytes(await (await library.get_async(store, name)).bytes_async())

        await asyncio.gather(*(one(*pair) for pair in files.items()))

    def work(way: str, files: dict[str, Path]) -> None:
        if len(files) > 1:
            if way == "down":
                _same(files, [blob["path"] for page in library.list(store, "x") for blob in page])
            asyncio.run(many(way, files))
            return
        ((name, file),) = files.items()
        if way == "up":
            library.put(store, name, file, chunk_size=PART, max_concurrency=AT_ONCE)
        else:
            with file.open("wb") as out:
                for chunk in library.get(store, name).stream(PART):
                    out.write(chunk)

    return work


def pyarrow(container: str, port: int) -> Work:
    """Its file system, with copies by its own threads."""
    from pyarrow import fs

    place = f"127.0.0.1:{port}"
    azure = fs.AzureFileSystem(
        ACCOUNT, account_key=KEY, blob_storage_authority=place, dfs_storage_authority=place,
        blob_storage_scheme="http", dfs_storage_scheme="http",
    )  # fmt: skip
    here = fs.LocalFileSystem()

    def work(way: str, files: dict[str, Path]) -> None:
        def one(name: str, file: Path) -> None:
            there, local = f"{container}/{name}", str(file)
            sides = (local, there, here, azure) if way == "up" else (there, local, azure, here)
            fs.copy_files(*sides, chunk_size=PART)

        if way == "down" and len(files) > 1:
            found = azure.get_file_info(fs.FileSelector(f"{container}/x"))
            _same(files, [info.path.removeprefix(f"{container}/") for info in found])
        _each(files, one)

    return work


def sdk(container: str, port: int) -> Work:
    """The SDK with parts of 16 MiB, four at a time; many files by threads."""
    from azure.storage.blob import ContainerClient

    sizes = dict.fromkeys(("max_single_get_size", "max_chunk_get_size", "max_block_size", "max_single_put_size"), PART)
    client = ContainerClient(f"http://127.0.0.1:{port}/{ACCOUNT}", container, KEY, **sizes)  # type: ignore[arg-type]

    def work(way: str, files: dict[str, Path]) -> None:
        def one(name: str, file: Path) -> None:
            if way == "up":
                with file.open("rb") as source:
                    client.upload_blob(name, source, overwrite=True, max_concurrency=AT_ONCE)
            else:
                with file.open("wb") as out:
                    client.download_blob(name, max_concurrency=AT_ONCE).readinto(out)

        if way == "down" and len(files) > 1:
            _same(files, list(client.list_blob_names(name_starts_with="x/")))
        _each(files, one)

    return work


CLIENTS: dict[str, Callable[[str, int], Work]] = {
    "yearling": yearling, "obstore": obstore, "pyarrow": pyarrow, "sdk": sdk,
}  # fmt: skip

if __name__ == "__main__":
    main()
