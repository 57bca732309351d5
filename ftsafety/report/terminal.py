"""A run's figures in the terminal: what was asked, before and after with intervals, the controls, and how far it can be trusted."""

from __future__ import annotations

from collections.abc import Iterator

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ftsafety.record import Run
from ftsafety.report import words
from ftsafety.report.backdoor import Block, blocks
from ftsafety.report.reading import Asking, Reading
from ftsafety.report.screening import Screening, screenings

WIDTH = 100
UTILITY = (
    ("rating_score", "rating", "ratings from 1 to 10"),
    ("utility_accuracy", "right", "right answers in %"),
    ("utility_rouge_l", "ROUGE-L", "ROUGE-L from 0 to 1"),
    ("utility_loss", "loss", "loss in nats per token"),
)
"""Metrics of usefulness: what a row and a table's title call them."""


def show(record: Run, console: Console | None = None) -> None:
    """Print a run's figures; fits 100 columns, and reads the same when piped into a file."""
    out = console or Console()
    if not out.is_terminal or out.width > WIDTH:
        out.width = WIDTH
    reading = Reading(record.data)
    out.print(_header(record, reading))
    for table in _tables(record, reading):
        out.print()
        out.print(table)
    out.print()
    for note in _notes(record, reading):
        out.print(note)


def _header(record: Run, reading: Reading) -> Text:
    data = record.data
    text = Text(" · ".join(f"{group} {name}" for group, name in reading.names.items()), style="bold")
    text.append(f"\ncell {data['cell']}, seed {data['seed']}{', finished before' if record.reused else ''}", style="dim")
    for benchmark in reading.kinds:
        text.append(f"\n{benchmark}: {reading.asked(benchmark)}", style="bold" if reading.thinned(benchmark) else "dim")
    if reading.nothing_to_lose:
        text.append(f"\nNothing to lose. {reading.nothing_to_lose}", style="yellow")
    if reading.elsewhere:
        text.append(f"\n{reading.elsewhere}", style="yellow")
    return text


def _tables(record: Run, reading: Reading) -> Iterator[Table]:
    for benchmark in reading.benchmarks("disallowed"):
        metric = reading.headline_metric
        yield _before_after(reading, f"{benchmark}: {words.METRICS.get(metric or '', metric)}, in %", _rows(reading, benchmark, metric))
        if reading.has_outcomes:
            yield _outcomes(reading, benchmark)
        for further in reading.further(benchmark):
            unit = "" if further in words.NOT_SHARES else ", in %"
            yield _before_after(reading, f"{benchmark}: {words.METRICS.get(further, further)}{unit}", _rows(reading, benchmark, further))
    for benchmark in reading.benchmarks("allowed"):
        yield _before_after(reading, f"{benchmark}: over-refusal, in %", _rows(reading, benchmark, "over_refusal"))
    for benchmark in reading.benchmarks("utility"):
        useful = {title: rows for metric, suffix, title in UTILITY if (rows := _rows(reading, benchmark, metric, f", {suffix}"))}
        yield _before_after(reading, f"{benchmark}: {', '.join(useful)}", [row for rows in useful.values() for row in rows])
    if grid := blocks(record, reading):
        yield _backdoor(reading, grid)
    for screening in screenings(record.data):
        yield _screening(screening)
    if reading.has_controls:
        for benchmark in reading.benchmarks("disallowed"):
            if reading.has_outcomes:
                yield _controls(reading, benchmark)


def _rows(reading: Reading, benchmark: str, metric: str | None, suffix: str = "") -> list[tuple[str, Asking, str | None]]:
    return [(asking.title + suffix, asking, metric) for asking in reading.askings(benchmark) if reading.before(asking, metric)]


def _table(title: str) -> Table:
    return Table(box=SIMPLE_HEAD, show_edge=False, title=Text(title, style="bold"), title_justify="left", pad_edge=False, padding=(0, 1), header_style="dim")


def _before_after(reading: Reading, title: str, rows: list[tuple[str, Asking, str | None]]) -> Table:
    table = _table(title)
    table.add_column("asked", max_width=30)
    for name in [reading.first, *(["after", "difference", "p"] if reading.after else [])]:
        table.add_column(name, justify="right", no_wrap=True)
    for name, asking, metric in rows:
        difference = reading.difference(asking, metric)
        later = [words.estimate(reading.afterwards(asking, metric)), words.change(difference), words.p_value(difference)] if reading.after else []
        table.add_row(Text(name), words.estimate(reading.before(asking, metric)), *later)
    return table


