"""What an endpoint says before anything is spent: is it there, does it take the key, does it list the model.

In: the teacher's settings. Out: a Probe. One GET, no question; the endpoint's words are not repeated, since some
endpoints quote the key.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from yearling.cloud.identity import Identity
from yearling.errors import UserError
from yearling.recipe import Teacher as Settings
from yearling.teachers.entra import credentials
from yearling.teachers.replay import ReplayTeacher
from yearling.teachers.teacher import KINDS, base_of, format_of

ASK_S = 5.0  # seconds that the endpoint has
# where each format lists its models, all on one page
_LISTS = {"openai": "models", "anthropic": "models?limit=1000", "gemini": "models?pageSize=1000"}


@dataclass(frozen=True)
class Probe:
    """What was found; `mend` is an edit, or `key` the variable to set, and both are empty where all is well."""

    state: Literal["ok", "warn", "fail"]
    found: str
    mend: str = ""
    key: str = ""


def key_names(settings: Settings) -> tuple[str, ...]:
    """The variables that may hold the teacher's key; the first that is set is used."""
    if settings.api_key_env:
        return (settings.api_key_env,)
    kind = KINDS.get(settings.model.partition(":")[0])
    return kind.keys if kind else ()


def needs_key(settings: Settings) -> bool:
    """Whether nothing can be asked without a key: public providers, and Azure where the recipe says so."""
    name = settings.model.partition(":")[0]
    if name == "azure":
        return settings.azure.identity == "key"
    kind = KINDS.get(name)
    return bool(kind and kind.base.startswith("https:") and host_of(settings) == urlsplit(kind.base).hostname)


def host_of(settings: Settings) -> str:
    """The endpoint without what a URL may hide: user, password, query."""
    try:
        return urlsplit(base_of(settings)).hostname or "?"
    except UserError:
        return "?"


def probe(settings: Settings) -> Probe:
    """Look at the endpoint of a teacher that is no local one."""
    kind, _, model = settings.model.partition(":")
    if kind == "replay":
        return _replay(settings, model)
    if kind not in KINDS or not model:
        return Probe(
            "fail", "unknown kind", f"write `model: openai:<model>`, or one of {', '.join(KINDS)}, local, replay"
        )
    try:
        base = base_of(settings)
    except UserError:
        env = KINDS[kind].base_env
        return Probe("fail", "its address is missing or is none", f"set teacher.base_url{f' or {env}' if env else ''}")
    try:
        key, identity = credentials(settings, base)
    except UserError as error:
        if kind == "azure" and settings.azure.identity != "key":
            return Probe("fail", "no Entra identity", str(error))
        return Probe("warn", f"{host_of(settings)} was not asked: it needs a key", key=key_names(settings)[-1])
    return _listed(settings, base, model, _named(settings, base, key, identity))


def _named(settings: Settings, base: str, key: str, identity: Identity | None) -> dict[str, str]:
    if identity:
        return {"Authorization": f"Bearer {identity.fetch()}"}
    kind = settings.model.partition(":")[0]
    if kind == "azure":
        return {"api-key": key}
    named: dict[str, str] = format_of(kind, base).headers(key)
    return named


def _listed(settings: Settings, base: str, model: str, headers: dict[str, str]) -> Probe:
    import httpx

    kind, host = settings.model.partition(":")[0], host_of(settings)
    names = key_names(settings) or ("teacher.api_key_env",)
    format = format_of(kind, base).__name__.rpartition(".")[2]
    try:
        response = httpx.get(f"{base}/{_LISTS[format]}", headers=headers, timeout=ASK_S)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        edit = "check teacher.base_url and the network (HTTPS_PROXY behind a proxy)"
        return Probe("fail", f"{type(error).__name__} at {host}", edit)
    if response.status_code in (401, 403) or (format == "gemini" and response.status_code == 400):
        return Probe("fail", f"{host} wants another key (HTTP {response.status_code})", key=names[-1])
    if not response.is_success:
        edit = "teacher.base_url should end in the version, as https://host/v1, if calls fail too"
        return Probe("warn", f"{host} answers HTTP {response.status_code} for its list of models", edit)
    if model in _models(response):
        return Probe("ok", f"{host} answers and lists {model}")
    if kind == "azure":
        return Probe("ok", f"{host} answers (deployments are not in its list)")
    return Probe("warn", f"{host} answers, its list has no {model}", "check the name in teacher.model")


def _models(response: Any) -> set[str]:
    """Names in a list of models, with and without Gemini's `models/`."""
    try:
        said = response.json()
        names = {str(each.get("id") or each.get("name")) for each in said.get("data") or said.get("models") or ()}
    except (ValueError, AttributeError, TypeError):
        return set()
    return names | {name.removeprefix("models/") for name in names}


def _replay(settings: Settings, model: str) -> Probe:
    try:
        teacher = ReplayTeacher(settings, model)
    except UserError as error:
        return Probe("fail", str(error), "teacher.model: replay:<ledger.sqlite>#<model>")
    return Probe("ok", f"replays what {teacher.model} answered")
