"""What an hour of a job's machine costs, by Azure's public price list.

In: where a job runs. Out: US dollars an hour of one machine, or None where the list cannot be had; then
`budget.hour_usd` says it.
"""

from __future__ import annotations

from typing import Any

from yearling.azureml.jobs import SERVERLESS, asking
from yearling.cloud.identity import find_access
from yearling.cloud.opening import CLOUDS, ask_management
from yearling.errors import UserError
from yearling.recipe import Recipe
from yearling.recipe_azure import AzureMl

LIST = "https://prices.azure.com/api/retail/prices"
API = "2024-10-01"


def priced(recipe: Recipe) -> Recipe:
    """The recipe with the price of an hour in its budget, where it runs on Azure ML and names none."""
    if isinstance(recipe.run_on, str) or recipe.budget.hour_usd is not None:
        return recipe
    settings = recipe.run_on.azureml
    try:
        each = hour_usd(*machine_of(settings), settings.spot)
    except UserError:
        return recipe
    if each is None:
        return recipe
    budget = recipe.budget.model_copy(update={"hour_usd": each * settings.instances})
    return recipe.model_copy(update={"budget": budget})


def machine_of(settings: AzureMl) -> tuple[str, str]:
    """Size and region of the machines of a compute; raises UserError where the workspace does not say."""
    cloud = CLOUDS[settings.cloud]
    access = find_access(asking(settings).identity, "", None, cloud.authority)
    workspace = (
        f"{cloud.management}/subscriptions/{settings.subscription}/resourceGroups/{settings.resource_group}/providers/"
        f"Microsoft.MachineLearningServices/workspaces/{settings.workspace}"
    )
    if settings.compute.startswith(SERVERLESS):
        return settings.compute.removeprefix(SERVERLESS), ask_management(workspace, API, access, cloud)["location"]
    told = ask_management(f"{workspace}/computes/{settings.compute}", API, access, cloud)
    return str(told["properties"]["properties"]["vmSize"]), str(
        told["properties"].get("computeLocation") or told["location"]
    )


def hour_usd(size: str, region: str, spot: bool) -> float | None:
    """The list's price of one machine with Linux; None where it is not to be had."""
    import httpx

    wanted = f"serviceName eq 'Virtual Machines' and armRegionName eq '{region}' and priceType eq 'Consumption'"
    try:
        with httpx.Client(timeout=20) as client:
            # the list knows sizes as Standard_D2_v3, computes say STANDARD_D2_V3
            answer = client.get(LIST, params={"$filter": f"{wanted} and tolower(armSkuName) eq '{size.lower()}'"})
            items: list[dict[str, Any]] = answer.raise_for_status().json()["Items"]
    except (httpx.HTTPError, ValueError, KeyError):
        return None
    found = [
        float(item["retailPrice"])
        for item in items
        if "Windows" not in item["productName"]
        and "Low Priority" not in item["meterName"]
        and ("Spot" in item["meterName"]) == spot
    ]
    return min(found, default=None)
