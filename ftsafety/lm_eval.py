"""``python -m ftsafety.lm_eval RUN tasks=[arc_easy,winogrande] limit=100``: what a finished run's weights still can do, before and after tuning.

RUN is a finished run's folder. Its weights are put together again from the record and the store and asked the tasks of lm-eval (EleutherAI's
lm-evaluation-harness), on the same documents before and after. What comes of it is kept in the store by weights, tasks and lm-eval's
version, and written beside the run's record as ``lm_eval.json``; no text of a document or of an answer is kept. Further settings:

  limit=100        only the first so many documents of each task
  fewshot=5        so many examples before each question; left out, what each task says
  chat=true        ask through the model's chat template; left out, texts are continued as they are
  include=FOLDER   task files of your own in lm-eval's YAML format
  batch=8          documents at once; changes memory and speed
  model.KEY=VALUE  what the record leaves out of the model, such as model.name=FOLDER where its option names none
  paths.store=DIR  the store that the run stands on
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ftsafety.errors import ConfigError, FtsafetyError

if TYPE_CHECKING:
    from ftsafety.record import Run
    from ftsafety.stages import House
    from ftsafety.weights import Weights

FILE = "lm_eval.json"
KIND = "lm_eval"
LABELS = ("initial", "tuned", "repaired")
SLACK = 1e-6
"""How far lm-eval's own aggregate may be from the mean over documents for that to be what it is."""
Entry = dict[str, Any]


@dataclass
class Places:
    """Where things are kept."""

    store: str | None = None
    """Folder of the artifact store; null is FTSAFETY_STORE or the user's cache folder."""


@dataclass
class Settings:
    """What is asked, and how."""

    tasks: list[str] = MISSING
    """Names of lm-eval's tasks, groups or tags."""
    limit: int | None = None
    """Only the first so many documents of each task."""
    fewshot: int | None = None
    """Examples before each question; null is what each task says."""
    chat: bool = False
    """Ask through the model's chat template."""
    include: str | None = None
    """A folder of further task files."""
    batch: int = 8
    """Documents at once."""
    model: dict[str, Any] = field(default_factory=dict)
    """Fields of the model that the record leaves out."""
    paths: Places = field(default_factory=Places)
    """Where things are kept."""

    def recipe(self) -> dict[str, Any]:
        """All that decides what comes out, but for weights and lm-eval itself."""
        from ftsafety.hashing import digest_of_path

        own = digest_of_path(Path(self.include)) if self.include else None
        return {"tasks": sorted(self.tasks), "limit": self.limit, "fewshot": self.fewshot, "chat": self.chat, "include": own}


def settings_of(words: Sequence[str]) -> Settings:
    """The settings that were typed.

    Raises:
        ConfigError: one that does not exist or can't be.
    """
    try:
        merged = OmegaConf.merge(OmegaConf.structured(Settings), OmegaConf.from_dotlist(list(words)))
        if OmegaConf.is_missing(merged, "tasks") or not merged.tasks:
            raise ConfigError("tasks is missing; type e.g. tasks=[arc_easy,winogrande] (lm_eval ls tasks shows all names).")
        made: Any = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key}: {str(error).splitlines()[0]} python -m ftsafety.lm_eval --help shows what is possible.") from error
    settings: Settings = made
    for name, least in (("limit", 1), ("fewshot", 0), ("batch", 1)):
        value = getattr(settings, name)
        if value is not None and value < least:
            raise ConfigError(f"{name}={value} is not possible; give at least {least}.")
    if settings.include and not Path(settings.include).is_dir():
        raise ConfigError(f"include={settings.include} is not a folder; give one with task files in lm-eval's YAML format.")
    return settings


