"""What makes instructions differ beyond chance: a persona, one value of each attribute list, a system turn.

In: the recipe's lists. Out: what call k draws of them, which depends on the recipe's seed and k alone.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from yearling.errors import UserError
from yearling.recipe import Variety


@dataclass(frozen=True)
class Traits:
    """What one call drew."""

    persona: str = ""
    attributes: tuple[tuple[str, str], ...] = ()
    system: str = ""

    @property
    def text(self) -> str:
        """The words for a teacher, and for the record's origin; "" where nothing was drawn."""
        parts = [f"asked by: {self.persona}"] if self.persona else []
        return "; ".join([*parts, *(f"{name}: {value}" for name, value in self.attributes)])


@dataclass(frozen=True)
class Lists:
    """The lists of a recipe, read."""

    personas: tuple[str, ...]
    attributes: Mapping[str, tuple[str, ...]]
    systems: tuple[str, ...]

    def draw(self, seed: int, call: int) -> Traits:
        """What call k draws; a line put into one list changes nothing that is drawn from another."""

        def one(name: str, values: tuple[str, ...]) -> str:
            return random.Random(f"{seed}:{call}:{name}").choice(values) if values else ""

        attributes = tuple((name, one(name, values)) for name, values in self.attributes.items() if values)
        return Traits(one("persona", self.personas), attributes, one("system", self.systems))


def read_lists(settings: Variety) -> Lists:
    """Read the files that a recipe names; raises UserError where one cannot be read or is empty."""
    return Lists(
        _read_lines(settings.personas, "personas"), settings.attributes, _read_lines(settings.systems, "systems")
    )


def _read_lines(path: Path | None, name: str) -> tuple[str, ...]:
    if path is None:
        return ()
    try:
        lines = tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    except OSError as error:
        raise UserError(f"generate.variety.{name}: {path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise UserError(
            f"generate.variety.{name}: {path} is not UTF-8 (byte {error.start}). Save it as UTF-8."
        ) from None
    if not lines:
        raise UserError(f"generate.variety.{name}: {path} is empty. Write one a line.")
    return lines
