"""A comparison as LaTeX, in the paper's layouts. Needs the packages booktabs and multirow.

Where exactly two settings vary and every combination was run, one goes down and the other across (the paper's table 12). Otherwise a block
per model: the untuned model in the first column, a cell in each other, a measure a line (tables 1 to 5 and 11). Shares are in percent with the
change since the untuned model in brackets, as in the paper, and the change's interval below it, which the paper does not have.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ftsafety.report.compare import Comparison, Figure, Row
from ftsafety.report.words import METRICS, NOT_SHARES

ACROSS = 5
"""Cells beside each other, besides the untuned model; more go into further tables."""
MEASURES = ("headline", "score", "plain", "over_refusal", "utility", "utility_loss")
ESCAPES = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\^{}",
}


def write_latex(found: Comparison, file: Path) -> None:
    """Write every table that the rows need, one after the other."""
    tables = []
    for rows in _grouped(found.rows, lambda row: (row.benchmark, row.ask, row.metric)):
        blocks = _grouped(rows, _model)
        tables += [_grid(block) for block in blocks if _is_grid(block)]
        rest = [block for block in blocks if not _is_grid(block)]
        most = max(map(len, rest), default=0)
        tables += [_columns([block[at : at + ACROSS] for block in rest if block[at:]]) for at in range(0, most, ACROSS)]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("% made by python -m ftsafety.report; \\usepackage{booktabs,multirow}\n" + "\n".join(tables), encoding="utf-8")


def _is_grid(rows: Sequence[Row]) -> bool:
    """Whether exactly two settings vary and every combination of theirs is there once."""
    names = _varying(rows)
    if len(names) != 2:
        return False
    down, across = ({row.varied.get(name) for row in rows} for name in names)
    return len(down) * len(across) == len(rows) and min(len(down), len(across)) > 1


def _varying(rows: Sequence[Row]) -> list[str]:
    names = dict.fromkeys(name for row in rows for name in row.varied)
    return [name for name in names if len({row.varied.get(name) for row in rows}) > 1]


def _grid(rows: Sequence[Row]) -> str:
    """The headline by two settings: the one with fewer values goes down."""
    down, across = sorted(_varying(rows), key=lambda name: len({row.varied.get(name) for row in rows}))
    columns = list(dict.fromkeys(row.varied[across] for row in rows))
    lines = [_begin("l" + "c" * len(columns))]
    lines += [_line(rf"{_tex(down)} \textbackslash{{}} {_tex(across)}", *map(_tex, columns)), r"\midrule"]
    for value in dict.fromkeys(row.varied[down] for row in rows):
        here = {row.varied[across]: row for row in rows if row.varied[down] == value}
        lines.append(_line(_tex(value), *(_after(here[column], "headline") for column in columns)))
        lines.append(_line("", *(_interval(here[column], "headline") for column in columns)))
    before = next((row.figures["headline"]["before"] for row in rows if "before" in row.figures["headline"]), None)
    told = f"{_title(rows[0], 'headline')} of {_model(rows[0])}; untuned: "
    return "\n".join([*lines, _end(rows, f"{_tex(told)}{_value(before, _is_share(rows[0], 'headline'))}. ")])


def _columns(blocks: Sequence[Sequence[Row]]) -> str:
    """Cells side by side, measures below each other, a block a model."""
    widest = max(blocks, key=len)
    lines = [_begin("ll" + "c" * (1 + len(widest)))]
    lines.append(_line("Model", "Measure", "Initial", *(rf"\shortstack{{{_tex(row.label).replace(', ', chr(92) * 2)}}}" for row in widest)))
    for block in blocks:
        lines.append(r"\midrule")
        measures = [name for name in MEASURES if any(row.figures.get(name) for row in block)]
        for at, name in enumerate(measures):
            model = rf"\multirow{{{2 * len(measures)}}}{{*}}{{{_tex(_model(block[0]))}}}" if not at else ""
            before = next((row.figures[name]["before"] for row in block if "before" in row.figures.get(name, {})), None)
            initial, blank = _value(before, _is_share(block[0], name)), [""] * (len(widest) - len(block))
            lines.append(_line(model, _tex(_title(block[0], name)), initial, *(_after(row, name) for row in block), *blank))
            lines.append(_line("", "", "", *(_interval(row, name) for row in block), *blank))
    return "\n".join([*lines, _end([row for block in blocks for row in block], "")])


def _begin(columns: str) -> str:
    return "\n".join([r"\begin{table}[t]", r"\centering\small", rf"\begin{{tabular}}{{{columns}}}", r"\toprule"])


def _end(rows: Sequence[Row], told: str) -> str:
    """The caption says what was asked, what the intervals cover, and the scope, which travels with every number."""
    row = rows[0]
    covers = " or ".join(sorted({one.change.covers for one in rows if one.change}))
    says = [f"{row.benchmark}, asked under the attack's own prompt ({row.ask}), judge {row.judge}."]
    says += [f"Brackets: the change since the untuned model; below it its 95 % interval, over {covers}."] if covers else []
    says += [row.scope] if row.scope else []
    return "\n".join([r"\bottomrule", r"\end{tabular}", rf"\caption{{{told}{_tex(' '.join(says))}}}", r"\end{table}", ""])


def _line(*cells: str) -> str:
    return " & ".join(cells) + r" \\"


def _after(row: Row, measure: str) -> str:
    after, change = (row.figures.get(measure, {}).get(part) for part in ("after", "change"))
    share = _is_share(row, measure)
    return _value(after, share) + (f" ({_signed(change.value, share)})" if change else "")


def _interval(row: Row, measure: str) -> str:
    change, share = row.figures.get(measure, {}).get("change"), _is_share(row, measure)
    return rf"{{\scriptsize [{_signed(change.low, share)}, {_signed(change.high, share)}]}}" if change else ""


def _is_share(row: Row, measure: str) -> bool:
    return _metric(row, measure) not in NOT_SHARES


def _metric(row: Row, measure: str) -> str:
    return {"headline": row.metric, "plain": row.metric, "score": "harmfulness_score"}.get(measure, measure)


def _title(row: Row, measure: str) -> str:
    metric = _metric(row, measure)
    return {"utility": "utility", "plain": f"{METRICS.get(metric, metric)}, plain prompt"}.get(measure) or METRICS.get(metric, metric)


def _model(row: Row) -> str:
    return row.names.get("model", "model")


def _grouped(rows: Sequence[Row], key: Callable[[Row], object]) -> list[list[Row]]:
    groups: dict[object, list[Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return list(groups.values())


def _value(figure: Figure | None, share: bool) -> str:
    if figure is None:
        return "--"
    return rf"{figure.value * 100:.1f}\,\%" if share else f"{figure.value:.2f}"


def _signed(number: float, share: bool) -> str:
    return f"${number * 100:+.1f}$" if share else f"${number:+.2f}$"


def _tex(text: str) -> str:
    return "".join(ESCAPES.get(letter, letter) for letter in text)