def installed() -> str:
    """The version of lm-eval.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return version("lm_eval")
    except PackageNotFoundError as error:
        raise ConfigError("this needs lm-eval, which is not installed; type pip install 'ftsafety[lm_eval]'.") from error


def evaluate(folder: Path, settings: Settings) -> Entry:
    """Evaluate a finished run's weights, write what comes of it beside its record, and return it.

    Raises:
        FtsafetyError: no finished run, weights that are gone, or tasks that can't be had.
    """
    from ftsafety.finished import load, weights_of
    from ftsafety.quiet import quiet
    from ftsafety.settings import default_store
    from ftsafety.stages import House

    record, own = load(folder), installed()
    quiet()
    house = House.at(Path(settings.paths.store) if settings.paths.store else default_store())
    weights = weights_of(record, house, settings.model)
    told = {label: _told(house, weights[label], settings, own, label) for label in LABELS if label in weights}
    done = {"lm_eval": own, **settings.recipe(), **as_entries(told)}
    _keep(record, house, done)
    return done


def _told(house: House, weights: Weights, settings: Settings, own: str, label: str) -> dict[str, Any]:
    """What lm-eval says of one set of weights, through the store."""
    recipe = {"stage": KIND, "lm_eval": own, "weights": weights.digest, **settings.recipe()}
    artifact = house.make(KIND, recipe, partial(_compute, house, weights, settings), f"{label}: {', '.join(settings.tasks)}")
    told: dict[str, Any] = json.loads((artifact.folder / "results.json").read_text(encoding="utf-8"))
    return told


def _compute(house: House, weights: Weights, settings: Settings, folder: Path, _: Path) -> dict[str, Any]:
    import logging

    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    manager, chat = _manager(settings), house.loader.chat(weights)
    if chat.module is None:
        raise ConfigError(f"{type(weights.model).__name__} has no weights, and lm-eval reads probabilities; choose a run of another model.")
    model = HFLM(pretrained=chat.module, tokenizer=chat.tokenizer, batch_size=settings.batch)
    try:
        found: Any = simple_evaluate(
            model, tasks=list(settings.tasks), num_fewshot=settings.fewshot, limit=settings.limit, apply_chat_template=settings.chat,
            task_manager=manager, bootstrap_iters=0,
        )  # fmt: skip
    except OSError as error:
        raise FtsafetyError(f"the data of {', '.join(settings.tasks)} can't be had: {str(error).splitlines()[0]} Go online, or choose others.") from error
    tasks = {name: _task(name, found) for name in found["results"]}
    (folder / "results.json").write_text(json.dumps(tasks, ensure_ascii=False), encoding="utf-8")
    return {"tasks": len(tasks)}


def _manager(settings: Settings) -> Any:
    """lm-eval's index of tasks: the user's own alone where they hold all that was asked, since reading all others takes a while."""
    from lm_eval.tasks import TaskManager

    from ftsafety.build import did_you_mean

    if settings.include:
        manager = TaskManager(include_path=settings.include, include_defaults=False)
        if set(settings.tasks) <= set(manager.all_tasks):
            return manager
    manager = TaskManager(include_path=settings.include)
    if unknown := [name for name in settings.tasks if name not in manager.all_tasks]:
        hint = did_you_mean(unknown[0], list(manager.all_tasks))
        raise ConfigError(f"tasks: lm-eval has no {', '.join(unknown)}; lm_eval ls tasks shows all names, and include=FOLDER adds files of your own.{hint}")
    return manager


def _task(name: str, found: Mapping[str, Any]) -> dict[str, Any]:
    """One task's metrics as numbers: lm-eval's own aggregate, and each document's value where it is a number."""
    samples = found.get("samples", {}).get(name, [])
    metrics = {}
    for key, value in found["results"][name].items():
        metric, comma, chosen = key.partition(",")
        if comma and not metric.endswith("_stderr") and isinstance(value, (int, float)):
            each = {str(sample["doc_id"]): sample.get(metric) for sample in samples if sample.get("filter", chosen) == chosen}
            numbers = all(isinstance(one, (int, float)) for one in each.values())
            metrics[key] = {"value": float(value), "each": {id: float(one) for id, one in each.items()} if each and numbers else None}
    return {
        "version": found["versions"].get(name),
        "fewshot": found["n-shot"].get(name),
        "documents": len({sample["doc_id"] for sample in samples}),
        "metrics": metrics,
    }


def as_entries(told: Mapping[str, Mapping[str, Any]]) -> dict[str, list[Entry]]:
    """``results`` of each set of weights with their intervals, and ``differences`` of the last weights to the initial ones, same documents."""
    results, differences = [], []
    for label, tasks in told.items():
        for task, its in tasks.items():
            about = {"weights": label, "task": task, "version": its["version"], "fewshot": its["fewshot"]}
            results += [{**about, **_metric(key), **_estimate(one)} for key, one in its["metrics"].items()]
    first, last = (told[label] for label in (next(iter(told)), list(told)[-1]))
    for task, its in last.items() if first is not last else ():
        for key, one in its["metrics"].items():
            if (change := _difference(first[task]["metrics"][key], one)) is not None:
                differences.append({"task": task, **_metric(key), **change})
    return {"results": results, "differences": differences}


def _metric(key: str) -> dict[str, str]:
    metric, _, chosen = key.partition(",")
    return {"metric": metric, "filter": chosen}


def _each(one: Mapping[str, Any]) -> list[float] | None:
    """The documents' values, where lm-eval's aggregate is their mean."""
    values = list((one["each"] or {}).values())
    return values if values and abs(sum(values) / len(values) - one["value"]) < SLACK else None


