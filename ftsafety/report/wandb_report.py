"""``python -m ftsafety.report RUNS --wandb [ENTITY/]PROJECT``: a comparison of finished runs as a report in Weights & Biases.

The report is first a definition in JSON, made of records alone, and then pushed through wandb-workspaces, or kept with ``--wandb-file FILE``
until there is a network: ``python -m ftsafety.report.wandb_report FILE`` pushes it. Its charts draw what ``logger=wandb`` has logged of the same
cells, a run set for each mitigation; its texts and tables are of the records and hold no text of a question or an answer.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from ftsafety.errors import ConfigError, DataError, FtsafetyError
from ftsafety.logger.telling import numbers
from ftsafety.record import read_data
from ftsafety.report.many import Page, facts, sentence
from ftsafety.report.many_figures import BARE
from ftsafety.report.many_read import TASKS, Line, short
from ftsafety.report.many_table import tables
from ftsafety.store.publish import publish_text

TITLE = 128
"""Most characters of a report's title in W&B."""
ROWS = 100
"""Most rows of a table; a report is no place for more."""
CELLS = 200
"""Most cells that a run set names one by one; of more it takes all runs of its mitigation."""
CURVES = ("loss", "learning_rate", "gradient_norm")
WIDTH, HEIGHT = 12, 8
"""A panel's size; a report is 24 wide."""
READING = (
    "Intervals are 95 %: Wilson for rates; differences are of the same questions before and after. Two rows whose intervals overlap are not to be "
    "ranked, and a difference whose interval covers zero can't be told from none. Not refused is not complied: answers can also be incoherent."
)
Definition = dict[str, Any]


def definition(page: Page, project: str) -> Definition:
    """The report as JSON data: its title and its blocks, each with its ``kind``.

    Args:
        project: ``PROJECT`` or ``ENTITY/PROJECT``.
    """
    entity, _, name = project.rpartition("/")
    if not name or "/" in entity:
        raise ConfigError(f"--wandb {project} is no project; give PROJECT or ENTITY/PROJECT, such as --wandb ftsafety.")
    title = sentence(page.lines)
    return {"ftsafety": 1, "project": name, "entity": entity or None, "title": title[:TITLE], "description": title, "blocks": list(_blocks(page))}


def _blocks(page: Page) -> Iterator[Definition]:
    yield from ({"kind": "callout", "text": f"Scope. {scope}"} for scope in page.scopes)
    yield {"kind": "list", "items": [f"{term}: {said}" for term, said in facts(page.lines)]}
    yield {"kind": "heading", "text": "What was lost of safety, and what of the task"}
    yield {"kind": "text", "text": READING}
    yield {"kind": "panels", "runsets": runsets(page.lines), "panels": panels(page.lines)}
    yield {"kind": "heading", "text": "Row by row"}
    for table in tables(page.lines, page.found.varied):
        kept = table.lines[:ROWS]
        said = f"{table.title}; the first {ROWS} of {len(table.lines)} rows" if len(table.lines) > ROWS else table.title
        cells = [[line.number, *(_said(cell.text, cell.note) for cell in (*settings, *its))] for line, settings, its in kept]
        yield {"kind": "markdown", "text": f"**{_escaped(said)}**\n\n{_markdown(['row', *table.settings, *table.numbers], cells)}"}


def runsets(lines: Sequence[Line]) -> list[Definition]:
    """A run set for each mitigation among the rows, by its cells where they are few."""
    cells: dict[str, list[str]] = {}
    for line in lines:
        cells.setdefault("+".join(sorted(line.row.mitigations)) or "none", []).append(line.row.cell)
    few = len({line.row.cell for line in lines}) <= CELLS
    return [
        {"name": BARE if name == "none" else name, "config": {"mitigation": name, **({"cell": list(dict.fromkeys(its))} if few else {})}}
        for name, its in sorted(cells.items(), key=lambda item: (item[0] != "none", item[0]))
    ]


def panels(lines: Sequence[Line]) -> list[Definition]:
    """Charts of what the runs have logged: the curves of the tuning, and for each headline its bars and, with a task score, safety against task."""
    found: list[Definition] = []
    for row, task, after, change, score in dict.fromkeys(_measured(lines)):
        if score:
            found.append({"kind": "scatter", "title": f"{row}: change against change in {TASKS[task]}", "x": score, "y": change})
        found.append({"kind": "bars", "title": f"{row}, after tuning", "metrics": [after]})
        found.append({"kind": "bars", "title": f"{row}, change", "metrics": [change]})
    curves = [{"kind": "lines", "title": f"tuning: {name.replace('_', ' ')}", "x": "tune/step", "y": [f"tune/{name}"]} for name in CURVES]
    return [*found, *curves, {"kind": "compared"}]


def _measured(lines: Sequence[Line]) -> Iterator[tuple[str, str, str, str, str]]:
    """Title, task metric, and the names under which ``logger=wandb`` told the headline after, its change and the task's change."""
    for line in lines:
        if line.row.change:
            data = read_data(next(iter(line.beside.homes.values())))
            told = list(numbers(data))
            place = [f"/{line.row.benchmark}/{where}/{line.row.judge}/{line.row.metric}" for where in ("train", f"train-{line.row.ask}")]
            task = line.task[0] if line.task else ""
            score = next((name for name in told if name.startswith("difference/") and "/train" in name and task and name.endswith(f"/{task}")), "")
            names = [next((name for name in told if name in (f"{label}{end}" for end in place)), "") for label in (line.beside.last, "difference")]
            if all(names):
                yield f"{short(line.row.metric)} on {line.row.benchmark}", task, names[0], names[1], score


