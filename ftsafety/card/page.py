"""The card as a page that can be opened anywhere and sent on: no script, no network, every text escaped."""

from __future__ import annotations

import json
from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from ftsafety.card.card import Card
from ftsafety.card.claim import Claim
from ftsafety.report import words

SIGNS = {"below": "<", "above": ">", "within": "≤"}


def render(card: Card) -> str:
    """The page's text."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = (files("ftsafety.card") / "card.html.jinja").read_text(encoding="utf-8")
    style = (files("ftsafety.report") / "style.css").read_text(encoding="utf-8")
    fields = {name: value for name, value in card.defense.fields.items() if name not in ("class", "code")}
    return environment.from_string(template).render(
        style=Markup(style), card=card, number=number, interval=interval, p_value=p_value, signs=SIGNS, fields=json.dumps(fields, indent=1, ensure_ascii=False)
    )


def number(value: float) -> str:
    """``-0.52``, ``+0.00``, ``1.31``."""
    return f"{value:+.3f}" if abs(value) < 1 else f"{value:.2f}"


def interval(claim: Claim) -> str:
    """``[-0.61, -0.40]``; empty for what has none."""
    return "" if claim.low is None or claim.high is None else f"[{claim.low:+.3f}, {claim.high:+.3f}]".replace(" ", "\u00a0")


def p_value(p: float | None) -> str:
    """As the report writes it."""
    return "–" if p is None else words.p_value({"p_value": p, "n": 1})
