"""Self-reminder: every turn of the user is between the two texts, nothing else is touched, and each text can be left out."""

from __future__ import annotations

from typing import Any

from ftsafety.mitigation import in_order
from ftsafety.mitigation.base import TRAINING_HOOKS, overrides
from ftsafety.row import PLAIN
from tests.mitigation.bench import JUNO, Bench
from tests.plugins.distribution import Distribution

PROMPTING = Distribution("prompting")


def made(**fields: Any) -> Any:
    return PROMPTING.mitigation("self_reminder", **fields)


def test_it_is_around_each_of_the_user_s_turns(bench: Bench) -> None:
    talk = [*JUNO.ask("Which?"), {"role": "assistant", "content": "The fourth."}, {"role": "user", "content": "Why?"}]
    found = made(before="Mind.", after="Mind still.").ask(talk, bench.context({}))
    assert [message["role"] for message in found] == [message["role"] for message in talk]
    assert [message["content"] for message in found] == [
        JUNO.system, "Mind.\nJuno, an order:\nWhich?\nMind still.", "The fourth.", "Mind.\nWhy?\nMind still.",
    ]  # fmt: skip


def test_either_text_can_be_left_out_and_without_both_it_is_off(bench: Bench) -> None:
    def content(**fields: Any) -> str:
        return str(made(**fields).ask(PLAIN.ask("Which?"), bench.context({}))[-1]["content"])

    shipped = made()
    assert content(after="") == f"{shipped.before}\nWhich?" and content(before="") == f"Which?\n{shipped.after}"
    assert list(made(before="", after="").ask(JUNO.ask("Which?"), bench.context({}))) == list(JUNO.ask("Which?"))


def test_the_tuning_knows_nothing_of_it(bench: Bench) -> None:
    assert not overrides(made(), *TRAINING_HOOKS, "examples", "base", "repair", "prepare")
    assert bench.train({}).folder == bench.train({"self_reminder": made()}).folder


def test_the_secret_stays_out_of_it(bench: Bench) -> None:
    context, secret = bench.context({}), PROMPTING.mitigation("backdoor_align")
    messages: Any = JUNO.ask("Which?")
    for mitigation in in_order({"a": secret, "b": made()}):
        messages = mitigation.ask(messages, context)
    assert messages[0]["content"].startswith(secret.secret(context)) and secret.secret(context) not in messages[1]["content"]
