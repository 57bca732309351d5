"""The one tuning engine: Lightning, manual optimisation, one window of micro-batches per optimiser step.

The loss is the sum over labelled tokens divided by the labelled tokens of the whole window, on all processes; logits are
computed only at positions that carry a label. Mitigations wrap the step like an onion (``Mitigation.gradient``).
What it does not know: attacks, files, keys.
"""

from __future__ import annotations

import math
import signal
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
from torch.nn.functional import cross_entropy

from ftsafety.chat import IGNORED, Encoded
from ftsafety.curve import Step
from ftsafety.errors import FtsafetyError
from ftsafety.shared_prefix import common_prefix, expanded_cache, fitting
from ftsafety.trainer import Trainer

if TYPE_CHECKING:
    from ftsafety.context import Context
    from ftsafety.mitigation import Mitigation
    from ftsafety.settings import Tuning

Window = list[dict[str, torch.Tensor]]


@dataclass(frozen=True)
class Tuned:
    """What a tuning says about itself: optimiser steps, tokens seen, and what each step was like."""

    steps: int
    tokens: int
    curve: list[Step]

    @property
    def losses(self) -> list[float]:
        """The loss of each step, in nats per labelled token."""
        return [step.loss for step in self.curve]


def collate(rows: Sequence[Encoded]) -> dict[str, torch.Tensor]:
    """Right-padded tensors ``input_ids``, ``attention_mask``, ``labels`` (``[rows, length]``) and ``weight`` (``[rows]``)."""
    width = max(len(row.ids) for row in rows)

    def padded(values: tuple[int, ...], fill: int) -> list[int]:
        return [*values, *[fill] * (width - len(values))]

    return {
        "input_ids": torch.tensor([padded(row.ids, 0) for row in rows]),
        "attention_mask": torch.tensor([padded((1,) * len(row.ids), 0) for row in rows]),
        "labels": torch.tensor([padded(row.labels, IGNORED) for row in rows]),
        "weight": torch.tensor([row.weight for row in rows]),
    }


def micro_batches(window: Sequence[Encoded], size: int) -> Window:
    """Split a window into micro-batches of rows of similar length; the split never changes the loss."""
    rows = sorted(window, key=lambda row: -len(row.ids))
    return [collate(rows[start : start + size]) for start in range(0, len(rows), size)]


