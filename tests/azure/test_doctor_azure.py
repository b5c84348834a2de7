"""`yearling doctor --azure`: each thing that goes wrong on Azure is provoked, and gets its own cause and mend."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import azure_cloud
import pytest
from azure_cloud import Cloud
from golden_line import command_line as cli

from yearling.cloud.copying import copy
from yearling.doctor_azure import examine_azure
from yearling.errors import UserError
from yearling.recipe_azure import Cloud as Settings

pytestmark = pytest.mark.timeout(120)
LINKS = ["environment", "identity", "token", "dns", "tls", "container", "list", "write", "read", "delete"]


def refused(code: str, said: str = "no", status: int = 403) -> Callable[[Cloud], None]:
    """The service refuses all, as it does with this code."""

    def broken(made: Cloud) -> None:
        made.faults += [("", status, code, said)] * 50

    return broken


def _no_role(made: Cloud) -> None:
    made.roles.clear()


def _reader(made: Cloud) -> None:
    made.roles = {azure_cloud.SYSTEM: "read"}


def _no_system(made: Cloud) -> None:
    made.system = None


def _audience(made: Cloud) -> None:
    made.token = {"aud": "https://management.azure.com"}


def _ended(made: Cloud) -> None:
    made.token = {"exp": 1_700_000_000, "nbf": 1_600_000_000, "iat": 1_600_000_000}


def _skewed(made: Cloud) -> None:
    made.skew = -3600.0


WRONG: dict[str, tuple[Callable[[Cloud], None], Settings, str, str, str]] = {
    # what is broken, the settings, the link that fails, what is found, what mends it
    "no role": (_no_role, Settings(), "container", "no data role", "Storage Blob Data Reader"),
    "only a reader": (_reader, Settings(), "write", "may read and not write", "Storage Blob Data Contributor"),
    "no container": (lambda made: None, Settings(), "container", "is not there", "az storage container create"),
    "firewall": (refused(*azure_cloud.FIREWALL), Settings(), "container", "firewall", "network-rule add"),
    "wrong audience": (_audience, Settings(), "container", "another audience", "get-access-token --resource"),
    "wrong audience, as the service says it": (
        refused("InvalidAuthenticationInfo", "Audience did not match", 401),
        Settings(), "container", "another audience", "get-access-token --resource",
    ),
    "another tenant": (
        refused("AuthenticationFailed", "Issuer did not match"), Settings(), "container", "tenant", "--tenant",
    ),
    "keys are forbidden": (
        refused("KeyBasedAuthenticationNotPermitted"), Settings(), "container", "takes no keys", "as an identity",
    ),
    "a client id that nobody knows": (
        lambda made: None, Settings(client_id="22222222-0000-0000-0000-0000000000ff"), "token", "no token", "clientId",
    ),
    "no system-assigned identity": (_no_system, Settings(), "token", "no token", "AZURE_CLIENT_ID"),
    "a token that has ended": (_ended, Settings(), "container", "has ended", "date -u"),
    "a clock that is wrong": (_skewed, Settings(), "clock", " s ahead", "timedatectl"),
    "busy": (refused("ServerBusy", "busy", 503), Settings(), "container", "busy", "same command again"),
    "too many requests": (
        refused("TooManyRequests", "slow", 429), Settings(), "container", "busy", "same command again",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_each_thing_that_is_wrong_is_found(
    name: str, azure: Cloud, container: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, settings, link, found, mend = WRONG[name]
    monkeypatch.setattr("yearling.cloud.store.RETRIES", 1)
    place = azure.place("nowhere") if name == "no container" else container
    broken(azure)
    *before, last = examine_azure(place, settings)
    assert all(check.state == "ok" for check in before), before
    assert (last.name, last.state) == (link, "fail"), last
    assert found in last.found and mend in last.mend, last
    assert "eyJ" not in repr(last), "a token is shown"


def test_a_name_that_does_not_resolve_is_told(on: Callable[[Cloud, str], None], azure: Cloud) -> None:
    on(azure, "key")
    last = examine_azure("az://yearlingnosuchaccount000/data", Settings())[-1]
    assert (last.name, last.state) == ("dns", "fail") and "privatelink" in last.mend, last


def test_a_certificate_that_is_not_trusted_is_told(
    azure: Cloud, container: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    last = examine_azure(container, Settings())[-1]
    assert (last.name, last.state) == ("tls", "fail") and "SSL_CERT_FILE" in last.mend, last


def test_a_machine_that_hands_out_its_user_s_token_is_told(azure: Cloud, container: str) -> None:
    azure.token = {"idtyp": "user", "upn": "me@example.org"}
    (token,) = (check for check in examine_azure(container, Settings()) if check.name == "token")
    assert token.state == "warn" and "it is yours and not the machine's" in token.mend


def test_what_works_is_said_link_by_link(azure: Cloud, container: str) -> None:
    checks = examine_azure(container, Settings())
    assert [(check.name, check.state) for check in checks] == [(name, "ok") for name in LINKS]
    assert azure_cloud.SYSTEM in checks[2].found and azure_cloud.TENANT in checks[2].found
    assert not [
        path for method, path, status in azure.asked if ".probe" in path and method == "DELETE" and status != 202
    ]


def test_a_role_that_was_just_given_is_waited_for(
    azure: Cloud, container: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    azure.roles.clear()
    looks = list[float]()

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 2:
            azure.roles[azure_cloud.SYSTEM] = "write"

    monkeypatch.setattr("yearling.doctor_azure.time.sleep", sleep)
    assert examine_azure(container, Settings(), 600)[-1].name == "delete"
    assert len(looks) == 2


@pytest.mark.parametrize("name", ["no role", "firewall", "no container", "busy"])
def test_a_copy_says_it_too(
    name: str, azure: Cloud, container: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, settings, _, found, _ = WRONG[name]
    monkeypatch.setattr("yearling.cloud.store.RETRIES", 1)
    (tmp_path / "x").write_bytes(b"x")
    broken(azure)
    with pytest.raises(UserError) as caught:
        copy(str(tmp_path / "x"), azure.place("nowhere") if name == "no container" else container, settings)
    assert found.replace("no data role", "data role") in str(caught.value)


def test_nobody_to_ask_as_is_told_with_all_that_was_tried(azure: Cloud, on: Callable[[Cloud, str], None]) -> None:
    on(azure, "none")
    last = examine_azure(azure.place("data"), Settings())[-1]
    assert last.name == "identity" and last.state == "fail"
    order = ["connection-string", "key", "sas", "service-principal", "workload", "managed", "cli"]
    places = [last.found.index(f"{name} (") for name in order]
    assert places == sorted(places)


def test_the_command_line_says_all_of_it(azure: Cloud, container: str) -> None:
    done = cli("doctor", "--azure", container, "--json")
    assert done.code == 0, done.err
    assert [check["name"] for check in json.loads(done.out)] == LINKS
    azure.roles.clear()
    done = cli("doctor", "--azure", container)
    assert done.code == 2 and "mend: Run: az role assignment create" in " ".join(done.out.split())