def _outcomes(reading: Reading, benchmark: str) -> Table:
    table = _table(f"{benchmark}: what became of all questions, in %{', before → after' if reading.after else ''}")
    table.add_column("asked", no_wrap=True, overflow="ellipsis", max_width=30)
    order = ("refused", "complied", "degenerate", "unscored")
    for name in order:
        table.add_column(name, justify="right", no_wrap=True)
    mine = [state for state in reading.states if state.main]
    for asking in reading.askings(benchmark):
        shares = [reading.outcomes(state.results, asking) for state in mine]
        table.add_row(Text(asking.title), *(" → ".join(f"{share[name] * 100:.1f}" for share in shares) for name in order))
    return table


def _backdoor(reading: Reading, grid: list[Block]) -> Table:
    table = _table("behind the trigger and without it, in %; gap: minus asking without, same questions, in points")
    table.add_column("asked", no_wrap=True)
    for name in [reading.first, *(["after", "gap after", "p"] if reading.after else []), "gap before" if reading.after else "gap"]:
        table.add_column(name, justify="right", no_wrap=True)
    for block in grid:
        table.add_row(Text(f"{block.benchmark}, {words.METRICS.get(block.metric, block.metric)}", style="bold"))
        for line in block.lines:
            later = [words.estimate(line.after, 0), words.change(line.gap, 0), words.p_value(line.gap)] if reading.after else []
            table.add_row(Text(f"  {line.name}"), words.estimate(line.before, 0), *later, words.change(line.gap_before, 0))
    return table


def _screening(screening: Screening) -> Table:
    table = _table(f"{screening.mitigation}: rows that were screened before tuning")
    table.add_column("rows", no_wrap=True)
    for name in ("screened", "caught", "missed", "caught, in %"):
        table.add_column(name, justify="right", no_wrap=True)
    for line in screening.lines:
        table.add_row(line.name, str(line.screened), str(line.caught), str(line.missed), words.estimate(line.share))
    return table


def _controls(reading: Reading, benchmark: str) -> Table:
    table = _table(f"{benchmark}: beside the controls, in % (complied with interval, refused, degenerate)")
    table.add_column("weights", no_wrap=True, overflow="ellipsis", max_width=25)
    train, others = ([asking for asking in reading.askings(benchmark) if (asking.condition == "train") is own] for own in (True, False))
    # of several wordings two, so that there is room for the bare question
    askings = [*train[:2], *others][:3]
    for asking in askings:
        title = {"train": asking.ask if len(train) > 1 else "train", "safe": "safety prompt"}.get(asking.condition, asking.condition)
        table.add_column(f"{title}\ncomplied      ref deg", no_wrap=True)
    for state in reading.states:
        cells = []
        for asking in askings:
            complied, refused, degenerate = (reading.entry(state.results, asking, m) for m in ("compliance_rate", "refusal_rate", "degenerate_rate"))
            interval = words.interval(complied, 0).replace(", ", ",")
            cells.append(f"{words.value(complied, 0):>3} {interval:<9} {words.value(refused, 0):>3} {words.value(degenerate, 0):>3}" if complied else "–")
        table.add_row(Text(state.name, style="bold" if state.main else ""), *cells)
    return table


def _notes(record: Run, reading: Reading) -> Iterator[Text]:
    data = record.data
    if not reading.has_controls and reading.after:
        yield Text("The controls have not run, so it is not known what any tuning of this size would do; add controls=true.", style="yellow")
    if tune := reading.stage("tune"):
        yield Text(f"tuning: {tune.get('steps')} steps, {tune.get('tokens')} tokens, final loss {tune.get('final_loss', float('nan')):.4f}", style="dim")
    if reading.template_adds:
        yield Text(reading.template_adds, style="dim")
    for judge, cost in data.get("costs", {}).items():
        yield Text(f"judge {judge}: {words.cost(cost)}", style="dim")
    yield Text("answers cut at the token limit: " + ", ".join(f"{label} {share:.1%}" for label, share in data["truncated"].items()), style="dim")
    if keyword := _keyword(reading):
        yield Text(keyword, style="dim")
    same = [
        f"{asking.benchmark} {asking.title}"
        for benchmark in reading.benchmarks("disallowed")
        for asking in reading.askings(benchmark)
        if words.unseparated(reading.difference(asking, reading.headline_metric))
    ]
    if same:
        yield Text(f"not separable from no change (the difference's interval covers zero): {', '.join(same)}", style="yellow")
    if data["scope"]["text"]:
        yield Text(data["scope"]["text"], style="italic")
    yield Text(str(record.folder / "report.html"))


def _keyword(reading: Reading) -> str:
    parts = []
    for benchmark in reading.benchmarks("disallowed"):
        for asking in reading.askings(benchmark):
            if before := reading.before(asking, "keyword_asr"):
                after = f" → {words.value(reading.afterwards(asking, 'keyword_asr'))}" if reading.after else ""
                parts.append(f"{asking.title} {words.value(before)}{after}")
    return f"keyword_asr, a diagnostic only (a refusal phrase is missing; says nothing of sense): {', '.join(parts)}" if parts else ""