def report_of(told: Mapping[str, Any], entity: str) -> Any:
    """The definition as wandb-workspaces' own ``Report``, not saved yet."""
    import wandb_workspaces.reports.v2
    from wandb_workspaces import expr

    # the library does not say what it exports
    reports: Any = wandb_workspaces.reports.v2

    def panel(one: Mapping[str, Any], at: int) -> Any:
        place = {"layout": reports.Layout(x=at % 2 * WIDTH, y=at // 2 * HEIGHT, w=WIDTH, h=HEIGHT)}
        kind, title = one["kind"], one.get("title")
        if kind == "scatter":
            return reports.ScatterPlot(title=title, x=reports.SummaryMetric(one["x"]), y=reports.SummaryMetric(one["y"]), **place)
        if kind == "bars":
            return reports.BarPlot(title=title, metrics=[reports.Metric(name) for name in one["metrics"]], **place)
        if kind == "lines":
            return reports.LinePlot(title=title, x=reports.Metric(one["x"]), y=[reports.Metric(name) for name in one["y"]], **place)
        return reports.RunComparer(diff_only="split", **place)

    def runset(one: Mapping[str, Any]) -> Any:
        chosen = [
            expr.Config(key).isin(value) if isinstance(value, list) else expr.Config(key) == value for key, value in one["config"].items()
        ]  # fmt: skip
        return reports.Runset(entity=entity, project=told["project"], name=one["name"], filters=expr.And(*chosen))

    def block(one: Mapping[str, Any]) -> Any:
        kind = one["kind"]
        if kind == "heading":
            return reports.H2(one["text"])
        if kind == "text":
            return reports.P(one["text"])
        if kind == "callout":
            return reports.CalloutBlock(one["text"])
        if kind == "list":
            return reports.UnorderedList(one["items"])
        if kind == "markdown":
            return reports.MarkdownBlock(one["text"])
        sets = [runset(its) for its in one["runsets"]]
        return reports.PanelGrid(runsets=sets, panels=[panel(its, at) for at, its in enumerate(one["panels"])])

    blocks = [block(one) for one in told["blocks"]]
    return reports.Report(project=told["project"], entity=entity, title=told["title"], description=told["description"], blocks=blocks, width="fluid")


def push(told: Mapping[str, Any]) -> str:
    """Save the report in W&B; returns its address.

    Raises:
        ConfigError: wandb-workspaces is not installed.
        FtsafetyError: there is no key, no network, or no such project.
    """
    if find_spec("wandb_workspaces") is None:
        raise ConfigError("--wandb needs wandb-workspaces, which is not installed; type pip install 'ftsafety[wandb_report]', or add --wandb-file FILE.")
    import wandb

    try:
        entity = str(told["entity"] or wandb.Api().default_entity)
        return str(report_of(told, entity).save().url)
    except (wandb.errors.Error, ValueError, OSError) as error:
        said = str(error).partition("\n")[0].rstrip(".")
        raise FtsafetyError(
            f"the report could not be saved in W&B ({said}); type wandb login once, log a run to the project with logger=wandb, or add --wandb-file FILE."
        ) from error


def write(told: Definition, file: Path) -> None:
    """Keep a definition for later."""
    publish_text(file, json.dumps(told, indent=1, ensure_ascii=False) + "\n")


def read(file: Path) -> Definition:
    """A definition that was kept.

    Raises:
        DataError: it is none.
    """
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{file} can't be read ({error}); write it with python -m ftsafety.report RUNS --wandb PROJECT --wandb-file FILE.") from error
    if not isinstance(told, dict) or not told.keys() >= {"project", "entity", "title", "description", "blocks"}:
        raise DataError(f"{file} is no definition of a report; write one with python -m ftsafety.report RUNS --wandb PROJECT --wandb-file FILE.")
    return told


def _markdown(columns: Sequence[Any], rows: Sequence[Sequence[Any]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(_escaped(str(cell)) for cell in line)} |" for line in lines)


def _said(text: str, note: str) -> str:
    return f"{text} ({note})" if note else text


def _escaped(text: str) -> str:
    """Text that starts no markup of Markdown and no element of HTML."""
    for sign, instead in (("&", "&amp;"), ("<", "&lt;"), ("|", "&#124;"), ("`", "&#96;"), ("*", "&#42;"), ("[", "&#91;"), ("\n", " ")):
        text = text.replace(sign, instead)
    return text


def main(arguments: Sequence[str]) -> int:
    """Push a definition that was kept, and print its address."""
    if len(arguments) != 1 or arguments[0] in ("-h", "--help"):
        print("python -m ftsafety.report.wandb_report FILE   push a report that --wandb-file has kept")
        return 0 if arguments else 1
    try:
        print(push(read(Path(arguments[0]))))
    except FtsafetyError as error:
        Console(stderr=True).print(Text(str(error), style="red"), soft_wrap=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