def _estimate(one: Mapping[str, Any]) -> Entry:
    from ftsafety import stats

    if (values := _each(one)) is None:
        return {"value": one["value"], "low": None, "high": None, "n": len(one["each"] or {})}
    made = stats.rate([value == 1 for value in values]) if set(values) <= {0.0, 1.0} else stats.mean(values)
    return {"value": one["value"], "low": round(made.low, 6), "high": round(made.high, 6), "n": made.n}


def _difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> Entry | None:
    from ftsafety import stats

    if _each(before) is None or _each(after) is None or before["each"].keys() != after["each"].keys():
        return None
    pairs = [(before["each"][id], after["each"][id]) for id in before["each"]]
    if all(value in (0.0, 1.0) for pair in pairs for value in pair):
        made = stats.paired_rate([a == 1 for a, _ in pairs], [b == 1 for _, b in pairs])
    else:
        made = stats.paired_mean([a for a, _ in pairs], [b for _, b in pairs])
    return {"value": round(made.value, 6), "low": round(made.low, 6), "high": round(made.high, 6), "n": made.n, "p_value": round(made.p_value or 0.0, 6)}


def _keep(record: Run, house: House, done: Entry) -> None:
    """Write the evaluation into the run's own file, in the place of the same one from before, and note what the store must keep for it."""
    from ftsafety.hashing import digest_of
    from ftsafety.store.publish import publish_json
    from ftsafety.store.refs import REFS

    file, asked = record.folder / FILE, [key for key in done if key not in ("results", "differences")]
    earlier = json.loads(file.read_text(encoding="utf-8"))["evaluations"] if file.is_file() else []
    others = [one for one in earlier if any(one[key] != done[key] for key in asked)]
    publish_json(file, {"cell": record.data["cell"], "seed": record.data["seed"], "evaluations": [*others, done]})
    home = str(record.folder.resolve())
    refs = house.store.folder / REFS / f"{digest_of(home)[:12]}-{record.data['cell']}-{record.data['seed']}-{KIND}.json"
    before = json.loads(refs.read_text(encoding="utf-8"))["used"] if refs.is_file() else []
    used = sorted({(kind, key) for kind, key in before} | {(kind, key) for kind, key in house.store.used if kind == KIND})
    publish_json(refs, {"folder": home, "used": [list(name) for name in used]})


def show(folder: Path, done: Entry, console: Console | None = None) -> None:
    """Print an evaluation: each task's metrics before and after, and the difference on the same documents."""
    out = console or Console(width=None if sys.stdout.isatty() else 160)
    labels = list(dict.fromkeys(entry["weights"] for entry in done["results"]))
    columns = ["task", "metric", "documents", *labels, *(["difference", "p"] if len(labels) > 1 else [])]
    table = Table(*columns, box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1), header_style="dim")
    found = {(entry["weights"], entry["task"], entry["metric"], entry["filter"]): entry for entry in done["results"]}
    changes = {(entry["task"], entry["metric"], entry["filter"]): entry for entry in done["differences"]}
    for task, metric, chosen in dict.fromkeys(key[1:] for key in found):
        states = [found[label, task, metric, chosen] for label in labels]
        change = changes.get((task, metric, chosen))
        later = [_shown(change, "+") if change else "–", f"{change['p_value']:.2g}" if change else "–"] if len(labels) > 1 else []
        name = metric if chosen == "none" else f"{metric} ({chosen})"
        table.add_row(Text(task), Text(name), str(states[-1]["n"] or "–"), *map(_shown, states), *later)
    out.print(table)
    out.print(Text(f"lm-eval {done['lm_eval']}{', chat template' if done['chat'] else ''}; 95 % intervals over documents", style="dim"))
    out.print(Text(str(folder / FILE)))


def _shown(entry: Entry, sign: str = "") -> str:
    interval = f" [{entry['low']:{sign}.3f}, {entry['high']:{sign}.3f}]" if entry["low"] is not None else ""
    return f"{entry['value']:{sign}.3f}{interval}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; 1 for a mistake."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help"):
        print(__doc__)
        return 0 if words else 1
    # a run's folder ends in seed=0
    folders = [word for word in words if not re.match(r"\w+(\.\w+)*=", word) or Path(word).is_dir()]
    try:
        if len(folders) != 1:
            raise ConfigError(f"one run's folder is needed, and {len(folders)} are given; type python -m ftsafety.lm_eval RUN tasks=[NAME].")
        show(Path(folders[0]), evaluate(Path(folders[0]), settings_of([word for word in words if word not in folders])))
    except FtsafetyError as error:
        Console(stderr=True).print(Text(str(error), style="red"), soft_wrap=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
