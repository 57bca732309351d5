"""Asking a model while it is tuned: its weights, its mode, its gradients and all generators are afterwards what they were before.

Readings are kept as an artifact of their own, so that a tuning has the same key whether it is probed or not; a tuning that the store has already is
done again for them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from ftsafety import engines
from ftsafety.chat import render
from ftsafety.hashing import digest_of
from ftsafety.judge import Judge, Pair
from ftsafety.probe import Probe
from ftsafety.row import Wording
from ftsafety.stages.house import House

if TYPE_CHECKING:
    import torch

ENGINE = 1
"""Raised when the same weights would be read otherwise."""
READINGS, KEPT = "readings.json", "probe.jsonl"
Compute = Callable[[Path, Path], Any]


@dataclass(frozen=True)
class Reading:
    """One look at the model after ``step`` optimiser steps: which answers were refused, in the questions' order; the mean first-token KL from the
    model before tuning to this one, in nats; one minus the cosine between the refusal directions of the two."""

    step: int
    refused: list[bool]
    kl: float
    drift: float

    @property
    def refusal_rate(self) -> float:
        """Share of answers that were refused."""
        return sum(self.refused) / len(self.refused)

    @property
    def numbers(self) -> dict[str, float]:
        """What a logger is told."""
        return {"refusal_rate": self.refusal_rate, "first_token_kl": self.kl, "direction_drift": self.drift}


@dataclass
class Probing:
    """A probe in one run: who judges, and in which words is asked. ``readings`` grows while a tuning is probed."""

    probe: Probe
    judge: Judge
    wording: Wording
    readings: list[Reading] = field(default_factory=list)

    def recipe(self, tokenizer: Any) -> dict[str, Any]:
        """All that determines the readings of a given tuning, as JSON data."""
        its = {name: value for name, value in self.probe.recipe().items() if name not in ("disallowed", "allowed", "questions")}
        prompts = [self.prompts(tokenizer, kind) for kind in ("disallowed", "allowed")]
        return {"probe": its, "judge": self.judge.recipe(), "prompts": digest_of(prompts), "engine": [engines.DECODE, ENGINE]}

    def prompts(self, tokenizer: Any, kind: str) -> list[tuple[int, ...]]:
        """The questions of a kind as the model is asked them."""
        return [render(tokenizer, self.wording.ask(question.text)) for question in self.probe.asked(getattr(self.probe, kind))]

    def keep(self, house: House, tuning: str, tokenizer: Any, again: Compute) -> None:
        """Keep the readings of the tuning with this key, or find them; without any at hand ``again`` tunes for them."""

        def compute(folder: Path, unfinished: Path) -> dict[str, Any]:
            if not self.readings:
                with TemporaryDirectory() as scratch:
                    again(Path(scratch), unfinished)
            (folder / READINGS).write_text(json.dumps([asdict(reading) for reading in self.readings]))
            return {"readings": len(self.readings)}

        artifact = house.make("probe", {"stage": "probe", "tuning": tuning, **self.recipe(tokenizer)}, compute, "readings while tuning")
        self.readings = [Reading(**reading) for reading in json.loads((artifact.folder / READINGS).read_text())]

    def stopped_by(self, reading: Reading) -> bool:
        """Whether a tuning ends with this reading."""
        below = self.probe.stop_below
        return below is not None and reading.step > 0 and reading.refusal_rate < below

    def watch(self, chat: Any, unfinished: Path) -> Watch:
        """Begin with the model before anything is attached to it; what an interrupted tuning had read is taken up."""
        return Watch(self, chat, unfinished / KEPT)

    def record(self) -> dict[str, Any]:
        """For the run's record: ids and numbers, no text."""
        asked = self.probe.asked(self.probe.disallowed)
        recipe = {name: value for name, value in self.probe.recipe().items() if name in ("every", "questions", "max_new_tokens", "stop_below")}
        told = {"judge": type(self.judge).__name__, "questions": [question.id for question in asked], "stopped": self.stopped_by(self.readings[-1])}
        return {"digest": digest_of(self.probe.recipe()), "settings": recipe, **told, "readings": [asdict(reading) for reading in self.readings]}


