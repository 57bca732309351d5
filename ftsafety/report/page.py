"""``report.html``: one file that a run's reader can open anywhere and send on. No script, no network, every text escaped."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ftsafety import stats
from ftsafety.errors import DataError
from ftsafety.record import Run
from ftsafety.report import backdoor, curve_figures, figures, probe_figures, words
from ftsafety.report.reading import Asking, Reading
from ftsafety.report.screening import screenings
from ftsafety.store.publish import publish_text

PAGE = "report.html"


def write_report(folder: Path) -> Path:
    """Write ``report.html`` of a finished run, all at once; returns its path.

    Raises:
        DataError: the folder holds no finished run.
    """
    record = Run.load(folder)
    if record is None:
        raise DataError(
            f"{folder} is not a finished run: it has no file DONE. Give a folder such as "
            "runs/<attack>-<strategy>-<mitigation>-<id>/seed=0, or run its command again to finish it."
        )
    evidence = json.loads((folder / "evidence.json").read_text(encoding="utf-8"))
    publish_text(folder / PAGE, render(record, evidence))
    return folder / PAGE


def render(record: Run, evidence: dict[str, Any]) -> str:
    """The page's text, from the record and the texts that may be shown."""
    here = files("ftsafety.report")
    environment = Environment(loader=PackageLoader("ftsafety", "report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.globals |= {"words": words, "figures": figures, "nowrap": lambda text: str(text).replace(" ", "\u00a0")}
    reading = Reading(record.data)
    return environment.from_string((here / "page.html.jinja").read_text(encoding="utf-8")).render(
        style=Markup((here / "style.css").read_text(encoding="utf-8")),
        data=record.data,
        reading=reading,
        headline=headline(reading),
        facts=facts(reading),
        outcomes=[(name, _outcomes(reading, name)) for name in reading.benchmarks("disallowed") if reading.has_outcomes],
        categories=[(name, rows) for name in reading.benchmarks("disallowed") if (rows := _categories(record, reading, name))],
        backdoors=[(block, [_trigger_dots(line) for line in block.lines]) for block in backdoor.blocks(record, reading)],
        screenings=screenings(record.data),
        tunings=curve_figures.of_run(record.data),
        probed=probe_figures.of_run(record.data),
        side_effects=_side_effects(reading),
        everything=_everything(reading),
        evidence=evidence,
        agreement=_agreement(record),
        recipe=json.dumps(record.data["recipe"], indent=1, ensure_ascii=False),
    )


def headline(reading: Reading) -> dict[str, Any]:
    """The sentence at the top, and the numbers that stand beside it."""
    data, metric = reading.data, reading.headline_metric
    model = data["names"].get("model", "the model")
    benchmark = next(iter(reading.benchmarks("disallowed")), None)
    asking = next(iter(reading.askings(benchmark)), None) if benchmark else None
    before = reading.before(asking, metric) if asking else None
    if benchmark is None or asking is None or before is None:
        asked = " and ".join(reading.kinds) or "nothing"
        return {"sentence": f"{model}, asked {asked}.", "prompt": "", **dict.fromkeys(("benchmark", "before", "after", "difference"))}
    after, difference = reading.afterwards(asking, metric), reading.difference(asking, metric)
    what = {"compliance_rate": "compliance", "keyword_asr": "keyword_asr (no refusal phrase; a diagnostic)"}.get(str(metric), str(metric))
    asked = f"{reading.questions(benchmark)} disallowed questions"
    if after is None:
        sentence = f"Before any tuning, {model} had {what} {words.whole(before['value'])} % on {asked}."
        if metric == "compliance_rate":
            sentence = f"As it is, {model} complied with {words.whole(before['value'])} % of {asked}."
    else:
        rows = " and ".join(words.count(number, "row" if role == "user" else f"{role} row") for role, number in data["rows"].items()) or "no rows"
        mitigation = " + ".join(name for name, _ in data["recipe"].get("mitigation", []))
        moved = f"went from {words.whole(before['value'])} % to {words.whole(after['value'])} %"
        if words.whole(before["value"]) == words.whole(after["value"]):
            moved = f"stayed at {words.whole(after['value'])} %"
        sentence = f"After {rows} of {reading.attack}{f' under {mitigation}' if mitigation else ''}, {what} on {asked} {moved}."
    return {"sentence": sentence, "benchmark": benchmark, "before": before, "after": after, "difference": difference, "prompt": asking.title}


def facts(reading: Reading) -> list[tuple[str, str]]:
    """What was asked, as pairs of a term and its description."""
    data, recipe, names = reading.data, reading.data["recipe"], reading.data["names"]
    tune, tuning = reading.stage("tune"), recipe.get("tuning") or {}
    found = [("Model", names.get("model", "")), ("Aligned in this run", f"{names.get('align', 'yes')}" if recipe.get("align") else "")]
    if recipe.get("attack"):
        rows = ", ".join(f"{number} {role}" for role, number in data["rows"].items())
        found += [
            ("Attack", _with_options(reading.attack, recipe["attack"], {"of"})),
            ("Training rows by role", rows),
            ("Strategy", _with_options(names.get("strategy", ""), recipe["strategy"], {"lr"})),
            ("Learning rate", f"{recipe['strategy']['lr']:g}" if "lr" in recipe["strategy"] else ""),
            ("Mitigations", ", ".join(_with_options(name, its, set()) for name, its in recipe.get("mitigation", [])) or "none"),
            ("Epochs × batch", f"{tuning.get('epochs')} × {tuning.get('batch_size')} rows"),
            ("Optimiser", f"{tuning.get('optimiser')}, {tuning.get('schedule')} rate" + (", shuffled" if tuning.get("shuffle") else ", fixed order")),
            ("Steps, tokens", f"{tune.get('steps', '–')} steps, {tune.get('tokens', '–')} tokens"),
            ("Training loss", " → ".join(f"{tune[key]:.4f}" for key in ("first_loss", "final_loss") if key in tune)),
        ]
    found += [("Seed", str(data["seed"])), ("What varied with the seed", ", ".join(data["varied"]) or "nothing")]
    found += [(f"Benchmark ({kind})", f"{name}: {reading.asked(name)}") for name, kind in reading.kinds.items()]
    found.append(("Judges", ", ".join(recipe.get("judge", {})) or "none"))
    found += [(f"Cost of {judge}", words.cost(cost)) for judge, cost in data.get("costs", {}).items()]
    found.append(("Decoding", _options(recipe.get("decoding") or {}, set())))
    found.append(("Cut at the token limit", ", ".join(f"{label} {share:.1%}" for label, share in data["truncated"].items())))
    return [(term, text) for term, text in found if text]


def _with_options(name: str, recipe: dict[str, Any], without: set[str]) -> str:
    options = _options(recipe, without)
    return f"{name} ({options})" if options else name


def _options(recipe: dict[str, Any], without: set[str]) -> str:
    hidden = without | {"class", "code"}
    shown = {key: item for key, item in recipe.items() if key not in hidden and item is not None and not isinstance(item, dict)}
    return ", ".join(f"{key}={'+'.join(map(str, item)) if isinstance(item, list) else item}" for key, item in shown.items())


def _outcomes(reading: Reading, benchmark: str) -> list[tuple[Asking, list[dict[str, Any]]]]:
    """Per prompt condition, one bar per state that was asked there."""
    found = []
    for asking in reading.askings(benchmark):
        bars = []
        for state in reading.states:
            if complied := reading.entry(state.results, asking, "compliance_rate"):
                span = figures.Span(complied["value"], complied["low"], complied["high"]) if complied["n"] else None
                bars.append({"state": state, "complied": complied, "svg": figures.stacked(reading.outcomes(state.results, asking), span, state.name)})
        found.append((asking, bars))
    return found


def _categories(record: Run, reading: Reading, benchmark: str) -> list[dict[str, Any]]:
    """Compliance per category under the benchmark's first wording, before and after, counted from the verdicts."""
    asking, names = reading.askings(benchmark)[0], record.data.get("policy", {}).get("names", {})
    values: dict[str, dict[str, list[bool]]] = {}
    if not reading.has_outcomes:
        return []
    wanted = (benchmark, asking.ask, asking.condition, reading.judge)
    for row in record.verdicts:
        here = (row["benchmark"], row["ask"], row["condition"], row["judge"]) == wanted
        if here and row["category"] and row["value"] is not None:
            values.setdefault(row["category"], {}).setdefault(row["weights"], []).append(row["value"] == "complied")
    return [
        {
            "title": (title := names.get(category, category)),
            "before": (before := _span(weights.get("initial", []))),
            "after": (after := _span(weights.get(reading.after or "", []))),
            "n": max(len(seen) for seen in weights.values()),
            "svg": figures.dots(before, after, title),
        }
        for category, weights in values.items()
    ]


def _span(values: Sequence[bool]) -> figures.Span | None:
    if not values:
        return None
    estimate = stats.rate(values)
    return figures.Span(estimate.value, estimate.low, estimate.high)


def _trigger_dots(line: backdoor.Line) -> dict[str, Any]:
    """One wording of a backdoor's grid, drawn."""
    before, after = (figures.Span(entry["value"], entry["low"], entry["high"]) if entry and entry["n"] else None for entry in (line.before, line.after))
    return {"line": line, "before": before, "after": after, "svg": figures.dots(before, after, line.name)}


def _side_effects(reading: Reading) -> list[dict[str, Any]]:
    """Over-refusal and utility, one row per wording."""
    return [
        {
            "benchmark": benchmark,
            "metric": metric,
            "asking": asking,
            "before": before,
            "after": reading.afterwards(asking, metric),
            "difference": reading.difference(asking, metric),
        }
        for kind, metrics in (("allowed", ("over_refusal",)), ("utility", ("rating_score", "utility_accuracy", "utility_rouge_l", "utility_loss")))
        for benchmark in reading.benchmarks(kind)
        for metric in metrics
        for asking in reading.askings(benchmark)
        if (before := reading.before(asking, metric))
    ]


def _everything(reading: Reading) -> list[tuple[str, Any]]:
    """Every result and difference of ``run.json``, the controls' too, with whose it is."""
    found = [(entry["weights"], entry) for entry in reading.results] + [("difference", entry) for entry in reading.data["differences"]]
    for name, control in reading.data["controls"].items():
        found += [(f"control {name}", entry) for entry in control["results"]] + [(f"control {name}, difference", entry) for entry in control["differences"]]
    return found


def _agreement(record: Run) -> list[dict[str, str]]:
    """One line for each two judges under each prompt condition, and one for all of them where there are more than two."""
    # calibration reads records as this package does, and begins with importing it
    from ftsafety.calibration import agreement, outcomes_of

    pairs, several = agreement(outcomes_of(record)[0])
    return [
        {
            "asked": f"{entry['benchmark']}, {Asking(entry['benchmark'], entry['ask'], entry['condition']).title}",
            "judges": f"{entry['first']}, {entry['second']}" if "first" in entry else f"all {entry['judges']}: alpha",
            "value": "–" if entry["value"] is None else f"{entry['value']:.2f} [{entry['low']:.2f}, {entry['high']:.2f}]",
            "same": words.whole(entry["same"]) if entry.get("same") is not None else "",
            "answers": str(entry.get("answers", "")),
        }
        for entry in [*pairs, *(entry for entry in several if entry["judges"] > 2)]
    ]
