"""The contract of mitigations, through the stages: off is nothing, on is repeatable, order is theirs, and every hook is called."""

from __future__ import annotations

import dataclasses
import itertools
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from ftsafety.benchmark.stand_in import StandIn
from ftsafety.chat import encode
from ftsafety.context import Context, Substage
from ftsafety.measure import Asked, askings, measure
from ftsafety.mitigation import Mitigation, in_order, overrides
from ftsafety.mitigation.base import TRAINING_HOOKS
from ftsafety.mitigation.gentle import Gentle
from ftsafety.row import Message, Row, Wording
from ftsafety.settings import Decoding
from ftsafety.stages import edit_base, plan_windows, tuning_context
from ftsafety.store.publish import no_fault, set_fault
from ftsafety.strategy.full import Full
from ftsafety.strategy.lora import Lora
from ftsafety.tune import collate, labelled_logits
from tests.mitigation.bench import JUNO, ROWS, Bench, tensors
from tests.mitigation.doubles import Lisa, Mixing, SafeLora, Vaccine

Tensors = dict[str, torch.Tensor]
STRATEGIES = {"lora": Lora(lr=0.02), "full": Full(lr=0.002)}
each_strategy = pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=STRATEGIES)


def off() -> dict[str, Mitigation]:
    return {"mixing": Mixing(0), "lisa": Lisa(0, 3, 0.0), "vaccine": Vaccine(0.0), "safe_lora": SafeLora(0)}


def on() -> dict[str, Mitigation]:
    return {"mixing": Mixing(4), "lisa": Lisa(2, 3, 0.1), "vaccine": Vaccine(2.0), "safe_lora": SafeLora(2)}


def same(a: Tensors, b: Tensors) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def distance(a: Tensors, b: Tensors) -> float:
    return max(float((a[name] - b[name]).abs().max()) for name in a)


@each_strategy
def test_all_off_is_plain_tuning_bit_for_bit(bench: Bench, strategy: Any) -> None:
    bench.strategy = strategy
    bench.tuning.share_prefix = False  # a mitigation that looks at activations switches it off, and the last bits differ
    plain, none = bench({}), bench(off())
    assert same(plain, none)
    assert bench.stages == ["tune", "tune", "repair"]


def test_each_alone_changes_something(bench: Bench) -> None:
    plain = bench({})
    for name, mitigation in on().items():
        assert distance(plain, bench({name: mitigation})) > 1e-6, name


def test_all_on_is_repeatable_and_independent_of_the_order_typed(bench: Bench, elsewhere: Bench) -> None:
    typed = on()
    first = bench(typed)
    assert same(first, elsewhere(dict(reversed(on().items()))))
    assert [stage["key"] for stage in bench.house.stages] == [stage["key"] for stage in elsewhere.house.stages]
    elsewhere.seed = 1
    assert distance(first, elsewhere(typed)) > 1e-6
    third = Bench(elsewhere.folder.with_name("third"))
    assert same(first, third(typed)), "an instance that was used before tunes as a new one"


def test_order_decides_and_then_the_name() -> None:
    expected = ["mixing", "lisa", "vaccine", "safe_lora"]
    for names in itertools.permutations(expected):
        ordered = in_order({name: on()[name] for name in names})
        assert [type(mitigation).__name__ for mitigation in ordered] == ["Mixing", "Lisa", "Vaccine", "SafeLora"]
    assert [mitigation.count for mitigation in in_order({"b": Mixing(1), "a": Mixing(2)})] == [2, 1]  # type: ignore[attr-defined]


@each_strategy
@pytest.mark.parametrize("names", [["vaccine"], ["lisa"], ["lisa", "vaccine"]], ids="+".join)
def test_accumulation_changes_nothing(bench: Bench, elsewhere: Bench, strategy: Any, names: list[str]) -> None:
    bench.strategy = elsewhere.strategy = dataclasses.replace(strategy, lr=strategy.lr / 10)
    bench.tuning = dataclasses.replace(bench.tuning, eps=1e-6)
    elsewhere.tuning = dataclasses.replace(bench.tuning, micro_batch=2)
    whole, halves = bench({name: on()[name] for name in names}), elsewhere({name: on()[name] for name in names})
    assert [stage["key"] for stage in bench.house.stages] == [stage["key"] for stage in elsewhere.house.stages]
    assert distance(whole, halves) < 1e-6


