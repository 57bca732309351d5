"""A judge that is a causal language model: it is shown a question and an answer, and its verdict is read from the next tokens that it says.

What is judged must not speak for the judge. Special tokens, the prompt's own tags and its headings are broken up by a space where a question
or an answer holds them (counted in the flag ``marks``), and the verdict is read from new tokens only. Answers without them are shown as they are.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from ftsafety import engines
from ftsafety.errors import ConfigError
from ftsafety.judge.base import Pair, Verdict
from ftsafety.judge.weighted import WeightedJudge

TAGS = re.compile(r"<{1,2}[^<>\s][^<>\n]{0,60}>{1,2}|\[/?[A-Z][A-Z /]*\]|^#{2,} \S[^\n{}]*|\b[A-Z][A-Z ]{3,}:", re.MULTILINE)
"""What a prompt sets itself apart with: ``<<SYS>>``, ``[/INST]``, ``### Answer:``, ``ASSISTANT:``."""
SLOT = re.compile(r"\{(\w+)\}")
SHORTEST_MARK = 3
FEWEST_TOKENS = 2
DIGITS = 4
PREFIXES = ("", "\u2581", "\u0120", " ")
"""How vocabularies write that a word begins."""


@dataclass(frozen=True)
class Shown:
    """One pair as the judge sees it: token ids, and flags about what was done to its texts."""

    ids: tuple[int, ...]
    flags: dict[str, Any]


@dataclass(frozen=True)
class Said:
    """What the judge said: its new tokens as text, and the probabilities of the first of them, float32 ``[vocabulary]``."""

    text: str
    first: Any
    vocabulary: Mapping[str, int]

    def share(self, *words: str) -> float | None:
        """Probability that the first token is one of these words, in any spelling that is one token; None where none is."""
        forms = {form for word in words for form in (word.lower(), word.capitalize(), word.upper())}
        ids = [self.vocabulary[prefix + form] for prefix in PREFIXES for form in sorted(forms) if prefix + form in self.vocabulary]
        return round(float(self.first[ids].sum()), DIGITS) if ids else None


