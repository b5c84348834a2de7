"""Names of places on Azure Blob: every form that Azure gives them, and what is wrong with a wrong one."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yearling.errors import UserError
from yearling.places import Datastore, Place, Workspace, place_of, remote

BLOB = "https://acct.blob.core.windows.net"
LONG = "azureml://subscriptions/s-1/resourcegroups/g/workspaces/w/datastores/d/paths/a/b.json"


@pytest.mark.parametrize(
    ("text", "endpoint", "container", "path"),
    [
        ("az://acct/data/a/b.parquet", BLOB, "data", "a/b.parquet"),
        ("az://acct/data", BLOB, "data", ""),
        ("az://acct/$web/index.html", BLOB, "$web", "index.html"),
        ("abfss://data@acct.dfs.core.windows.net/a/b", BLOB, "data", "a/b"),
        ("abfs://data@acct.dfs.core.windows.net", BLOB, "data", ""),
        ("https://acct.blob.core.windows.net/data/a%20b", BLOB, "data", "a b"),
        ("https://acct.dfs.core.windows.net/data/a", BLOB, "data", "a"),
        ("abfss://d-1@acct.dfs.core.chinacloudapi.cn/x", "https://acct.blob.core.chinacloudapi.cn", "d-1", "x"),
        ("https://127.0.0.1:10000/devstoreaccount1/data/x", "https://127.0.0.1:10000/devstoreaccount1", "data", "x"),
        ("http://localhost:10000/dev/data", "http://localhost:10000/dev", "data", ""),
    ],
)
def test_a_place_is_known_by_all_of_its_names(text: str, endpoint: str, container: str, path: str) -> None:
    assert remote(text) == text == remote(Path(text)) or " " in text
    assert place_of(text) == Place(endpoint, container, path)


def test_a_sovereign_cloud_has_its_own_suffix() -> None:
    place = place_of("az://acct/data/x", suffix="core.usgovcloudapi.net")
    assert isinstance(place, Place) and place.endpoint == "https://acct.blob.core.usgovcloudapi.net"
    assert str(place) == "https://acct.blob.core.usgovcloudapi.net/data/x"


def test_a_datastore_is_known_by_its_long_name_and_by_its_short_one(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = Datastore(Workspace("s-1", "g", "w"), "d", "a/b.json")
    assert place_of(LONG) == wanted
    assert place_of(LONG.replace("resourcegroups", "resourceGroups")) == wanted
    short = "azureml://datastores/d/paths/a/b.json"
    assert place_of(short, Workspace("s-1", "g", "w")) == wanted
    for name, value in zip(("SUBSCRIPTION", "RESOURCEGROUP", "WORKSPACE_NAME"), ("s-1", "g", "w"), strict=True):
        monkeypatch.delenv(f"AZUREML_ARM_{name}", raising=False)
        with pytest.raises(UserError, match="whose datastore"):
            place_of(short)
        monkeypatch.setenv(f"AZUREML_ARM_{name}", value)
    assert place_of(short) == wanted
    assert place_of("azureml://datastores/d") == Datastore(Workspace("s-1", "g", "w"), "d", "")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("az://", "no name of a storage account"),
        ("az://My_Account/data", "no name of a storage account"),
        ("az://acct", "names no container"),
        ("az://acct/Data/x", "'Data' is no name of a container"),
        ("az://acct/a--b/x", "is no name of a container"),
        ("az://acct/data/a//b", "empty part"),
        ("az://acct/data/../b", "empty part"),
        ("abfss://acct.dfs.core.windows.net/data", "looks like abfss"),
        ("azureml://jobs/x", "looks like azureml"),
        ("az://acct/data/x?sv=1&sig=SECRETSIGNATURE", "AZURE_STORAGE_SAS_TOKEN"),
    ],
)
def test_a_wrong_name_is_told_and_no_signature_with_it(text: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        place_of(text)
    assert "SECRETSIGNATURE" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["data.jsonl", "C:\\data", "hf:org/data", "https://example.com/x", "/tmp/az", "runs/az:/x", "https://x"]
)
def test_what_is_not_on_azure_is_left_alone(text: str) -> None:
    assert not remote(text) and not remote(Path(text))


NAME = st.text(st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="/?"), min_size=1, max_size=12)


@given(st.lists(NAME.filter(lambda part: part not in (".", "..")), max_size=4))
def test_a_place_says_its_own_name(parts: list[str]) -> None:
    place = Place(BLOB, "data", "/".join(parts))
    assert place_of(str(place)) == place
    assert (place / "x").path == "/".join([*parts, "x"])


@given(st.text(max_size=40))
def test_any_text_is_a_place_or_one_clear_error(text: str) -> None:
    for scheme in ("az", "abfss", "https", "azureml"):
        try:
            place_of(f"{scheme}://{text}", Workspace("s", "g", "w"))
        except UserError as error:
            assert "Traceback" not in str(error)