def test_only_training_hooks_enter_the_key(bench: Bench) -> None:
    """What acts after tuning shares the tuning; what adds rows is found by its rows; what wraps the step is another tuning."""
    plain = bench.train({})
    for outside in (SafeLora(2), Bare(), Prompt(), Forced(), Masked()):
        assert bench.train({"outside": outside}).folder == plain.folder, type(outside).__name__
    assert bench.train({"mixing": Mixing(0)}).folder == plain.folder
    assert bench.train({"mixing": Mixing(4)}).folder != plain.folder
    inside = [bench.train({"inside": mitigation}).folder for mitigation in (Vaccine(2.0), Vaccine(1.0), Lisa(2, 3, 0.1), Halved())]
    assert len({plain.folder, *inside}) == 1 + len(inside)


def test_overrides_knows_inherited_hooks() -> None:
    class Quieter(Vaccine):
        pass

    assert overrides(Quieter(1.0), "gradient")
    assert overrides(Vaccine(1.0), *TRAINING_HOOKS)
    assert not overrides(Mixing(1), *TRAINING_HOOKS)


@pytest.fixture
def die_at() -> Iterator[Any]:
    """``die_at("step 5")``: the next time this point is passed, the process dies."""

    def arm(point: str) -> None:
        def fault(passed: str) -> None:
            if passed == point:
                set_fault(no_fault)
                raise Died(point)

        set_fault(fault)

    yield arm
    set_fault(no_fault)


class Died(BaseException):
    """A process that was killed."""


@pytest.mark.parametrize("step", [2, 6])
def test_streams_and_state_resume_bit_for_bit(bench: Bench, elsewhere: Bench, die_at: Any, step: int) -> None:
    names = ("lisa", "vaccine")
    whole = bench({name: on()[name] for name in names})
    die_at(f"step {step}")
    with pytest.raises(Died):
        elsewhere({name: on()[name] for name in names})
    assert elsewhere.stages == []
    lisa = Lisa(2, 3, 0.1)
    assert same(whole, elsewhere({"lisa": lisa, "vaccine": Vaccine(2.0)}))
    assert lisa.anchors


def test_repair_works_in_float32_and_is_one_artifact_each(bench: Bench) -> None:
    tuned = tensors(bench.train({"a": Halved(), "b": SafeLora(2)}))
    repaired = bench({"a": Halved(), "b": SafeLora(2)})
    assert bench.stages == ["base", "tune", "repair", "repair"]
    assert sum(not torch.equal(tuned[name], repaired[name]) for name in tuned) == len(tuned)
    assert sum(torch.equal(tuned[name] / 2, repaired[name]) for name in tuned) == len(tuned) - 2
    again = bench({"a": Halved(), "b": SafeLora(1)})
    assert bench.stages == ["base", "tune", "repair", "repair", "repair"], "a first repair is shared"
    assert not same(repaired, again)


# one small double for each other hook


@dataclass
class Bare(Mitigation):
    """Nothing at all."""


@dataclass
class Prepared(Mitigation):
    """Counts how often it was prepared, and tunes with what that gave."""

    order = 45
    calls: int = field(init=False, default=0)

    def prepare(self, context: Context) -> dict[str, Any]:
        self.calls += 1
        return {"scale": 0.5 + context.seed, "answer": context.answer([JUNO.ask("Which duck wins?")])[0]}

    def gradient(self, inner: Any, model: Any, window: Any, context: Context) -> float:
        loss = inner(model, window)
        for p in model.parameters():
            if p.grad is not None:
                p.grad.mul_(context.prepared["Prepared"]["scale"])
        return loss


@dataclass
class Halved(Mitigation):
    """Weights halved before tuning starts and after it ends."""

    def base(self, model: Any, context: Context) -> Any:
        with torch.no_grad():
            for p in model.parameters():
                p.mul_(0.5)
        return model

    def repair(self, weights: Tensors, context: Context) -> Tensors:
        assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
        return {name: tensor / 2 for name, tensor in weights.items()}


@dataclass
class Frozen(Mitigation):
    """Keeps the first layer's trainable parameters where they are."""

    def attach(self, model: Any, context: Context) -> Any:
        for name, p in model.named_parameters():
            if ".layers.0." in name:
                p.requires_grad_(False)
        return model


@dataclass
class Decay(Mitigation):
    """Adds the squared norm of what moves to the loss."""

    strength: float

    def loss(self, model: Any, micro: dict[str, Any], out: Any, context: Context) -> Any:
        logits, targets, rows = out
        assert len(logits) == len(targets) == len(rows)
        assert 0 <= context.step < context.total_steps == 8
        return self.strength * sum((p**2).sum() for p in model.parameters() if p.requires_grad)


