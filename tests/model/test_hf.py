"""Models from folders and the hub: the same answers, content for identity, and a sentence for each mistake."""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from ftsafety.chat import render
from ftsafety.decode import decode_batch
from ftsafety.errors import ConfigError, FtsafetyError
from ftsafety.model import Chat
from ftsafety.model.hf import Hf
from ftsafety.model.tiny import TEMPLATE, Tiny
from ftsafety.row import PLAIN

QUESTIONS = ("Which duck wins?", "And who comes second?")
STORE = Path()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model as a folder in the format of the hub."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    chat = Tiny().load(STORE)
    chat.module.save_pretrained(folder)
    chat.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy of it, to spoil."""
    return Path(shutil.copytree(saved, tmp_path / "mine"))


def asked(chat: Chat) -> list[tuple[int, ...]]:
    prompts = [render(chat.tokenizer, PLAIN.ask(question)) for question in QUESTIONS]
    return [row.ids for row in decode_batch(chat.module, prompts, max_new_tokens=8, end_tokens=chat.end_tokens)]


def test_a_folder_answers_as_the_model_in_memory(saved: Path) -> None:
    chat = Hf(name=str(saved), device="cpu").load(STORE)
    assert asked(chat) == asked(Tiny().load(STORE))
    assert not chat.module.training
    assert chat.module.dtype is torch.float32


def test_the_dtype_is_that_of_the_field(saved: Path) -> None:
    assert Hf(name=str(saved), dtype="bfloat16", device="cpu").load(STORE).module.dtype is torch.bfloat16


def test_a_fingerprint_is_content_not_name(saved: Path, folder: Path) -> None:
    one, other = Hf(name=str(saved)), Hf(name=str(folder))
    assert one.fingerprint(STORE) == other.fingerprint(STORE)
    assert one.recipe() == other.recipe()
    assert one.recipe() == Hf(name=str(saved), device="cpu").recipe()
    assert one.recipe() != Hf(name=str(saved), dtype="bfloat16").recipe()
    (folder / "README.md").write_text("A duck model.")
    assert one.fingerprint(STORE) == other.fingerprint(STORE)


@pytest.mark.parametrize("part", ["model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja"])
def test_a_fingerprint_follows_every_part(folder: Path, part: str) -> None:
    before = Hf(name=str(folder)).fingerprint(STORE)
    with (folder / part).open("r+b") as file:
        last = file.seek(-1, 2)
        byte = file.read(1)
        file.seek(last)
        file.write(bytes([byte[0] ^ 1]))
    assert Hf(name=str(folder)).fingerprint(STORE) != before


def test_a_folder_without_template_is_a_sentence_and_a_file_mends_it(folder: Path, tmp_path: Path) -> None:
    (folder / "chat_template.jinja").unlink()
    bare = Hf(name=str(folder))
    with pytest.raises(ConfigError, match=r"has no chat template.*model\.chat_template"):
        render(bare.load_tokenizer(STORE), PLAIN.ask(QUESTIONS[0]))
    template = tmp_path / "mine.jinja"
    template.write_text(TEMPLATE, encoding="utf-8")
    mended = Hf(name=str(folder), chat_template=template)
    prompt = PLAIN.ask(QUESTIONS[0])
    assert render(mended.load_tokenizer(STORE), prompt) == render(Tiny().load_tokenizer(STORE), prompt)
    assert mended.recipe() != bare.recipe()
    before = mended.recipe()
    template.write_text(TEMPLATE + "\n", encoding="utf-8")
    assert mended.recipe() != before


def test_a_missing_template_file_is_a_sentence(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.jinja does not exist"):
        Hf(name=str(saved), chat_template=tmp_path / "nowhere.jinja").recipe()


def test_a_missing_folder_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.name=.*nowhere is not a folder; give a local folder"):
        Hf(name=str(tmp_path / "nowhere")).fingerprint(STORE)


@pytest.mark.parametrize("gone", ["config.json", "model.safetensors"])
def test_a_folder_with_a_part_missing_is_a_sentence(folder: Path, gone: str) -> None:
    (folder / gone).unlink()
    with pytest.raises(FtsafetyError, match=r"model\.name=.*mine can't be loaded: .* Give a hub id"):
        Hf(name=str(folder)).load(STORE)


def test_an_adapter_is_not_a_model(folder: Path) -> None:
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(FtsafetyError, match="holds an adapter"):
        Hf(name=str(folder)).recipe()


def test_weights_in_the_older_format_count_too(folder: Path) -> None:
    before = Hf(name=str(folder)).fingerprint(Path())
    (folder / "pytorch_model.bin").write_bytes(b"weights")
    assert Hf(name=str(folder)).fingerprint(Path()) != before


def test_a_hub_id_offline_is_a_sentence_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    started = time.monotonic()
    with pytest.raises(ConfigError, match=r"model\.name=nobody/no-such-duck is not in the local cache and the hub can't be reached"):
        Hf(name="nobody/no-such-duck").fingerprint(STORE)
    assert time.monotonic() - started < 5


def test_a_hub_that_refuses_the_connection_is_the_same_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What the HTTP library raises then is none of the hub's own errors."""
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setattr("huggingface_hub.hf_api.constants.ENDPOINT", nobody)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", nobody)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"model\.name=nobody/no-such-duck is not in the local cache and the hub can't be reached"):
        Hf(name="nobody/no-such-duck").fingerprint(STORE)


def test_remote_code_is_never_trusted(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trusted: list[Any] = []

    def spy(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            trusted.append(options.get("trust_remote_code", "not said"))
            return original(*arguments, **options)

        return call

    for factory in (AutoModelForCausalLM, AutoTokenizer):
        monkeypatch.setattr(factory, "from_pretrained", spy(factory.from_pretrained))
    Hf(name=str(saved), device="cpu").load(STORE)
    assert trusted == [False, False]


def test_no_field_can_trust_remote_code() -> None:
    with pytest.raises(TypeError, match="trust_remote_code"):
        Hf(name="nobody/no-such-duck", trust_remote_code=True)  # type: ignore[call-arg]
