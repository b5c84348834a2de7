"""The house style, kept by a machine: sizes, one-way imports, no heavy import at start."""

from __future__ import annotations

import ast
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "yearling"
FILES = sorted(SOURCE.rglob("*.py"))

# Lower rooms never import higher ones; modules of one rank may import each other where one direction suffices.
RANKS = (
    ("record", "errors", "redact", "places"),
    ("recipe_azure",),
    ("recipe",),
    ("recipe_file",),
    ("run_folder",),
    ("panel", "progress"),
    ("hub", "ledger", "ledger_tables", "machine"),
    ("cloud",),
    ("llama",),
    ("students",),
    ("teachers",),
    ("measure",),
    ("generate", "sources", "curate", "train", "export", "evaluate"),
    ("pipeline",),
    ("serve", "look", "trace", "audit", "doctor", "demo", "estimate", "masks"),
    ("doctor_azure", "azureml"),
    ("terminal",),
    ("cli_azure", "cli_curate"),
    ("cli",),
)
RANK = {room: rank for rank, rooms in enumerate(RANKS) for room in rooms}
STAGES = set(RANKS[12])


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]


def length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    assert node.end_lineno is not None
    return node.end_lineno - node.lineno + 1


def room(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Rooms of the package that a file imports anywhere, functions included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("yearling"):
            parts = node.module.split(".")
            found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("yearling.")}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_file_is_small_and_documented(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400
    assert ast.get_docstring(ast.parse(text)), "a module says what it does, what goes in and out, what it does not do"
    for node in functions(path):
        assert length(node) <= 80, node.name
        arguments = node.args
        names = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        # a command's parameters are its flags
        if path.name not in ("cli.py", "cli_curate.py", "cli_azure.py"):
            assert len([a for a in names if a.arg not in ("self", "cls")]) <= 6, node.name


def test_most_functions_are_short() -> None:
    lengths = [length(node) for path in FILES for node in functions(path)]
    assert statistics.quantiles(lengths, n=10)[-1] <= 40


@pytest.mark.parametrize(
    "path", [p for p in FILES if p != SOURCE / "__init__.py"], ids=lambda p: str(p.relative_to(SOURCE))
)
def test_imports_point_one_way(path: Path) -> None:
    own = room(path)
    for other in imported(path) - {own}:
        assert RANK[other] <= RANK[own], f"{own} imports {other}"
        assert not (own in STAGES and other in STAGES), f"the stage {own} imports the stage {other}"


def test_no_module_asks_for_help_from_a_class_tree() -> None:
    banned = ("Base", "Manager", "Processor", "Handler", "Factory", "Utils")
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                assert not node.name.endswith(banned), node.name


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom yearling import cli\n"
        "try:\n    cli.app(['--help'], standalone_mode=False)\nexcept SystemExit:\n    sys.exit(3)\n"
        "heavy = {'torch', 'transformers', 'pydantic', 'pyarrow', 'httpx', 'rich', 'numpy', 'yaml'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