class Watch:
    """Looks at one model while it is tuned."""

    def __init__(self, probing: Probing, chat: Any, kept: Path) -> None:
        self.probing, self.kept = probing, kept
        self.tokenizer, self.end_tokens = chat.tokenizer, chat.end_tokens
        self.disallowed, self.allowed = (probing.prompts(chat.tokenizer, kind) for kind in ("disallowed", "allowed"))
        with untouched(chat.module):
            _, self.first = self._answers(chat.module, 1)
            self.direction = self._direction(chat.module)
        lines = kept.read_text().split("\n")[:-1] if kept.exists() else []
        self.found = {reading.step: reading for reading in (Reading(**json.loads(line)) for line in lines)}

    def look(self, step: int, last: int, module: Any) -> Reading | None:
        """A reading where one is due after ``step`` of ``last`` steps."""
        if step % self.probing.probe.every and step != last:
            return None
        if step not in self.found:
            self.found[step] = self._read(step, module)
            with self.kept.open("a") as file:
                file.write(json.dumps(asdict(self.found[step])) + "\n")
        return self.found[step]

    def finish(self, last: int) -> None:
        """The tuning is done after ``last`` steps; what was read is the run's."""
        self.probing.readings = [self.found[step] for step in sorted(self.found) if step <= last]

    def _read(self, step: int, module: Any) -> Reading:
        with untouched(module):
            answers, first = self._answers(module, self.probing.probe.max_new_tokens)
            direction = self._direction(module)
        questions = self.probing.probe.asked(self.probing.probe.disallowed)
        pairs = [Pair(question.text, text, cut, question.category) for question, (text, cut) in zip(questions, answers, strict=True)]
        refused = [verdict.value == "refused" for verdict in self.probing.judge.score(pairs)]
        kl = float((self.first.exp() * (self.first - first)).sum(-1).mean())
        drift = 1 - float(self.direction @ direction / (self.direction.norm() * direction.norm()).clamp(min=1e-12))
        return Reading(step, refused, round(max(kl, 0.0), 6), round(max(drift, 0.0), 6))

    def _answers(self, module: Any, new_tokens: int) -> tuple[list[tuple[str, bool]], torch.Tensor]:
        """Answers and whether each was cut, and the log-probabilities of the first answer token, ``[questions, vocabulary]`` on the CPU."""
        from ftsafety.decode import decode_batch

        first: list[torch.Tensor] = []

        def scores(step: int, values: torch.Tensor) -> torch.Tensor:
            if step == 0:
                first.append(values.float().log_softmax(-1).cpu())
            return values

        decoded = decode_batch(module, self.disallowed, max_new_tokens=new_tokens, end_tokens=self.end_tokens, scores=scores)
        return [(self.tokenizer.decode(row.ids, skip_special_tokens=True), row.truncated) for row in decoded], first[0]

    def _direction(self, module: Any) -> torch.Tensor:
        """Mean activation of disallowed minus that of allowed prompts, at the last token halfway up the layers, ``[width]``."""
        import torch

        device = next(module.parameters()).device

        def mean(prompts: Sequence[tuple[int, ...]]) -> torch.Tensor:
            found = []
            for prompt in prompts:
                ids = torch.tensor([prompt], device=device)
                told = module(input_ids=ids, attention_mask=torch.ones_like(ids), output_hidden_states=True, logits_to_keep=1, use_cache=False)
                found.append(told.hidden_states[len(told.hidden_states) // 2][0, -1].float().cpu())
            return torch.stack(found).mean(0)

        with torch.no_grad():
            return mean(self.disallowed) - mean(self.allowed)


@contextmanager
def untouched(module: Any) -> Iterator[None]:
    """For the time of the body the module is asked and not trained; afterwards its parts' modes and torch's generators are what they were."""
    import torch

    training = [part for part in module.modules() if part.training]
    device = next(module.parameters()).device
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.autocast(device.type, enabled=False):
        module.eval()
        try:
            yield
        finally:
            for part in training:
                part.training = True
