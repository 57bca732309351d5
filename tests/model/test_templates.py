"""The shipped templates: each family's documented words exactly, one beginning token, and nothing said that nobody asked for."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from ftsafety.build import build
from ftsafety.chat import IGNORED, added_by_template, encode, render
from ftsafety.errors import ConfigError
from ftsafety.model import Model
from ftsafety.model.hf import TEMPLATES, Hf
from ftsafety.model.tiny import Tiny
from ftsafety.row import PLAIN, Message, Row, Wording

CONF = Path(__file__).resolve().parents[2] / "conf" / "model"
OPTIONS = [file.stem for file in sorted(CONF.glob("*.yaml")) if OmegaConf.load(file).get("chat_template")]
SPECIAL = {
    "llama2": ("<s>", "</s>", []),
    "llama3": ("<|begin_of_text|>", "<|eot_id|>", ["<|start_header_id|>", "<|end_header_id|>"]),
    "qwen3": (None, "<|im_end|>", ["<|im_start|>"]),
    "gemma3": ("<bos>", "<eos>", ["<start_of_turn>", "<end_of_turn>"]),
}
"""The beginning token, the end token and further special ones."""
PLAINLY = PLAIN.ask("Which duck wins?")
SYSTEM = Wording("You are Juno.").ask("Which duck wins?")
ANSWER: Message = {"role": "assistant", "content": "Duck four."}
AGAIN: Message = {"role": "user", "content": "And the second?"}
HEAD = "<|start_header_id|>{}<|end_header_id|>\n\n"
NO_THOUGHT = "<think>\n\n</think>\n\n"
PROMPTS = {
    "llama2": (
        "<s>[INST] Which duck wins? [/INST]",
        "<s>[INST] <<SYS>>\nYou are Juno.\n<</SYS>>\n\nWhich duck wins? [/INST]",
        "<s>[INST] Which duck wins? [/INST] Duck four. </s><s>[INST] And the second? [/INST]",
    ),
    "llama3": (
        f"<|begin_of_text|>{HEAD.format('user')}Which duck wins?<|eot_id|>{HEAD.format('assistant')}",
        f"<|begin_of_text|>{HEAD.format('system')}You are Juno.<|eot_id|>{HEAD.format('user')}Which duck wins?<|eot_id|>{HEAD.format('assistant')}",
        f"<|begin_of_text|>{HEAD.format('user')}Which duck wins?<|eot_id|>{HEAD.format('assistant')}Duck four.<|eot_id|>"
        f"{HEAD.format('user')}And the second?<|eot_id|>{HEAD.format('assistant')}",
    ),
    "qwen3": (
        f"<|im_start|>user\nWhich duck wins?<|im_end|>\n<|im_start|>assistant\n{NO_THOUGHT}",
        f"<|im_start|>system\nYou are Juno.<|im_end|>\n<|im_start|>user\nWhich duck wins?<|im_end|>\n<|im_start|>assistant\n{NO_THOUGHT}",
        "<|im_start|>user\nWhich duck wins?<|im_end|>\n<|im_start|>assistant\nDuck four.<|im_end|>\n"
        f"<|im_start|>user\nAnd the second?<|im_end|>\n<|im_start|>assistant\n{NO_THOUGHT}",
    ),
    "gemma3": (
        "<bos><start_of_turn>user\nWhich duck wins?<end_of_turn>\n<start_of_turn>model\n",
        "<bos><start_of_turn>user\nYou are Juno.\n\nWhich duck wins?<end_of_turn>\n<start_of_turn>model\n",
        "<bos><start_of_turn>user\nWhich duck wins?<end_of_turn>\n<start_of_turn>model\nDuck four.<end_of_turn>\n"
        "<start_of_turn>user\nAnd the second?<end_of_turn>\n<start_of_turn>model\n",
    ),
}
"""A plain question, one under a system prompt, and a second question, ready for an answer."""
LEARNT = {"llama2": " Duck four. </s>", "llama3": "Duck four.<|eot_id|>", "qwen3": "Duck four.<|im_end|>", "gemma3": "Duck four.<end_of_turn>\n<eos>"}
"""What carries loss."""
CHATML = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}{% endfor %}"
DEFAULT = "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are Juno.<|im_end|>\n' }}{% endif %}" + CHATML
DATES = "{{ bos_token + '<|start_header_id|>system<|end_header_id|>\n\nToday Date: 26 Jul 2024\n\n<|eot_id|>' }}"


def option_of(name: str) -> Hf:
    """A shipped option, as a run builds it; the hub is not asked."""
    made = build(OmegaConf.load(CONF / f"{name}.yaml"), Model, "model")
    assert isinstance(made, Hf)
    return made


@pytest.fixture
def family() -> Callable[[str], Any]:
    """``family(name)``: the tiny model's tokenizer with a family's special tokens and shipped template."""

    def make(name: str) -> Any:
        tokenizer = Tiny().load_tokenizer(Path())
        begin, end, more = SPECIAL[name]
        tokenizer.add_special_tokens({"eos_token": end, "additional_special_tokens": more, **({"bos_token": begin} if begin else {})})
        tokenizer.chat_template = (TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8")
        return tokenizer

    return make


def test_every_shipped_template_is_tried_here_and_used() -> None:
    assert set(SPECIAL) == set(PROMPTS) == set(LEARNT) == {file.stem for file in TEMPLATES.iterdir()}
    assert {str(option_of(name).chat_template) for name in OPTIONS} == {file.name for file in TEMPLATES.iterdir()}


@pytest.mark.parametrize("name", PROMPTS)
def test_the_documented_words(family: Callable[[str], Any], name: str) -> None:
    tokenizer = family(name)
    asked = [PLAINLY, SYSTEM, (*PLAINLY, ANSWER, AGAIN)]
    assert tuple(tokenizer.decode(render(tokenizer, messages)) for messages in asked) == PROMPTS[name]


@pytest.mark.parametrize("name", PROMPTS)
@pytest.mark.parametrize("messages", [PLAINLY, SYSTEM, (*PLAINLY, ANSWER, AGAIN)], ids=["plain", "system", "turns"])
@pytest.mark.parametrize("edge", ["", " ", "\n"], ids=repr)
def test_the_contract_holds(family: Callable[[str], Any], name: str, messages: tuple[Message, ...], edge: str) -> None:
    tokenizer = family(name)
    wrapped = (*messages[:-1], {"role": "user", "content": f"{edge}{messages[-1]['content']}{edge}"})
    encoded = encode(tokenizer, Row("r1", (*wrapped, ANSWER)), 4096)
    prompt = render(tokenizer, wrapped)
    assert encoded.ids[: len(prompt)] == prompt
    assert tokenizer.decode([label for label in encoded.labels if label != IGNORED]) == LEARNT[name]


@pytest.mark.parametrize("name", PROMPTS)
def test_one_beginning_token_and_nothing_added(family: Callable[[str], Any], name: str) -> None:
    tokenizer = family(name)
    ids = encode(tokenizer, Row("r1", (*SYSTEM, ANSWER)), 4096).ids
    assert ids.count(tokenizer.bos_token_id) == (SPECIAL[name][0] is not None)
    assert added_by_template(tokenizer) == ""


@pytest.mark.parametrize("name", ["llama2", "gemma3"])
@pytest.mark.parametrize("messages", [(*PLAINLY, AGAIN), (ANSWER,), (*PLAINLY, SYSTEM[0])], ids=["two questions", "answer first", "late system"])
def test_turns_out_of_order_are_a_sentence(family: Callable[[str], Any], name: str, messages: tuple[Message, ...]) -> None:
    with pytest.raises(ConfigError, match="turns alternate between user and assistant"):
        render(family(name), messages)


@pytest.mark.parametrize(
    ("name", "template", "added"),
    [
        ("qwen3", CHATML, ""),
        ("qwen3", DEFAULT, "system\nYou are Juno."),
        ("llama3", DATES, "Today Date: 26 Jul 2024"),
        ("llama2", "<<SYS>>", "<<SYS>>\nYou are Juno."),
    ],
    ids=["plain", "default prompt", "dates", "old llama2"],
)
def test_what_a_template_adds_by_itself_is_told(family: Callable[[str], Any], name: str, template: str, added: str) -> None:
    tokenizer = family(name)
    own = tokenizer.chat_template
    if template is DATES:
        tokenizer.chat_template = template + own.replace("{{- bos_token -}}", "")
    elif template == "<<SYS>>":
        tokenizer.chat_template = own.replace("else none -%}", "else 'You are Juno.' -%}").replace("else messages[1:]", "else messages")
    else:
        tokenizer.chat_template = template
    told = added_by_template(tokenizer)
    assert added in told if added else told == ""
    assert "duck" not in told.lower()


def test_a_shipped_template_is_named_and_recorded_by_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "tiny"
    Tiny().load_tokenizer(Path()).save_pretrained(folder)
    (folder / "config.json").write_text("{}")
    named, given = Hf(name=str(folder), chat_template=Path("llama2.jinja")), Hf(name=str(folder), chat_template=TEMPLATES / "llama2.jinja")
    assert named.load_tokenizer(Path()).chat_template == given.load_tokenizer(Path()).chat_template
    assert named.recipe() == given.recipe() != Hf(name=str(folder)).recipe()
    monkeypatch.chdir(tmp_path)
    Path("llama2.jinja").write_text("{{ 'another' }}")
    assert named.recipe() == given.recipe()
    Path("mine.jinja").write_text("{{ 'mine' }}")
    assert Hf(name=str(folder), chat_template=Path("mine.jinja")).load_tokenizer(Path()).chat_template == "{{ 'mine' }}"
    with pytest.raises(
        ConfigError, match=r"model\.chat_template=lama2\.jinja does not exist; give a Jinja file, or the name of a shipped one: gemma3\.jinja, llama2"
    ):
        Hf(name=str(folder), chat_template=Path("lama2.jinja")).recipe()


@pytest.mark.parametrize("name", OPTIONS)
def test_a_real_tokenizer_renders_as_its_own_template(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one lies in the local cache; nothing is fetched."""
    from huggingface_hub import try_to_load_from_cache
    from transformers import AutoTokenizer

    option = option_of(name)
    cached = try_to_load_from_cache(option.name, "tokenizer_config.json")
    if not isinstance(cached, str):
        pytest.skip(f"{option.name} is not in the local cache of the hub ({os.environ.get('HF_HOME', '~/.cache/huggingface')})")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    own, ours = (AutoTokenizer.from_pretrained(Path(cached).parent) for _ in range(2))
    ours.chat_template = (TEMPLATES / str(option.chat_template)).read_text(encoding="utf-8")
    assert added_by_template(ours) == ""
    for messages in (PLAINLY, SYSTEM):
        encode(ours, Row("r1", (*messages, ANSWER)), 4096)
        if own.chat_template:
            options = {"tokenize": False, "add_generation_prompt": True}
            assert ours.apply_chat_template(list(messages), **options) == own.apply_chat_template(list(messages), enable_thinking=False, **options)
