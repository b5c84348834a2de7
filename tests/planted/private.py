"""Invented personal data that passes the checks real data passes, and reaches nobody.

In: a running number. Out: fields for hand/carriers.txt and hand/contacts.txt. Telephone numbers lie in ranges that
regulators keep for fiction or have given to nobody, domains are unlikely ones, cards and IBANs have valid check
digits over made-up digits, and keys carry EXAMPLE in their middle. It reads no file.
"""

from __future__ import annotations

import string

PHONES = {
    "en": ("(212) 555-01{:02d}", "07700 900{:03d}", "+1 415-555-01{:02d}"),
    "de": ("030 23125 {:03d}", "+49 89 99998 {:03d}"),
    "fr": ("06 39 98 {:02d} 41", "+33 1 99 00 {:02d} 17"),
    "es": ("+34 555 000 {:03d}", "555 010 {:03d}"),
}
STREETS = {
    "en": "{} Fiddler's Reach, Oakmere OX0 0{}ZZ",
    "de": "Lerchensteig {}, 0000{} Neukirchbach",
    "fr": "{} rue du Vieux-Lavoir, 0000{} Saint-Orme",
    "es": "calle del Olmo Viejo {}, 0000{} Villarroya",
}
KEYS = ("sk-EXAMPLE-{}-EXAMPLE-not-real", "key_live_EXAMPLE{}EXAMPLE", "AKIAEXAMPLE{}EXAMPLE", "ghp_EXAMPLE{}EXAMPLE")
PASSWORDS = ("Teapot!{}Harbour", "b1ue-Kestr3l-{}", "Winter{}sonne#", "hunter{}Qx!")
MAILS = ("p.thorne{}@kestrelharbour-post.com", "oakshott_{}@fenwickmail-north.net", "garten{}@lindenpost-sued.de")


def luhn(digits: str) -> bool:
    """Whether a card number's last digit fits the others."""
    total = 0
    for i, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + i % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def card(n: int) -> str:
    """Sixteen digits in fours, from a prefix that payment firms use for tests."""
    body = f"4000{(n * 7919) % 10**11:011d}"
    digits = next(body + check for check in string.digits if luhn(body + check))
    return (" ", "-")[n % 2].join(digits[i : i + 4] for i in range(0, 16, 4))


def iban_holds(text: str) -> bool:
    """Whether the check digits of an IBAN fit the rest."""
    plain = text.replace(" ", "")
    return int("".join(str(int(c, 36)) for c in plain[4:] + plain[:4])) % 97 == 1


def iban(n: int) -> str:
    """A German IBAN with a bank code that no bank has."""
    account = f"00000000{(n * 104729) % 10**10:010d}"
    text = next(f"DE{check:02d}{account}" for check in range(2, 99) if iban_holds(f"DE{check:02d}{account}"))
    return " ".join(text[i : i + 4] for i in range(0, len(text), 4)) if n % 2 else text


def private(n: int, language: str) -> dict[str, str]:
    """One set of fields."""
    near = language if language in PHONES else "en"
    phones = PHONES[near]
    return {
        "mail": MAILS[n % len(MAILS)].format(n),
        "phone": phones[n % len(phones)].format(n % 100),
        "card": card(n + 11),
        "iban": iban(n + 3),
        "key": KEYS[n % len(KEYS)].format(f"{n % 100:02d}"),
        "password": PASSWORDS[n % len(PASSWORDS)].format(n + 10),
        "address": STREETS[near].format(n + 1, n % 10),
        "id": f"X{(n * 7) % 1000:03d}000{n % 1000:03d}",
    }


def fill(text: str, n: int, language: str) -> str:
    """The text with its fields filled; braces of JSON and code stay."""
    for name, value in private(n, language).items():
        text = text.replace("{" + name + "}", value)
    return text