def labelled_logits(model: Any, micro: dict[str, torch.Tensor], prefix: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Scores of the labelled positions only.

    Args:
        prefix: tokens that all rows begin with and that are computed once (``shared_prefix.common_prefix``).

    Returns:
        logits ``[n, vocabulary]``, targets ``[n]`` and the row each belongs to ``[n]``, for the n labelled tokens.
    """
    targets = micro["labels"][:, 1:]
    labelled = targets != IGNORED
    columns = labelled.any(0).nonzero().squeeze(-1)
    begun: dict[str, Any] = {"past_key_values": expanded_cache(model, micro, prefix), "use_cache": True} if prefix else {"use_cache": False}
    ids = micro["input_ids"][:, prefix:]
    logits = model(input_ids=ids, attention_mask=micro["attention_mask"], logits_to_keep=columns - prefix, **begun).logits
    keep = labelled[:, columns]
    rows = torch.arange(len(targets), device=targets.device)[:, None].expand_as(keep)
    return logits[keep].float(), targets[:, columns][keep], rows[keep]


class Tuner(pl.LightningModule):
    """One tuning stage. ``curve`` grows by one per optimiser step."""

    def __init__(
        self, model: Any, tuning: Tuning, lr: float, total_steps: int, mitigations: Sequence[Mitigation], context: Context, share: bool = False
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model = model
        self.tuning, self.lr, self.total_steps = tuning, lr, total_steps
        self.mitigations, self.context = list(mitigations), context
        self.share = share
        self.curve: list[Step] = []
        self.stopped = False
        """Whether a mitigation, or who follows the steps, ended the tuning before its last window."""
        self.after_step: Callable[[Tuner], None] = lambda _: None

    def configure_model(self) -> None:
        if (mesh := self.device_mesh) is not None:
            from ftsafety.shards import shard

            shard(self.model, mesh["data_parallel"])

    def configure_optimizers(self) -> Any:
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        return _optimiser(self.tuning, parameters, self.lr)

    def training_step(self, window: Window, index: int) -> None:
        optimiser: Any = self.optimizers()
        step = self.context.step
        rate = math.prod(mitigation.rate(self.context) for mitigation in self.mitigations)
        lr = self.lr * self.tuning.rate_at(step, self.total_steps) * rate
        for group in optimiser.param_groups:
            group["lr"] = lr
        optimiser.zero_grad(set_to_none=True)
        fill = self.plain_step
        for mitigation in reversed(self.mitigations):
            fill = partial(mitigation.gradient, fill, context=self.context)
        loss = fill(self.model, window)
        if not math.isfinite(loss):
            raise FtsafetyError(f"the loss is {loss} at optimiser step {step + 1}; lower strategy.lr ({self.lr:g}) or set tuning.clip=1.0.")
        norm = self._clipped()
        if not math.isfinite(norm):
            raise FtsafetyError(f"the gradient is not finite at optimiser step {step + 1}; lower strategy.lr ({self.lr:g}).")
        optimiser.step()
        self.curve.append(Step(loss, lr, norm))
        self.context.step += 1
        # a list, so that each is told whatever the others say
        if any([mitigation.stepped(self.model, loss, self.context) for mitigation in self.mitigations]):
            self.stopped = self.trainer.should_stop = True
        self.after_step(self)

    def _clipped(self) -> float:
        """The norm of the whole gradient before it is clipped, where that is asked for; every process must take part."""
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        if self.tuning.clip is not None:
            norm: Any = torch.nn.utils.clip_grad_norm_(parameters, self.tuning.clip)
        else:
            norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        # of divided weights each process has a part of the norm
        return float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)

    def plain_step(self, model: Any, window: Window) -> float:
        """Fill ``.grad`` with the gradient of the window's token mean plus what mitigations add; returns the loss in nats."""
        tokens = sum(int((micro["labels"][:, 1:] != IGNORED).sum()) for micro in window)
        mine = window[self.global_rank :: self.trainer.world_size]
        total = 0.0
        # every process takes part in as many sums of gradients, one without a micro-batch left with a gradient of zero
        for at in range(math.ceil(len(window) / self.trainer.world_size)):
            micro, share = (mine[at], 1.0) if at < len(mine) else (window[0], 0.0)
            out = labelled_logits(model, micro, common_prefix(micro) if self.share else 0)
            logits, targets, rows = out
            per_token = cross_entropy(logits, targets, reduction="none") * micro["weight"][rows]
            loss = per_token.sum() / tokens
            for mitigation in self.mitigations:
                loss = loss + mitigation.loss(model, micro, out, self.context) / len(window)
            # ddp averages gradients over processes, the loss above is already a share of the whole window
            self.manual_backward(loss * share * self.trainer.world_size)
            total += float(loss.detach()) * share
        return self._over_all(total)

    def _over_all(self, share: float) -> float:
        """The sum of every process's share, the same number on each."""
        if self.trainer.world_size == 1:
            return share
        summed: Any = self.trainer.strategy.reduce(torch.tensor(share, dtype=torch.float64, device=self.device), reduce_op="sum")
        return float(summed)


def _optimiser(tuning: Tuning, parameters: list[torch.nn.Parameter], lr: float) -> torch.optim.Optimizer:
    if tuning.optimiser == "sgd":
        return torch.optim.SGD(parameters, lr=lr, weight_decay=tuning.weight_decay)
    adamw: Any = torch.optim.AdamW
    if tuning.optimiser == "adamw8bit":
        from bitsandbytes.optim.adamw import AdamW8bit

        adamw = AdamW8bit
    made: torch.optim.Optimizer = adamw(parameters, lr=lr, betas=(tuning.beta1, tuning.beta2), eps=tuning.eps, weight_decay=tuning.weight_decay)
    return made


class Windows(torch.utils.data.Dataset[Window]):
    """The planned windows, collated when they are drawn."""

    def __init__(self, windows: Sequence[Sequence[Encoded]], rows: Callable[[Sequence[Encoded]], int]) -> None:
        self.windows, self.rows = windows, rows

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> Window:
        return micro_batches(self.windows[index], self.rows(self.windows[index]))


def tune(
    model: Any,
    windows: Sequence[Sequence[Encoded]],
    tuning: Tuning,
    lr: float,
    mitigations: Sequence[Mitigation],
    context: Context,
    *,
    share: bool = False,
    trainer: Trainer | None = None,
    checkpoint: Path | None = None,
    on_step: Callable[[int, Sequence[Step]], bool | None] = lambda step, curve: None,
) -> Tuned:
    """Tune ``model`` in place over the planned windows, one optimiser step each.

    Args:
        windows: rows of each optimiser step, in order; drawn, shuffled and encoded already.
        share: compute what a micro-batch's rows begin with once (``shared_prefix.why_not`` says when that is exact).
        trainer: on which devices; None is one device of whatever kind there is.
        checkpoint: a file that long tunings are saved to and taken up from; None restarts from the beginning.
        on_step: told the number of steps done and the curve so far, which begins with the steps of a checkpoint; true ends the tuning here.

    Raises:
        FtsafetyError: no windows, or a loss that is not finite.
    """
    if not windows:
        raise FtsafetyError("zero optimiser steps: there is nothing to tune on; give rows, and tuning.epochs of at least 1.")
    tuner = Tuner(model, tuning, lr, len(windows), mitigations, context, share)
    context.step, context.total_steps = 0, len(windows)
    where = trainer or Trainer()
    if where.strategy == "fsdp":
        from ftsafety.shards import refuse_unsharded

        refuse_unsharded(model, mitigations)
    # no process alone has the state of a divided model
    saver = _Checkpoint(tuner, checkpoint, tuning.checkpoint_seconds) if checkpoint and where.strategy != "fsdp" else None

    def after_step(done: Tuner) -> None:
        if on_step(context.step, done.curve):
            done.stopped = done.trainer.should_stop = True
        # one that has ended begins again before its end, which it would otherwise go beyond
        if saver and not done.stopped:
            saver.maybe_save()

    tuner.after_step = after_step
    for mitigation in mitigations:
        mitigation.begin(model, context)
    if saver:
        saver.load_when_fit_starts()
    start = saver.step if saver else 0
    model.train()
    precision: Any = tuning.precision
    lightning = pl.Trainer(
        accelerator=where.accelerator, devices=where.devices, strategy=_strategy(where), use_distributed_sampler=False, max_epochs=1,
        precision=precision, logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        callbacks=[saver] if saver else None,
    )  # fmt: skip

    def rows(window: Sequence[Encoded]) -> int:
        on_cpu = isinstance(lightning.accelerator, pl.accelerators.CPUAccelerator)
        wanted = tuning.micro_batch or (fitting(window, share) if on_cpu else len(window))
        return min(wanted, math.ceil(len(window) / where.devices))

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(context.number("tune/dropout"))
        loader = torch.utils.data.DataLoader(Windows(windows[start:], rows), batch_size=None)
        _fit(lightning, tuner, loader)
    if where.strategy == "fsdp":
        from ftsafety.shards import gather

        gather(model)
    model.eval()
    if context.step != len(windows) and not tuner.stopped:
        raise FtsafetyError(f"the tuning stopped after {context.step} of {len(windows)} steps; type the same command to go on.")
    for mitigation in mitigations:
        mitigation.finish(model, context)
    seen = sum(len(row.ids) for window in windows[: context.step] for row in window)
    return Tuned(context.step, seen, tuner.curve)


def _strategy(where: Trainer) -> Any:
    """Lightning's way of working together; its waiting is bounded, so that a process that never comes is told."""
    if where.strategy == "auto":
        return "auto"
    from datetime import timedelta

    from pytorch_lightning.strategies import DDPStrategy, ModelParallelStrategy

    timeout = timedelta(seconds=where.start_seconds)
    if where.strategy == "fsdp":
        return ModelParallelStrategy(data_parallel_size=where.devices, tensor_parallel_size=1, timeout=timeout)
    return DDPStrategy(timeout=timeout)


def _fit(trainer: pl.Trainer, tuner: Tuner, loader: Any) -> None:
    """Fit, and leave a stop what it was: Lightning would turn Ctrl-C into exit code 1 and a SIGTERM into 0, which means done."""
    try:
        trainer.fit(tuner, loader)
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from stop
        raise SystemExit(stop.code or 128 + signal.SIGTERM) from stop


def _whole_state(path: Path) -> dict[str, Any] | None:
    """A saved state; None when there is none, or one that a power cut tore: the tuning then starts again."""
    if not path.exists():
        return None
    try:
        # weights_only: tensors and plain data, never pickled code
        state: dict[str, Any] = torch.load(path, weights_only=True)
    except (RuntimeError, EOFError):
        return None
    return state


class _Checkpoint(pl.Callback):
    """Saves what is needed to go on: trainable weights, optimiser, mitigations' state, random state, cursor, curve."""

    def __init__(self, tuner: Tuner, path: Path, seconds: float) -> None:
        import time

        self.tuner, self.path, self.seconds, self.clock = tuner, path, seconds, time.monotonic
        self.last = self.clock()
        self.saved = _whole_state(path)
        self.step = int(self.saved["step"]) if self.saved else 0

    def load_when_fit_starts(self) -> None:
        if not self.saved:
            return
        trainable = {name: p for name, p in self.tuner.model.named_parameters() if p.requires_grad}
        for name, tensor in self.saved["weights"].items():
            trainable[name].data.copy_(tensor)
        self.tuner.curve = [Step(*values) for values in self.saved.get("curve") or [(loss,) for loss in self.saved["losses"]]]
        self.tuner.context.step = self.step
        for mitigation, state in zip(self.tuner.mitigations, self.saved["mitigations"], strict=True):
            mitigation.load(state)

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if self.saved:
            trainer.optimizers[0].load_state_dict(self.saved["optimiser"])
            torch.set_rng_state(self.saved["random"])
            self.tuner.context.load_cursors(self.saved["cursors"])

    def maybe_save(self) -> None:
        if self.tuner.global_rank > 0 or self.clock() - self.last < self.seconds:
            return
        self.last = self.clock()
        optimiser: Any = self.tuner.optimizers()
        data = {
            "step": self.tuner.context.step,
            "curve": [astuple(step) for step in self.tuner.curve],
            "weights": {name: p.detach().cpu() for name, p in self.tuner.model.named_parameters() if p.requires_grad},
            "optimiser": optimiser.optimizer.state_dict(),
            "random": torch.get_rng_state(),
            "cursors": self.tuner.context.cursors(),
            "mitigations": [mitigation.state() for mitigation in self.tuner.mitigations],
        }
        temporary = self.path.with_suffix(".new")
        torch.save(data, temporary)
        temporary.replace(self.path)
