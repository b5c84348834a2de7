"""Write docs/cli.md from the commands' own help, and docs/knobs.md from the recipe's models.

`make docs` runs it; a test fails where the files and the code disagree.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from yearling.recipe import Recipe

DOCS = Path(__file__).parents[1] / "docs"
VERBS = [
    "demo",
    "init",
    "run",
    "estimate",
    "generate",
    "import",
    "curate",
    "audit",
    "train",
    "masks",
    "export",
    "eval",
    "chat",
    "serve",
]
VERBS += [
    "status",
    "trace",
    "doctor",
    "blob/ls",
    "blob/cp",
    "blob/sync",
    "azure/setup",
    "runs/list",
    "runs/compare",
    "runs/delete",
]


def cli() -> str:
    """docs/cli.md: the help of every verb, as printed."""
    parts = ["# Commands\n\nWritten by `make docs` from the commands' own help.\n", _block([])]
    return "\n".join([*parts, *(_block(verb.split("/")) for verb in VERBS)])


def _block(verb: list[str]) -> str:
    command = [sys.executable, "-m", "yearling.cli", *verb, "--help"]
    # a fixed width, so that the text does not depend on the terminal
    environment = {"PATH": "", "COLUMNS": "80", "TERMINAL_WIDTH": "80", "NO_COLOR": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    text = done.stdout.replace("python -m yearling.cli", "yearling").strip()
    return f"## yearling {' '.join(verb)}".rstrip() + f"\n\n```text\n{text}\n```\n"


def knobs() -> str:
    """docs/knobs.md: every knob of the recipe, with its default."""
    schema = Recipe.model_json_schema(by_alias=True)
    lines = [
        "# Knobs\n",
        "Written by `make docs` from the recipe's models. Each is a YAML key and a flag: `--train.epochs 3`.\n",
    ]
    lines += _table("recipe", schema, schema["$defs"])
    return "\n".join(lines) + "\n"


def _table(name: str, schema: dict[str, Any], defs: dict[str, Any]) -> list[str]:
    rows = [
        f"## {name}\n",
        f"{schema.get('description', '')}\n",
        "| key | type | default | what |",
        "|---|---|---|---|",
    ]
    inner: list[str] = []
    for key, field in schema["properties"].items():
        reference = _reference(field)
        if reference:
            inner += _table(key if name == "recipe" else f"{name}.{key}", defs[reference], defs)
            kind = "string or section" if "oneOf" in field else "section"
        else:
            kind = _kind(field)
        default = "" if "default" not in field or kind == "section" else f"`{field['default']}`".replace("None", "null")
        what = field.get("description") or (defs[reference].get("description", "") if reference else "")
        rows.append(f"| `{key}` | {kind} | {default} | {what.replace('|', chr(92) + '|')} |")
    return [*rows, "", *inner]


def _reference(field: dict[str, Any]) -> str | None:
    """The section that a field holds, alone, optional or in a list."""
    for option in [
        field,
        *field.get("anyOf", []),
        *field.get("oneOf", []),
        *field.get("allOf", []),
        field.get("items", {}),
    ]:
        if isinstance(option, dict) and "$ref" in option:
            return str(option["$ref"]).rsplit("/", 1)[-1]
    return None


def _kind(field: dict[str, Any]) -> str:
    if "enum" in field:
        return " \\| ".join(map(str, field["enum"]))
    if "const" in field:
        return str(field["const"])
    if "anyOf" in field:
        return " or ".join(_kind(option) for option in field["anyOf"])
    if field.get("type") == "array":
        return f"list of {_kind(field.get('items', {}))}"
    if field.get("type") == "object" and isinstance(field.get("additionalProperties"), dict):
        return f"mapping to {_kind(field['additionalProperties'])}"
    return str(field.get("type", "any"))


def main() -> None:
    """Write both files."""
    DOCS.mkdir(exist_ok=True)
    (DOCS / "cli.md").write_text(cli(), encoding="utf-8")
    (DOCS / "knobs.md").write_text(knobs(), encoding="utf-8")


if __name__ == "__main__":
    main()
