"""What cells were asked to do, as recorded, and what came of it, as text: to make one again, and to hold any two side by side."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

from markupsafe import Markup

from ftsafety.report import words
from ftsafety.report.many_read import Line, told, what
from ftsafety.report.many_table import OUTCOMES

MEASURES = ("headline", "plain", "score", "over_refusal", "utility", "utility_loss")


def shared(lines: Sequence[Line]) -> dict[str, str]:
    """The recorded settings that all cells have alike."""
    first, *others = (line.row.fields for line in lines)
    return {name: value for name, value in first.items() if all(other.get(name) == value for other in others)}


def own(lines: Sequence[Line]) -> list[tuple[str, str]]:
    """A cell's names and the recorded settings in which it differs from others, as text; a cell once, however many rows it has."""
    alike = shared(lines)
    cells: dict[str, list[Line]] = {}
    for line in lines:
        cells.setdefault(line.row.cell, []).append(line)
    found = []
    for cell, its in cells.items():
        row, homes = its[0].row, its[0].beside.homes
        chosen = " ".join(
            f"{group}={name}" for group, name in [*row.names.items(), *([("mitigation", f"[{','.join(row.mitigations)}]")] if row.mitigations else [])]
        )
        settings = [f"{name}={value}" for name, value in row.fields.items() if name not in alike]
        config = next(iter(homes.values())) / "config.yaml"
        rest = [f"cell {cell}, seeds {', '.join(map(str, homes))}, in {row.folder}", *([f"whole configuration: {config}"] if config.exists() else [])]
        found.append((", ".join(line.name for line in its), "\n".join([chosen, *settings, *rest])))
    return found


def embedded(lines: Sequence[Line]) -> Markup:
    """Settings and results of every row for the script, each different text once; safe inside of a script element."""
    texts: dict[str, int] = {}

    def at(text: str) -> int:
        return texts.setdefault(text, len(texts))

    keys = list(dict.fromkeys(name for line in lines for name in line.row.fields))
    rows = [
        {
            "name": line.name,
            "kind": at(f"{line.row.benchmark}, judge {line.row.judge}, {what(line.row.metric)}"),
            "fields": [at(_shorter(line.row.fields[name])) if name in line.row.fields else -1 for name in keys],
            "results": [[at(title), *map(at, its)] for title, its in _results(line)],
            "reach": [round(end, 6) for end in (after.low, after.high)] if (after := line.row.figures["headline"].get("after")) else None,
        }
        for line in lines
    ]
    data = json.dumps({"keys": keys, "rows": rows, "texts": list(texts)}, ensure_ascii=False, separators=(",", ":"))
    return Markup(data.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"))


def _results(line: Line) -> Iterator[tuple[str, tuple[str, str, str]]]:
    """What was measured, then before, after and change in words."""
    for measure in MEASURES:
        if line.row.figures.get(measure):
            before, after, change = (line.entry(measure, part) for part in ("before", "after", "change"))
            title = what(line.metric(measure)) + (", plain prompt" if measure == "plain" else "")
            yield title, (told(before), told(after), words.change(change, 0) + (", not separable" if words.unseparated(change) else ""))
    for outcome in OUTCOMES if line.row.outcomes else ():
        before_after = [f"{words.whole(line.row.outcomes[part][outcome])} %" if part in line.row.outcomes else "–" for part in ("before", "after")]
        yield f"of all questions {outcome}", (before_after[0], before_after[1], "")
    raw = [line.beside.raw(line.row, part) for part in ("before", "after", "change")]
    if raw[0] is not None:
        said = ["–" if share is None else f"{words.whole(share)} %" for share in raw[:2]]
        yield "not refused (keyword_asr), a diagnostic", (said[0], said[1], "–" if raw[2] is None else f"{raw[2] * 100:+.0f}")
    if line.row.band:
        beyond = "" if line.row.beyond_null is None else "beyond it" if line.row.beyond_null else "not beyond it"
        yield "null band, points", ("", f"[{line.row.band.low * 100:+.0f}, {line.row.band.high * 100:+.0f}]", beyond)
    if line.row.loss is not None:
        yield "training loss, last", ("", f"{line.row.loss:.3f}", "")
    yield "runs", ("", str(line.row.runs), "")


def _shorter(text: str) -> str:
    """A digest by its beginning, anything else as it is."""
    return f"{text[:12]}…" if re.fullmatch("[0-9a-f]{64}", text) else text
