"""Who asks an Azure endpoint: a key, or an Entra identity of this machine or user.

In: the teacher's settings. Out: a key, or an Identity that holds a token and knows when it is due.
The first token is fetched before anything is reserved, so that a missing identity is told at once.
"""

from __future__ import annotations

from yearling.cloud.identity import Identity, find_access
from yearling.errors import UserError
from yearling.recipe import Teacher as Settings
from yearling.teachers.teacher import KINDS, key_of


def credentials(settings: Settings, base: str) -> tuple[str, Identity | None]:
    """The key to send, or the identity whose tokens are sent; raises UserError where neither is at hand."""
    azure = settings.model.startswith("azure:")
    key = "" if azure and settings.azure.identity == "entra" else key_of(settings, base)
    if not azure or key:
        return key, None
    name = settings.api_key_env or KINDS["azure"].keys[0]
    if settings.azure.identity == "key":
        raise UserError(f"the key is not set: export {name}=…")
    try:
        identity = Identity(find_access("auto", "", settings.azure.client_id), settings.azure.scope)
        identity.fetch()
    except UserError as error:
        raise UserError(f"{error} Or export {name}=…") from None
    return "", identity
