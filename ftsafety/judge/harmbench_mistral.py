"""HarmBench's second classifier, which the authors keep for validation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ftsafety.judge.harmbench import Harmbench


@dataclass(kw_only=True)
class HarmbenchMistral(Harmbench):
    """The same question to the validation classifier, a 7B Mistral with a card and prompts of its own."""

    source = "Mazeika et al. 2024 (arXiv 2402.04249); the card of cais/HarmBench-Mistral-7b-val-cls"
    published: ClassVar[str] = "README.md of cais/HarmBench-Mistral-7b-val-cls on the hub, or eval_utils.py of github.com/centerforaisafety/HarmBench"
