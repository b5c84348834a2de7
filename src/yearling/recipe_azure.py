"""What a recipe says of Azure, and what all of a recipe's sections are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer

from yearling.places import remote

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"

# A file or folder here, or the name of a place on Azure, which a Path takes a slash from and which gets it back.
AnyPath = Annotated[Path, PlainSerializer(lambda path: remote(path) or str(path), str, when_used="json")]


class Section(BaseModel):
    """A section of the recipe: unknown keys are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False)


class Cloud(Section):
    """Azure: who asks there, and which of its clouds."""

    identity: Literal["auto", "connection-string", "key", "sas", "service-principal", "workload", "managed", "cli"] = (
        Field("auto", description="auto is the first of these that is here; any other is taken or nothing")
    )
    client_id: str | None = Field(None, description="client id of a user-assigned identity")
    cloud: Literal["public", "usgov", "china"] = Field("public", description="which of Azure's clouds")
    workspace: str | None = Field(
        None, pattern=r"^[^/]+/[^/]+/[^/]+$", description="subscription/group/name, for short azureml:// paths"
    )


class AzureMl(Section):
    """Azure ML, on which `yearling run` submits itself as a job."""

    subscription: str = Field(min_length=1, description="id of the subscription")
    resource_group: str = Field(min_length=1, description="resource group of the workspace")
    workspace: str = Field(min_length=1, description="name of the workspace")
    compute: str = Field(min_length=1, description="cluster or instance; `serverless:<size>` takes one for the job")
    identity: str = Field(
        "system",
        pattern=r"^(system|user|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})$",
        description="system-assigned identity of the compute, user (yours), or a user-assigned one's client id",
    )
    instances: int = Field(1, ge=1, description="machines that train together")
    gpus: int = Field(0, ge=0, description="GPUs of each machine; 0 trains on its CPU")
    spot: bool = Field(False, description="machines that may be taken away: the job goes on from where it was")
    cloud: Literal["public", "usgov", "china"] = Field("public", description="which of Azure's clouds")
    register_as: str | None = Field(None, pattern=NAME, description="name of the model to register in the workspace")


class Elsewhere(Section):
    """A machine that is not this one."""

    azureml: AzureMl
