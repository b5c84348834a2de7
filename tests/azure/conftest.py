"""Azure on loopback, seen from a machine that has identities."""

from __future__ import annotations

import os
import random
import ssl
from collections.abc import Callable, Iterator

import azure_cloud
import pytest
from azure_cloud import Cloud, as_on

from yearling.cloud import copying
from yearling.cloud.opening import open_place


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with azure_cloud.cloud(tmp_path_factory.mktemp("azure")) as made:
        yield made


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch) -> Callable[[Cloud, str], None]:
    """Be on a machine where identities are had in one of the ways there are."""

    def be(made: Cloud, flow: str) -> None:
        for name in list(os.environ):
            if azure_cloud.UNSET.fullmatch(name):
                monkeypatch.delenv(name)
        copying.fetch.cache_clear()
        monkeypatch.setenv("PATH", "/nowhere")  # no `az` here
        monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", azure_cloud.LOAD)
        for name, value in as_on(made, flow).items():
            monkeypatch.setenv(name, value)

    return be


@pytest.fixture
def azure(running: Cloud, on: Callable[[Cloud, str], None]) -> Cloud:
    """The cloud as new, seen from a virtual machine with a system-assigned identity."""
    fresh = Cloud("", "", "", running.authority)
    for name in (
        "roles",
        "clients",
        "system",
        "faults",
        "breaks",
        "skew",
        "token",
        "asked",
        "tokens",
        "management",
        "lives",
    ):
        setattr(running, name, getattr(fresh, name))
    on(running, "imds")
    return running


@pytest.fixture
def container(azure: Cloud) -> str:
    """A new container, by its address."""
    name = f"data-{random.randrange(1 << 40):x}"
    stored, _ = open_place(azure.place(name))
    stored.container.create_container()
    azure.tokens.clear()
    return azure.place(name)
