"""The words said to a teacher: shipped prompt files, or a user's own of the same name; and names of languages.

In: a name and values for its places. Out: text, and a digest of the file for each record's origin.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from functools import cached_property
from importlib.resources import files
from pathlib import Path

from yearling.errors import UserError
from yearling.record import digest

# English names of the languages that teachers are asked for most; any other tag is told as it stands.
_LANGUAGES = {
    "ar": "Arabic", "bg": "Bulgarian", "bn": "Bengali", "ca": "Catalan", "cs": "Czech", "da": "Danish",
    "de": "German", "el": "Greek", "en": "English", "es": "Spanish", "et": "Estonian", "fa": "Persian",
    "fi": "Finnish", "fr": "French", "he": "Hebrew", "hi": "Hindi", "hr": "Croatian", "hu": "Hungarian",
    "id": "Indonesian", "it": "Italian", "ja": "Japanese", "ko": "Korean", "lt": "Lithuanian", "lv": "Latvian",
    "ms": "Malay", "nl": "Dutch", "no": "Norwegian", "pl": "Polish", "pt": "Portuguese", "ro": "Romanian",
    "ru": "Russian", "sk": "Slovak", "sl": "Slovenian", "sr": "Serbian", "sv": "Swedish", "sw": "Swahili",
    "ta": "Tamil", "th": "Thai", "tr": "Turkish", "uk": "Ukrainian", "ur": "Urdu", "vi": "Vietnamese",
    "zh": "Chinese",
}  # fmt: skip


def language_name(tag: str) -> str:
    """The English name of a BCP 47 tag's language, with the tag where it says more: "Portuguese (pt-BR)"."""
    name = _LANGUAGES.get(tag.split("-")[0].lower())
    if name is None:
        return tag
    return f"{name} ({tag})" if "-" in tag else name


class Words:
    """Prompt files by name; one in `folder` replaces the shipped one."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder, self._texts = folder, dict[str, str]()
        shipped = {path.name for path in files("yearling.prompts").iterdir() if path.name.endswith(".txt")}
        if folder is not None and not folder.is_dir():
            raise UserError(f"generate.variety.prompts: {folder} is no folder. Put your prompt files into one.")
        own = {path.name for path in folder.glob("*.txt")} if folder else set()
        if unknown := own - shipped:
            raise UserError(
                f"generate.variety.prompts: {folder}/{min(unknown)} replaces nothing. "
                f"There are: {', '.join(sorted(shipped))}."
            )
        for name in sorted(own):
            _check_places(folder / name, name)  # type: ignore[operator]  # there are names only where there is a folder

    def say(self, name: str, /, **values: object) -> str:
        """The text of a prompt with its places filled."""
        return self.text(name).format(**values)

    def text(self, name: str) -> str:
        """The text of a prompt as written."""
        if name not in self._texts:
            self._texts[name] = self._read(f"{name}.txt")
        return self._texts[name]

    @cached_property
    def own(self) -> Mapping[str, str]:
        """Digests of the user's own prompt files, by name."""
        return {p.name: digest(_file(p)) for p in sorted(self._folder.glob("*.txt"))} if self._folder else {}

    def _read(self, name: str) -> str:
        own = self._folder / name if self._folder else None
        return _file(own) if own and own.exists() else _shipped(name)


def text_of(name: str, own: Path | None) -> str:
    """A shipped prompt, or a user's own in its place; raises UserError where that has other places."""
    if own is None:
        return _shipped(name)
    _check_places(own, name)
    return _file(own)


def _check_places(path: Path, name: str) -> None:
    """A user's prompt has the shipped one's places and no others, told before anything is asked."""
    wanted, found = _places(_shipped(name), name), _places(_file(path), str(path))
    if found != wanted:
        odd = ", ".join("{" + place + "}" for place in sorted(found ^ wanted))
        raise UserError(f"{path}: its places differ from the shipped prompt's: {odd}. Use each of those, and no more.")


def _shipped(name: str) -> str:
    return (files("yearling.prompts") / name).read_text(encoding="utf-8").rstrip("\n")


def _file(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").rstrip("\n")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 (byte {error.start}). Save it as UTF-8.") from None


def _places(text: str, where: str) -> set[str]:
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError as error:
        raise UserError(f"{where}: {error}. A brace that is meant as one is written twice.") from None
    for _, place, form, turned in parts:
        if form or turned:
            raise UserError(f"{where}: {{{place}}} has more than its name between its braces. Write the name alone.")
    return {place for _, place, _, _ in parts if place is not None}