@dataclass(kw_only=True)
class CausalJudge(WeightedJudge):
    """Shows each pair in one prompt and reads the first tokens; what it can't read, or what doesn't fit, is unscored."""

    answer_tokens: int = 512
    """An answer is cut to so many tokens of the judge's tokenizer, one begin token among them; the flag ``cut`` says so."""

    new_tokens: ClassVar[int] = 1
    """How many tokens the judge says."""
    keeps: ClassVar[Literal["beginning", "end"]] = "beginning"
    """Which part of an answer is shown when it is cut."""

    @abstractmethod
    def template(self, tokenizer: Any, name: str) -> str:
        """A prompt by name, ``{question}``, ``{answer}`` and other slots in their places."""

    @abstractmethod
    def read(self, said: Said) -> Verdict:
        """What the judge said as a verdict."""

    def parts(self, pair: Pair) -> tuple[str, dict[str, str]]:
        """Which prompt a pair is shown in, and what fills its slots besides ``{answer}``."""
        return "standard", {"question": pair.question}

    def recipe(self) -> dict[str, Any]:
        return {**super().recipe(), "engine": engines.DECODE}

    def check(self, where: str) -> None:
        super().check(where)
        if self.answer_tokens < FEWEST_TOKENS:
            raise ConfigError(f"{where}.answer_tokens={self.answer_tokens} is not possible; give at least {FEWEST_TOKENS}.")

    def stream(self, pairs: Sequence[Pair], spent_usd: float = 0.0) -> Iterator[tuple[int, Verdict]]:
        shown = [self.show(self.chat.tokenizer, pair) for pair in pairs]
        for at, said in self.said(shown):
            verdict = Verdict(None, {"reason": said}) if isinstance(said, str) else self.read(said)
            yield at, Verdict(verdict.value, {**verdict.flags, **shown[at].flags})

    def said(self, shown: Sequence[Shown]) -> Iterator[tuple[int, Said | str]]:
        """What the judge says after each prompt, batch by batch; in words why it says nothing: ``too_long`` or ``not_finite``."""
        if not shown:
            return
        from ftsafety.decode import decode_batch, plan

        chat, room = self.chat, self.room
        vocabulary = chat.tokenizer.get_vocab()
        rows = [at for at, one in enumerate(shown) if len(one.ids) <= room]
        yield from ((at, "too_long") for at, one in enumerate(shown) if len(one.ids) > room)
        for part in plan([shown[at].ids for at in rows], self.batch):
            batch = [rows[at] for at in part]
            first: list[Any] = []

            def keep(step: int, scores: Any, first: list[Any] = first) -> Any:
                first.extend(scores.softmax(-1).cpu() if step == 0 else ())
                return scores

            decoded = decode_batch(chat.module, [shown[at].ids for at in batch], max_new_tokens=self.new_tokens, end_tokens=chat.end_tokens, scores=keep)
            for at, row, probabilities in zip(batch, decoded, first, strict=True):
                finite = bool(probabilities.isfinite().all())
                yield at, Said(chat.tokenizer.decode(row.ids, skip_special_tokens=True), probabilities, vocabulary) if finite else "not_finite"

    def show(self, tokenizer: Any, pair: Pair, prompt: str | None = None) -> Shown:
        """A pair as token ids, with exactly one begin token where the tokenizer has one; ``prompt`` names another than the pair's own."""
        name, values = self.parts(pair)
        template = self.template(tokenizer, prompt or name)
        tags, headings = marks_of(template)
        tags |= special_tokens(tokenizer)
        broken = {slot: break_marks(text, tags, headings) for slot, text in {**values, "answer": pair.answer}.items()}
        answer, cut = self._cut(tokenizer, broken["answer"][0])
        texts = {slot: text for slot, (text, _) in broken.items()} | {"answer": self.dress(tokenizer, answer)}
        filled = SLOT.sub(lambda slot: texts.get(slot[1], slot[0]), template)
        begins = tokenizer.bos_token is not None and filled.startswith(tokenizer.bos_token)
        ids = tuple(tokenizer(filled, add_special_tokens=not begins)["input_ids"])
        marks = sum(count for _, count in broken.values())
        return Shown(ids, {**({"marks": marks} if marks else {}), **({"cut": True} if cut else {})})

    def dress(self, tokenizer: Any, answer: str) -> str:
        """A cut answer as it stands in the prompt."""
        return answer

    @property
    def room(self) -> int:
        """The most tokens that a prompt may have."""
        longest = getattr(self.chat.module.config.get_text_config(), "max_position_embeddings", None)
        return (longest or 10**9) - self.new_tokens

    def _cut(self, tokenizer: Any, answer: str) -> tuple[str, bool]:
        ids = tokenizer(answer, add_special_tokens=False)["input_ids"]
        room = max(self.answer_tokens - tokenizer.num_special_tokens_to_add(), 0)
        if len(ids) <= room:
            return answer, False
        kept = ids[:room] if self.keeps == "beginning" else ids[len(ids) - room :]
        return str(tokenizer.decode(kept, skip_special_tokens=True)), True


def marks_of(template: str) -> tuple[set[str], set[str]]:
    """The tags of a prompt, and its headings: what stands on the line before a slot, or on that line before it."""
    tags = {tag.strip() for tag in TAGS.findall(template)}
    before = [template[: slot.start()].rstrip().rpartition("\n")[2].strip() for slot in SLOT.finditer(template)]
    return {tag for tag in tags if not SLOT.search(tag)}, {heading for heading in before if heading.endswith(":") and not SLOT.search(heading)}


def special_tokens(tokenizer: Any) -> set[str]:
    """Texts that the tokenizer would read as one special token."""
    added = (token.content for token in tokenizer.added_tokens_decoder.values() if token.special)
    return {str(token) for token in (*tokenizer.all_special_tokens, *added)}


def break_marks(text: str, tags: Iterable[str], headings: Iterable[str]) -> tuple[str, int]:
    """A text in which no tag stands any more, and no heading at the beginning of a line; and how many did.

    A space is put before the last character of each: ``[/INST ]``, ``Generation :``.
    """
    forms = [re.escape(tag) for tag in tags if len(tag) >= SHORTEST_MARK] + [rf"^[ \t]*{re.escape(heading)}" for heading in headings]
    if not forms:
        return text, 0
    pattern = re.compile("|".join(sorted(forms, key=len, reverse=True)), re.IGNORECASE | re.MULTILINE)
    count = 0
    # a longer mark may hold a shorter one, which is found once the longer one is broken
    while pattern.search(text):
        text, found = pattern.subn(lambda mark: f"{mark[0][:-1]} {mark[0][-1]}", text)
        count += found
    return text, count
