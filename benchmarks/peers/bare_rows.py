"""Rows by a bare aiohttp loop: 64 workers that POST, parse and keep the text.

In: base URL, rows, an empty folder. Out: one line of JSON. No ledger, no budget, no retry: the floor of what a client
in Python can cost.
"""

from __future__ import annotations

import asyncio
import sys

import aiohttp
from asked import CONCURRENCY, MAX_TOKENS, TEMPERATURE, clock, prompts, tell


async def ask(url: str, asked: list[str]) -> list[str]:
    """The answers to all prompts, in their order."""
    texts = [""] * len(asked)
    waiting = iter(enumerate(asked))

    async def work(session: aiohttp.ClientSession) -> None:
        for index, prompt in waiting:
            body = {
                "model": "test",
                "messages": [{"role": "user", "content": prompt}],
                "max_tokens": MAX_TOKENS,
                "temperature": TEMPERATURE,
            }
            async with session.post(f"{url}/chat/completions", json=body) as response:
                reply = await response.json()
            texts[index] = reply["choices"][0]["message"]["content"]

    connector = aiohttp.TCPConnector(limit=CONCURRENCY)
    async with aiohttp.ClientSession(connector=connector, raise_for_status=True) as session:
        await asyncio.gather(*(work(session) for _ in range(CONCURRENCY)))
    return texts


def main() -> None:
    """Ask for the rows and say how long it took."""
    url, rows = sys.argv[1], int(sys.argv[2])
    asked = prompts(rows)
    began = clock()
    texts = asyncio.run(ask(url, asked))
    tell(began, sum(1 for text in texts if text), aiohttp.__version__)


if __name__ == "__main__":
    main()
