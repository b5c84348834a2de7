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
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from yearling.errors import UserError
from yearling.progress import Advance, say
from yearling.recipe import Train
from yearling.students.rows import IGNORE, Row
from yearling.train.batches import CLOSE, JOINED, Course, collate, join, joins, passes
from yearling.train.checkpoint import Shelf, check_disk
from yearling.train.fitting import epochs_of, rate_of
from yearling.train.guards import FLAT_AFTER, Guards, check_memory
from yearling.train.loss import Head, is_same, prove_loss
from yearling.train.ranks import Ranks
from yearling.train.room import MOST
from yearling.train.shard import alike, is_spread, whole
from yearling.train.track import Hear
from yearling.train.watch import LOOKS, Looks

CLIP = 1.0  # greatest norm of a gradient
FEW = 4  # rows whose loss is measured before the first update and again
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
        self.tokens, self.ranks, self.looks = tokens, ranks or Ranks(), Looks()
        self.watched: Sequence[Row] = ()  # looked at and not learnt
        self.joined = 0  # tokens of a pass of joined rows; 0 where rows lie side by side
        self.course = Course(len(rows), settings.batch_size, epochs_of(settings, len(rows)), settings.seed)
        self.head = Head(model)
        self.trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        self.device = next(iter(self.trained.values())).device
        fused = self.device.type in ("cpu", "cuda")
        self.spread = any(is_spread(weight) for weight in self.trained.values())
        groups = [[w for w in self.trained.values() if is_spread(w) is part] for part in (False, True)]
        self.groups = [group for group in groups if group]  # torch takes no two kinds of tensors at once
        given = [{"params": group} for group in self.groups]
        self.rate = rate_of(settings, model.config.get_text_config().hidden_size)
        self.optimiser = torch.optim.AdamW(given, lr=self.rate, weight_decay=0.0, fused=fused)

    def watch(self, rows: Sequence[Row]) -> Loop:
        """Look at some rows while the others are learnt."""
        self.watched = rows
        return self

    def run(self, log: Path, advance: Advance, hear: Hear = lambda line: None) -> list[float]:
        """Train to the end; the mean loss of each update, in nats a label, of which `log` and `hear` get a line each.

        Where rows are watched, the model ends with the weights under which their loss was lowest. Raises ProofError or
        UserError where a guard stops it; all updates before are saved then.
        """
        if self.ranks.first:
            # weights and two moments; before the hours, not after them
            check_disk(self.shelf.folder, sum(3 * x.numel() * x.element_size() for x in self.trained.values()))
        done, losses = self._begin(log)
        last = done
        few = sorted(self.rows, key=lambda row: len(row.tokens))[:FEW]
        self.model.eval()
        prove_loss(self.model, self.head, self._on_device(few))
        self.joined = self._joined(few)
        guards = Guards(self._mean(few))
        every = math.ceil(self.course.updates / LOOKS)
        with (log if self.ranks.first else Path(os.devnull)).open("a", encoding="utf-8") as lines:
            for update in range(done, self.course.updates):
                try:
                    loss, norm = self._gradient(update)
                    guards.update(update + 1, loss, norm)
                    if update % MEMORY_EVERY == 0:
                        check_memory(self.ranks.most)
                except UserError as error:
                    raise self._saved(error, update) from None
                rate, last = self._step(update), update + 1
                losses.append(loss)
                line = {"step": last, "loss": loss, "learning_rate": rate, "gradient_norm": norm}
                line["epoch"] = self.course.epoch(last)
                if self.watched and (last % every == 0 or last == self.course.updates):
                    line["watched_loss"] = self._look(last)
                lines.write(json.dumps(line) + "\n")
                hear(line)
                if last % self.settings.save_every == 0:
                    lines.flush()
                    self._save(last)
                if last == FLAT_AFTER and not done:
                    guards.moved(last, self._mean(few))
                seen = {"watched": f"{line['watched_loss']:.3f}"} if "watched_loss" in line else {}
                advance(last, self.course.updates, loss=f"{loss:.3f}", epoch=f"{line['epoch']:.2f}", **seen)
                if self.looks.diverging:
                    break
        self._take_best(last)
        return losses

    def _look(self, update: int) -> float:
        """The mean loss of the watched rows; weights under which it was never lower are saved."""
        loss = self._mean(self.watched)
        self.looks = self.looks.seen(update, loss)
        if self.looks.update == update:
            weights = {name: whole(weight.data).contiguous() for name, weight in self.trained.items()}
            if self.ranks.first:
                self.shelf.save_best(update, weights)
        return loss

    def gathered(self) -> dict[str, Any]:
        """What `save_pretrained` has to be given, where the weights are spread: all of them, whole, by name.

        Every process calls it.
        """
        return {"state_dict": {k: whole(v) for k, v in self.model.state_dict().items()}} if self.spread else {}

    def _take_best(self, update: int) -> None:
        """Go back to the best weights, where those after the last `update` are not."""
        if not self.watched or self.looks.update == update:
            return
        best = self.shelf.best() if self.ranks.first else None  # the others may have no disk in common with it
        if self.ranks.most(int(self.ranks.first and best is None)):
            raise UserError(f"{self.shelf.folder} has lost its best weights. Delete the folder to train anew.")
        for name, weight in self.trained.items():
            value = best.tensors[name] if best else torch.empty(weight.shape, dtype=weight.dtype)
            weight.data.copy_(alike(self.ranks.of_first(value.to(self.device)), weight))
        if best is None:
            return
        why = "from there it rose, and training was ended" if self.looks.diverging else "those weights are kept"
        say(
            f"train: the loss of {len(self.watched)} rows that are not learnt was lowest after update {best.update} of "
            f"{self.course.updates}, {self.looks.loss:.3f}: {why}"
        )

    def _begin(self, log: Path) -> tuple[int, list[float]]:
        """Take up the newest checkpoint; how many updates are done, and their losses."""
        with self.ranks.first_alone():  # it deletes what is not gone on with
            found = self.shelf.newest()
        if found is None:
            if self.ranks.first:
                log.unlink(missing_ok=True)
            return 0, []
        for name, weight in self.trained.items():
            weight.data.copy_(alike(found.tensors[f"weight.{name}"], weight))
            step = torch.tensor(float(found.update))
            moments = {kind: alike(found.tensors[f"{kind}.{name}"], weight) for kind in ("exp_avg", "exp_avg_sq")}
            self.optimiser.state[weight] = {"step": step.to(weight.device) if weight.is_cuda else step, **moments}
        self.looks = Looks(**json.loads(found.about["looks"]))
        if not self.ranks.first:
            return found.update, []
        say(f"train: going on after update {found.update} of {self.course.updates}")
        lines = log.read_text(encoding="utf-8").splitlines()[: found.update] if log.exists() else []
        log.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        return found.update, [json.loads(line)["loss"] for line in lines]

    def _save(self, update: int) -> None:
        if not (self.ranks.first or self.spread):
            return
        tensors: dict[str, Tensor] = {}
        for name, weight in self.trained.items():
            state = self.optimiser.state.get(weight) or {}
            tensors[f"weight.{name}"] = whole(weight.data).contiguous()
            for kind in ("exp_avg", "exp_avg_sq"):
                tensors[f"{kind}.{name}"] = whole(state.get(kind, torch.zeros_like(weight.data))).contiguous()
        if self.ranks.first:
            self.shelf.save(update, tensors, {"looks": json.dumps(asdict(self.looks))})

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
        labels = labels_of(rows)
        total = torch.zeros((), device=self.device)
        mine = sorted(rows, key=lambda row: len(row.tokens))[self.ranks.rank :: self.ranks.size]
        cut = self._passes(mine)
        # where layers are gathered from all processes, all go through the model as often; what is put in adds nothing
        spare = self.ranks.most(len(cut)) - len(cut) if self.spread else 0
        for some, share in [*((some, 1.0) for some in cut), *[([rows[0]], 0.0)] * spare]:
            loss = share * self.head.loss(self._on_device(some)) / labels
            torch.autograd.backward(loss)
            total += loss.detach()
        for weight in self.trained.values():
            weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
        self.ranks.add([total, *(w.grad for w in self.trained.values() if w.grad is not None and not is_spread(w))])
        return float(total), self._clipped()

    def _clipped(self) -> float:
        """The norm of the gradient, which is cut to CLIP."""
        grads = [[weight.grad for weight in group if weight.grad is not None] for group in self.groups]
        norm = math.hypot(*(float(whole(torch.nn.utils.get_total_norm(some))) for some in grads))
        if norm > CLIP:
            for some in grads:
                torch._foreach_mul_(some, CLIP / norm)
        return norm

    def _step(self, update: int) -> float:
        rate = self.rate * self._warm(update)
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
        """The mean loss of rows as the model would be used, in nats a label."""
        self.model.eval()
        with torch.no_grad():
            total = sum(float(self.head.loss(self._on_device(some))) for some in self._passes(rows))
        return total / labels_of(rows)

    def _joined(self, few: Sequence[Row]) -> int:
        """The most tokens of a pass of joined rows; 0 where that does not pay, or a few come out as others joined."""
        # within a window, a layer that looks back no further sees all
        window = getattr(self.model.config.get_text_config(), "sliding_window", None) or self.tokens
        most = min(JOINED[self.device.type], self.tokens, window) if self.head.places else 0
        tried = max(joins(few, most), key=len)
        if most and len(tried) > 1 and not is_same(self.head, self._there(collate(tried)), self._there(join(tried))):
            say("train: this architecture sees more of joined rows than it should, so they lie side by side: slower")
            return 0
        return most

    def _passes(self, rows: Sequence[Row]) -> list[list[Row]]:
        return joins(rows, self.joined) if self.joined else passes(rows, self.tokens, CLOSE[self.device.type])

    def _on_device(self, rows: Sequence[Row]) -> dict[str, Tensor]:
        return self._there(join(rows) if self.joined and len(rows) > 1 else collate(rows))

    def _there(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: tensor.to(self.device) for name, tensor in batch.items()}


def labels_of(rows: Sequence[Row]) -> int:
    """How many tokens of rows carry loss."""
    return sum(label != IGNORE for row in rows for label in row.labels[1:])
