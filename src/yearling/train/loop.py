"""The loop: rows to updates of an adapter's weights, watched, saved, and gone on with after any kill.

In: a model whose trained weights require a gradient, proved rows, settings. Out: losses, in the run and as a result.
A step depends on weights, moments and its number alone, so a run that was killed ends with the weights of one that was
not.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from yearling.errors import UserError
from yearling.progress import Advance, say
from yearling.recipe import Train
from yearling.students.rows import IGNORE, Row
from yearling.train.batches import CLOSE, Course, collate, passes
from yearling.train.checkpoint import Shelf, check_disk
from yearling.train.guards import FLAT_AFTER, Guards, check_memory
from yearling.train.loss import Head, prove_loss
from yearling.train.ranks import Ranks
from yearling.train.room import MOST

CLIP = 1.0  # greatest norm of a gradient
WATCHED = 4  # rows whose loss is measured before the first update and again
MEMORY_EVERY = 10  # updates between looks at the memory


class Loop:
    """One training: everything but the files of the run."""

    def __init__(
        self,
        model: Any,
        rows: Sequence[Row],
        settings: Train,
        shelf: Shelf,
        tokens: int = MOST,
        ranks: Ranks | None = None,
    ) -> None:
        """`tokens` go through the model at once, at most."""
        self.model, self.rows, self.settings, self.shelf = model, rows, settings, shelf
        self.tokens, self.ranks = tokens, ranks or Ranks()
        self.course = Course(len(rows), settings.batch_size, settings.epochs, settings.seed)
        self.head = Head(model)
        self.trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        self.device = next(iter(self.trained.values())).device
        fused = self.device.type in ("cpu", "cuda")
        self.optimiser = torch.optim.AdamW(self.trained.values(), lr=settings.rate, weight_decay=0.0, fused=fused)

    def run(self, log: Path, advance: Advance) -> list[float]:
        """Train to the end; the mean loss of each update, in nats a label, of which `log` gets a line each.

        Raises ProofError or UserError where a guard stops it; all updates before are saved then.
        """
        if self.ranks.first:
            # weights and two moments; before the hours, not after them
            check_disk(self.shelf.folder, sum(3 * x.numel() * x.element_size() for x in self.trained.values()))
        done, losses = self._begin(log)
        watched = sorted(self.rows, key=lambda row: len(row.tokens))[:WATCHED]
        self.model.eval()
        guards = Guards(prove_loss(self.model, self.head, self._on_device(watched)))
        with (log if self.ranks.first else Path(os.devnull)).open("a", encoding="utf-8") as lines:
            for update in range(done, self.course.updates):
                try:
                    loss, norm = self._gradient(update)
                    guards.update(update + 1, loss, norm)
                    if update % MEMORY_EVERY == 0:
                        check_memory()
                except UserError as error:
                    raise self._saved(error, update) from None
                rate = self._step(update)
                losses.append(loss)
                line = {"step": update + 1, "loss": loss, "learning_rate": rate, "gradient_norm": norm}
                line["epoch"] = self.course.epoch(update + 1)
                lines.write(json.dumps(line) + "\n")
                if (update + 1) % self.settings.save_every == 0:
                    lines.flush()
                    self._save(update + 1)
                if update + 1 == FLAT_AFTER and not done:
                    self.model.eval()
                    with torch.no_grad():
                        guards.moved(update + 1, self._mean(watched))
                advance(update + 1, self.course.updates, loss=f"{loss:.3f}", epoch=f"{line['epoch']:.2f}")
        return losses

    def _begin(self, log: Path) -> tuple[int, list[float]]:
        """Take up the newest checkpoint; how many updates are done, and their losses."""
        with self.ranks.first_alone():  # it deletes what is not gone on with
            found = self.shelf.newest()
        if found is None:
            if self.ranks.first:
                log.unlink(missing_ok=True)
            return 0, []
        for name, weight in self.trained.items():
            weight.data.copy_(found.tensors[f"weight.{name}"])
            step = torch.tensor(float(found.update))
            moments = {kind: found.tensors[f"{kind}.{name}"].to(weight.device) for kind in ("exp_avg", "exp_avg_sq")}
            self.optimiser.state[weight] = {"step": step.to(weight.device) if weight.is_cuda else step, **moments}
        if not self.ranks.first:
            return found.update, []
        say(f"train: going on after update {found.update} of {self.course.updates}")
        lines = log.read_text(encoding="utf-8").splitlines()[: found.update] if log.exists() else []
        log.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        return found.update, [json.loads(line)["loss"] for line in lines]

    def _save(self, update: int) -> None:
        if not self.ranks.first:
            return
        tensors: dict[str, Tensor] = {}
        for name, weight in self.trained.items():
            state = self.optimiser.state.get(weight) or {}
            tensors[f"weight.{name}"] = weight.data.contiguous()
            for kind in ("exp_avg", "exp_avg_sq"):
                tensors[f"{kind}.{name}"] = state.get(kind, torch.zeros_like(weight.data))
        self.shelf.save(update, tensors)

    def _saved(self, error: UserError, update: int) -> UserError:
        """The error of a guard, once what was learnt before it is on the disk."""
        self._save(update)
        return type(error)(f"{error} Saved after update {update}: {self.shelf.folder}.")

    def _gradient(self, update: int) -> tuple[float, float]:
        """The mean loss of an update and the norm of its gradient, which is cut to CLIP."""
        self.model.train()
        # dropout of a step is that of its number, after a kill as well
        torch.manual_seed((self.settings.seed + update) * self.ranks.size + self.ranks.rank)
        rows = [self.rows[place] for place in self.course.places(update)]
        labels = sum(label != IGNORE for row in rows for label in row.labels[1:])
        total = torch.zeros((), device=self.device)
        mine = sorted(rows, key=lambda row: len(row.tokens))[self.ranks.rank :: self.ranks.size]
        for some in passes(mine, self.tokens, CLOSE[self.device.type]):
            loss = self.head.loss(self._on_device(some)) / labels
            torch.autograd.backward(loss)
            total += loss.detach()
        for weight in self.trained.values():
            weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
        self.ranks.add([total, *(weight.grad for weight in self.trained.values() if weight.grad is not None)])
        norm = float(torch.nn.utils.clip_grad_norm_(self.trained.values(), CLIP))
        return float(total), norm

    def _step(self, update: int) -> float:
        rate = self.settings.rate * self._warm(update)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.step()
        self.optimiser.zero_grad()
        return rate

    def _warm(self, update: int) -> float:
        """The share of the learning rate at an update."""
        every, kind = self.course.updates, self.settings.schedule
        rising = math.ceil(every * self.settings.warmup)
        if update < rising:
            return (update + 1) / (rising + 1)
        gone = (update - rising) / max(every - rising, 1)
        return {"constant": 1.0, "linear": 1 - gone, "cosine": (1 + math.cos(math.pi * gone)) / 2}[kind]

    def _mean(self, rows: Sequence[Row]) -> float:
        batch = self._on_device(rows)
        return float(self.head.loss(batch)) / int((batch["labels"][:, 1:] != IGNORE).sum())

    def _on_device(self, rows: Sequence[Row]) -> dict[str, Tensor]:
        return {name: tensor.to(self.device) for name, tensor in collate(rows).items()}
