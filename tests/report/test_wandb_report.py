"""The W&B report: its definition says what the records say, the library makes its blocks and panels of it, and a double of the service is sent them."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ftsafety import stand_in
from ftsafety.errors import DataError, FtsafetyError
from ftsafety.logger.telling import numbers
from ftsafety.report import wandb_report
from ftsafety.report.__main__ import main
from ftsafety.report.compare import compare
from ftsafety.report.many import Page
from tests.report.test_many import record, save

KEY = "quack" * 8
Write = Callable[..., None]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """An undefended cell of two seeds and two defended ones."""
    folder = tmp_path / "runs"
    for cell, complied, options in (
        ("a", 40, {}), ("a", 41, {"seed": 1}), ("b", 10, {"mitigation": ["lisa"]}), ("c", 12, {"mitigation": ["lisa"], "strategy": {"lr": 0.1}}),
    ):  # fmt: skip
        save(folder, record(cell, complied, right=20, **options))
    return folder


def told_of(runs: Path, project: str = "ducks/pond") -> dict[str, Any]:
    return wandb_report.definition(Page(compare([runs]), [runs]), project)


def of_kind(told: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [block for block in told["blocks"] if block["kind"] == kind]


# --- the definition --------------------------------------------------------------------------------------------------------


def test_a_run_set_for_each_mitigation_names_its_cells(runs: Path) -> None:
    (grid,) = of_kind(told_of(runs), "panels")
    assert grid["runsets"] == [
        {"name": "no mitigation", "config": {"mitigation": "none", "cell": ["a"]}},
        {"name": "lisa", "config": {"mitigation": "lisa", "cell": ["b", "c"]}},
    ]


def test_panels_draw_what_a_logger_has_logged(runs: Path) -> None:
    (grid,) = of_kind(told_of(runs), "panels")
    logged = set(numbers(json.loads((runs / "a" / "seed=0" / "run.json").read_text())))
    (scatter,) = (panel for panel in grid["panels"] if panel["kind"] == "scatter")
    assert (scatter["x"], scatter["y"]) == ("difference/use/train/accept/utility_accuracy", "difference/stand_in/train/outcome/compliance_rate")
    bars = [name for panel in grid["panels"] if panel["kind"] == "bars" for name in panel["metrics"]]
    assert bars == ["tuned/stand_in/train/outcome/compliance_rate", "difference/stand_in/train/outcome/compliance_rate"]
    assert {*bars, scatter["x"], scatter["y"]} <= logged
    assert [panel["y"] for panel in grid["panels"] if panel["kind"] == "lines"] == [["tune/loss"], ["tune/learning_rate"], ["tune/gradient_norm"]]


def test_scope_intervals_and_every_row_are_in_it(runs: Path) -> None:
    told = told_of(runs)
    assert (told["entity"], told["project"]) == ("ducks", "pond") and told["title"].startswith("Three cells:")
    assert of_kind(told, "callout")[0]["text"] == f"Scope. {stand_in.SCOPE}"
    (table,) = of_kind(told, "markdown")
    lines = [line for line in table["text"].splitlines() if line.startswith("|")]
    page = Page(compare([runs]), [runs])
    assert len(lines) == 2 + len(page.lines) == 5
    assert all(f"| {line.number} |" in lines[1 + line.number] for line in page.lines) and "+5" in table["text"]


def test_of_very_many_rows_the_first_are_shown_and_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wandb_report, "ROWS", 2)
    monkeypatch.setattr(wandb_report, "CELLS", 2)
    for at in range(3):
        save(tmp_path, record(f"c{at}", 20 + at, strategy={"lr": 0.1 + at}))
    told = told_of(tmp_path, "pond")
    assert "the first 2 of 3 rows" in of_kind(told, "markdown")[0]["text"] and told["entity"] is None
    assert of_kind(told, "panels")[0]["runsets"] == [{"name": "no mitigation", "config": {"mitigation": "none"}}]


def test_hostile_names_start_no_markup(tmp_path: Path) -> None:
    save(tmp_path, record("a", 20, names={"attack": "<img src=x>|[x](y)"}))
    save(tmp_path, record("b", 20, names={"attack": "plain"}))
    (table,) = of_kind(told_of(tmp_path), "markdown")
    assert "&lt;img src=x>&#124;&#91;x](y)" in table["text"]


@pytest.mark.parametrize("project", ["a/b/c", "ducks/"])
def test_what_is_no_project_is_said(runs: Path, project: str) -> None:
    with pytest.raises(FtsafetyError, match=r"is no project; give PROJECT or ENTITY/PROJECT"):
        told_of(runs, project)


# --- the library -----------------------------------------------------------------------------------------------------------


def test_the_tree_of_blocks_and_panels(runs: Path) -> None:
    reports = pytest.importorskip("wandb_workspaces.reports.v2")
    told = told_of(runs)
    made = wandb_report.report_of(told, "ducks")
    assert (made.entity, made.project, made.title) == ("ducks", "pond", told["title"])
    names = {"callout": "CalloutBlock", "list": "UnorderedList", "heading": "H2", "text": "P", "markdown": "MarkdownBlock", "panels": "PanelGrid"}
    assert [type(block).__name__ for block in made.blocks] == [names[block["kind"]] for block in told["blocks"]]
    (grid,) = (block for block in made.blocks if isinstance(block, reports.PanelGrid))
    assert [(its.entity, its.project, its.name) for its in grid.runsets] == [("ducks", "pond", "no mitigation"), ("ducks", "pond", "lisa")]
    assert "lisa" in grid.runsets[1].filters and "'b'" in grid.runsets[1].filters
    panels = {"scatter": "ScatterPlot", "bars": "BarPlot", "lines": "LinePlot", "compared": "RunComparer"}
    assert [type(panel).__name__ for panel in grid.panels] == [panels[panel["kind"]] for panel in of_kind(told, "panels")[0]["panels"]]
    places = [(panel.layout.x, panel.layout.y) for panel in grid.panels]
    assert len(set(places)) == len(places), "no two lie in the same place"


# --- the service -----------------------------------------------------------------------------------------------------------


class Service:
    """A double of W&B's API on this machine: it knows one person with one project, and keeps the reports it is sent."""

    def __init__(self, knows: bool = True) -> None:
        self.knows, self.saved, self.keys, self.url = knows, [], set(), ""  # type: ignore[var-annotated]

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        query, variables = asked["query"], asked.get("variables") or {}
        if "viewer" in query:
            teams: dict[str, Any] = {"edges": []}
            return {"viewer": {"id": "u", "entity": "ducks", "username": "ducks", "email": "ducks@example.org", "flags": "{}", "teams": teams}}
        if "ProjectInternalId" in query:
            return {"project": {"id": "p", "internalId": "17"} if self.knows else None}
        if "upsertView" in query:
            self.saved.append(variables)
            project = {"id": "p", "name": variables["projectName"], "entityName": variables["entityName"]}
            same = {name: variables[name] for name in ("name", "displayName", "description", "spec")}
            return {"upsertView": {"view": {"id": "V1", "project": project, "updatedAt": "2026-01-01T00:00:00", **same}, "inserted": True}}
        if "odels" in query or "roject" in query:
            page = {"endCursor": None, "hasNextPage": False}
            return {"models": {"edges": [], "pageInfo": page}, "upsertModel": {"project": {"id": "p"}, "model": {"name": "pond"}}}
        return {}


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    double = Service()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            double.keys.add(self.headers["Authorization"])
            data = json.dumps({"data": double.answer(json.loads(body)) if self.path == "/graphql" else {}}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *arguments: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    double.url = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setenv("WANDB_BASE_URL", double.url)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    import wandb

    wandb.teardown()
    yield double
    wandb.teardown()
    server.shutdown()
    server.server_close()


def test_it_is_pushed_at_once_and_later_from_a_file(runs: Path, tmp_path: Path, service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "report.json"
    assert main([str(runs), "--wandb", "pond", "--wandb-file", str(file)]) == 0
    assert not service.saved and capsys.readouterr().out.splitlines()[-1] == str(file)
    assert wandb_report.main([str(file)]) == 0
    address = capsys.readouterr().out.splitlines()[-1]
    assert address.startswith(f"{service.url}/ducks/pond/reports/Three-cells") and address.endswith("--V1")
    assert main([str(runs), "--wandb", "pond"]) == 0
    late, soon = (json.loads(saved["spec"]) for saved in service.saved)
    assert {saved["entityName"] for saved in service.saved} == {"ducks"}, "without an entity it is the key's own"
    grids = [block for block in soon["blocks"] if block["type"] == "panel-grid"]
    assert len(grids) == 1 and [its["name"] for its in grids[0]["metadata"]["runSets"]] == ["no mitigation", "lisa"]
    assert [its["project"]["id"] for its in grids[0]["metadata"]["runSets"]] == ["17", "17"]
    assert [block["type"] for block in late["blocks"]] == [block["type"] for block in soon["blocks"]]
    assert any(stand_in.SCOPE in json.dumps(block) for block in soon["blocks"])
    assert KEY not in file.read_text() and KEY not in json.dumps(service.saved) and len(service.keys - {None}) == 1


def test_a_project_that_is_not_there_is_a_sentence(runs: Path, service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    service.knows = False
    assert main([str(runs), "--wandb", "ducks/pond"]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "the report could not be saved in W&B (Run set 'no mitigation' project 'ducks/pond' not found" in said and "log a run to the project" in said


def test_without_the_library_it_is_a_sentence(runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(wandb_report, "find_spec", lambda name: None)
    assert main([str(runs), "--wandb", "pond"]) == 1
    assert "pip install 'ftsafety[wandb_report]'" in " ".join(capsys.readouterr().err.split())


def test_a_file_that_is_no_report_is_a_sentence(tmp_path: Path) -> None:
    for text in ("{", "[]", "{}"):
        (tmp_path / "x.json").write_text(text)
        with pytest.raises(DataError, match=r"--wandb-file FILE"):
            wandb_report.read(tmp_path / "x.json")


def test_a_file_is_written_without_wandb_or_torch(runs: Path, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom ftsafety.report.__main__ import main\n"
        f"code = main([{str(runs)!r}, '--wandb', 'pond', '--wandb-file', {str(tmp_path / 'r.json')!r}])\n"
        "sys.exit(code or any(name in sys.modules for name in ('torch', 'transformers', 'wandb', 'wandb_workspaces')))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=120).returncode == 0
    assert wandb_report.read(tmp_path / "r.json")["project"] == "pond"