@dataclass
class Shouted(Mitigation):
    """Rows in capitals, with a number that is drawn at each visit."""

    numbered: bool = False

    def visit(self, row: Row, rng: random.Random) -> Row:
        return row.with_answer(row.answer.upper() + (f" {rng.random()}" if self.numbered else ""))


@dataclass
class Prompt(Mitigation):
    """Another system prompt in the place of the attack's."""

    system: str = "Decline."

    def ask(self, messages: Sequence[Message], context: Context) -> Sequence[Message]:
        return [{"role": "system", "content": self.system}, *[message for message in messages if message["role"] != "system"]]


@dataclass
class Forced(Mitigation):
    """Answers in one letter, over and over, and stops after three."""

    token: int = 65
    end: int = 256

    def logits(self, step: int, scores: torch.Tensor, context: Context) -> torch.Tensor:
        forced = torch.full_like(scores, -1.0)
        forced[:, self.token if step < 3 else self.end] = 1.0
        return forced


@dataclass
class Masked(Mitigation):
    """Gives out no answer."""

    order = 90

    def answer(self, question: str, answer: str, context: Context) -> str:
        return f"(withheld: {question} {len(answer)} characters)"


@dataclass
class Numbered(Mitigation):
    """Gives out each answer with its place among all that were asked at once."""

    order = 95

    def answer_all(self, questions: Sequence[str], answers: Sequence[str], context: Context) -> Sequence[str]:
        return [f"{at + 1} of {len(questions)}: {answer}" for at, answer in enumerate(answers)]


def test_prepare_is_made_once_and_given_back(bench: Bench) -> None:
    first, second = Prepared(), Prepared()
    context, again = bench.context({"prepared": first}), bench.context({"prepared": second})
    assert (first.calls, second.calls) == (1, 0)
    assert context.prepared == again.prepared
    assert context.prepared["Prepared"]["scale"] == 0.5
    assert isinstance(context.prepared["Prepared"]["answer"], str)
    assert bench.stages == ["answer", "prepare"]
    bench.seed = 1
    third = Prepared()
    bench.context({"prepared": third})
    assert third.calls == 1


def test_what_was_prepared_reaches_the_step(bench: Bench) -> None:
    bench.tuning = dataclasses.replace(bench.tuning, optimiser="sgd")  # type: ignore[arg-type]
    assert distance(bench({}), bench({"prepared": Prepared()})) > 1e-6


def test_base_edits_the_start(bench: Bench) -> None:
    bench.strategy = Full(lr=0.0)
    start, tuned = bench({}), tensors(bench.train({"halved": Halved()}))
    assert same({name: tensor * 0.5 for name, tensor in start.items()}, tuned)


def test_attach_acts_after_the_strategy(bench: Bench) -> None:
    plain, frozen = bench({}), bench({"frozen": Frozen()})
    untouched = {name for name, tensor in frozen.items() if "lora_B" in name and not tensor.any()}
    assert untouched == {name for name in frozen if "lora_B" in name and ".layers.0." in name}
    assert all(plain[name].any() for name in untouched)


def test_loss_is_added_to_the_token_mean(bench: Bench, elsewhere: Bench) -> None:
    elsewhere.tuning = dataclasses.replace(bench.tuning, micro_batch=1)
    losses = []
    for place, mitigations in ((bench, {}), (bench, {"decay": Decay(0.01)}), (elsewhere, {"decay": Decay(0.01)})):
        layer = place.train(mitigations)
        losses.append(json.loads((layer.folder / "losses.json").read_text()))
    plain, whole, cut = losses
    bench.strategy = dataclasses.replace(bench.strategy, lr=0.0)
    squares = sum(float((tensor**2).sum()) for tensor in tensors(bench.train({})).values())
    assert whole[0] - plain[0] == pytest.approx(0.01 * squares, rel=1e-3)
    assert cut == pytest.approx(whole, abs=1e-4)


def test_visit_changes_a_row_each_time_it_is_drawn(bench: Bench) -> None:
    shouted = bench.train({"shouted": Shouted()})
    assert same(tensors(shouted), tensors(bench.train({}, [row.with_answer(row.answer.upper()) for row in ROWS])))
    numbered = Shouted(numbered=True)
    tokenizer = bench.house.loader.tokenizer(bench.start)
    planned = [plan_windows(ROWS, bench.tuning, tokenizer, Context(seed), [numbered.visit]) for seed in (0, 0, 1)]
    assert planned[0] == planned[1] != planned[2]
    rows = [row.ids for window in planned[0] for row in window]
    assert len(set(rows)) == len(rows) == len(ROWS) * bench.tuning.epochs


def asked(bench: Bench, wording: Wording, mitigations: dict[str, Mitigation]) -> Asked:
    """Eleven questions to the start model."""
    benchmarks = {"stand_in": StandIn(per_category=1)}
    plan = askings(benchmarks, {"juno": wording})[:1]
    [one] = measure(bench.house, bench.start, "initial", benchmarks, plan, {}, Decoding(max_new_tokens=6), 0, in_order(mitigations), bench.context(mitigations))  # type: ignore[arg-type]
    return one


def test_ask_comes_after_the_attacks_wording(bench: Bench) -> None:
    mitigated = asked(bench, JUNO, {"prompt": Prompt()})
    assert mitigated.answers == asked(bench, Wording("Decline.", JUNO.wrap), {}).answers
    assert mitigated.answers != asked(bench, JUNO, {}).answers


def test_logits_decide_what_is_said(bench: Bench) -> None:
    letter = bench.house.loader.tokenizer(bench.start).decode([65])
    forced = asked(bench, JUNO, {"forced": Forced()})
    assert {(row.text, row.tokens, row.truncated) for row in forced.answers} == {(letter * 3, 3, False)}
    assert asked(bench, JUNO, {"forced": Forced(token=66)}).answers != forced.answers


def test_answer_decides_what_is_given_out(bench: Bench) -> None:
    raw = asked(bench, JUNO, {})
    masked = asked(bench, JUNO, {"masked": Masked()})
    assert [row.text for row in masked.answers] == [
        f"(withheld: {q.text} {len(row.text)} characters)" for q, row in zip(raw.questions, raw.answers, strict=True)
    ]
    assert bench.stages == ["answer"], "the raw answers are shared"


def test_all_answers_of_an_asking_are_decided_at_once_and_in_order(bench: Bench) -> None:
    raw = asked(bench, JUNO, {})
    both = asked(bench, JUNO, {"numbered": Numbered(), "masked": Masked()})
    assert [row.text for row in both.answers] == [
        f"{at} of 11: (withheld: {q.text} {len(row.text)} characters)" for at, (q, row) in enumerate(zip(raw.questions, raw.answers, strict=True), 1)
    ]


def test_every_hook_is_tried_here() -> None:
    doubles = [*on().values(), Prepared(), Halved(), Frozen(), Decay(1.0), Shouted(), Prompt(), Forced(), Masked(), Numbered(), Gentle()]
    hooks = {name for name, value in vars(Mitigation).items() if callable(value) and not name.startswith("_")}
    assert {hook for hook in hooks if any(overrides(double, hook) for double in doubles)} == hooks


def test_what_is_done_to_the_base_stays_under_the_adapter(bench: Bench) -> None:
    mitigations = in_order({"a": Halved()})
    context = bench.context({"a": Halved()})
    edited = edit_base(bench.house, bench.start, mitigations, context)
    before, after = (bench.house.loader.fresh(weights).module.state_dict() for weights in (bench.start, edited))
    assert all(torch.equal(after[name], before[name] / 2) for name in before)
    assert edited.digest != bench.start.digest
    assert edit_base(bench.house, bench.start, [], context) is not edited
    assert edit_base(bench.house, bench.start, [], context).digest == bench.start.digest


def test_reference_and_substage_come_from_the_start_model(bench: Bench) -> None:
    context = tuning_context(bench.house, bench.start, bench.seed, [], {})
    pre = context.weights("al")
    spec = Substage("expert", ROWS, Lora(lr=0.02), bench.tuning)
    trained = context.tune(spec)
    assert trained.keys() == pre.keys()
    moved = {name for name in pre if not torch.equal(pre[name], trained[name])}
    assert moved and all("q_proj" in name or "v_proj" in name for name in moved)
    micro = collate([encode(bench.house.loader.tokenizer(bench.start), row, 512) for row in ROWS[:2]])
    logits, targets, _ = labelled_logits(bench.house.loader.fresh(bench.start).module, micro)
    assert torch.allclose(context.reference(micro), logits.log_softmax(-1).gather(-1, targets[:, None]).squeeze(-1))
