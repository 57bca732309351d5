"""The weights of a finished run again, from its record and the store: every trained part by its key, and digests that say they are the same.

What a record leaves out on purpose, such as where a model lies on this machine, is taken from the option that the run named, or typed again.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from omegaconf import OmegaConf

from ftsafety.build import build, import_class, schema_of
from ftsafety.component import Component
from ftsafety.errors import ConfigError, DataError, StoreError
from ftsafety.model import Model
from ftsafety.record import Run
from ftsafety.store.store import read_manifest
from ftsafety.strategy import Strategy

if TYPE_CHECKING:
    from ftsafety.stages import House
    from ftsafety.weights import Layer, Weights

C = TypeVar("C", bound=Component)


def load(folder: Path) -> Run:
    """The record of a finished run.

    Raises:
        DataError: the folder holds none.
    """
    if record := Run.load(folder):
        return record
    raise DataError(f"{folder} is not a finished run: it has no file DONE. Give a folder such as runs/<attack>-<strategy>-<mitigation>-<id>/seed=0.")


def weights_of(record: Run, house: House, more: Mapping[str, Any]) -> dict[str, Weights]:
    """``initial``, and ``tuned`` and ``repaired`` where the run has them.

    Args:
        more: fields of the model that the record leaves out, such as ``name``.

    Raises:
        ConfigError: fields are missing, or they name other weights than the run's.
        StoreError: the store no longer holds a trained part.
    """
    data = record.data
    if not getattr(import_class(data["recipe"]["model"]["class"], "model"), "local", True):
        raise ConfigError(f"{record.folder} is a run of a model that answers by itself or is hosted elsewhere; there are no weights of it here.")
    weights = house.loader.weights(_model(data, more))
    found: dict[str, Weights] = {}

    def note(label: str, digest: str | None) -> None:
        if weights.digest == digest:
            found.setdefault(label, weights)

    note("initial", data["start_digest"])
    for stage in data["stages"]:
        kind, key = stage["stage"], stage["key"]
        if kind == "repair":
            below = weights.layers[:-1]
            weights = found["repaired"] = _with(weights, below, _layer(house, kind, key, weights.layers[-1].strategy))
        elif strategy := _strategy(data["recipe"], kind):
            weights = _with(weights, weights.layers, _layer(house, kind, key, strategy))
            note("initial", data["start_digest"])
            note("tuned", data["tuned_digest"])
    if missing := [label for label, digest in (("initial", "start_digest"), ("tuned", "tuned_digest")) if data[digest] and label not in found]:
        raise ConfigError(
            f"the {missing[0]} weights of {record.folder} can't be put together again: what is there has another digest. "
            "Give the model that the run had with model.KEY=VALUE, and its store with paths.store=DIR."
        )
    return found


def _model(data: dict[str, Any], more: Mapping[str, Any]) -> Model:
    recipe = data["recipe"]["model"]
    model = rebuilt(recipe, Model, "model", _shipped(recipe["class"], data["names"].get("model")), more)
    there = model.recipe()
    # code may have moved on; the digests of the weights decide
    if other := sorted(key for key in {*recipe, *there} - {"code"} if recipe.get(key) != there.get(key)):
        raise ConfigError(f"this is not the run's model: {', '.join(other)} differ from its record; give what it had with model.KEY=VALUE.")
    return model


def _shipped(target: str, name: str | None) -> dict[str, Any]:
    """The fields of the model option that the run named, where that is still there."""
    from ftsafety.plugins import sources

    for source in sources():
        file = source.conf / "model" / f"{name}.yaml"
        if name and file.is_file():
            node: Any = OmegaConf.to_container(OmegaConf.load(file))
            if node.pop("_target_", None) == target:
                return {key: value for key, value in node.items() if value != "???"}
    return {}


def rebuilt(recipe: Mapping[str, Any], base: type[C], where: str, otherwise: Mapping[str, Any] | None = None, instead: Mapping[str, Any] | None = None) -> C:
    """A component from its recipe.

    Args:
        otherwise: values of fields that the recipe leaves out.
        instead: values that win over the recipe's.

    Raises:
        ConfigError: a field that the recipe leaves out is needed.
    """
    names = schema_of(import_class(recipe["class"], where)).names
    node = {name: _node(value) for name, value in recipe.items() if name in names and not _is_content(value)}
    return build({**(otherwise or {}), **node, **(instead or {}), "_target_": recipe["class"]}, base, where)


def _node(value: Any) -> Any:
    if isinstance(value, dict) and {"class", "code"} <= value.keys():
        return {"_target_": value["class"], **{name: _node(inner) for name, inner in value.items() if name not in ("class", "code") and not _is_content(inner)}}
    if isinstance(value, dict):
        return {name: _node(inner) for name, inner in value.items()}
    return [_node(inner) for inner in value] if isinstance(value, list) else value


def _is_content(value: Any) -> bool:
    """Whether a recipe has a file's digest in the place of its path."""
    return isinstance(value, dict) and value.keys() == {"content"}


def _strategy(recipe: dict[str, Any], kind: str) -> Strategy | None:
    """What puts a stage's trained part back; None for a stage that trains none."""
    if kind == "base":
        from ftsafety.strategy.full import Full

        return Full(lr=0.0)
    told = {"tune": recipe["strategy"], "align": (recipe["align"] or {}).get("strategy")}.get(kind)
    return rebuilt(told, Strategy, "strategy") if told else None


def _layer(house: House, kind: str, key: str, strategy: Strategy) -> Layer:
    from ftsafety.weights import Layer

    folder = house.store.folder / kind / key
    manifest = read_manifest(folder)
    if manifest is None:
        raise StoreError(f"{house.store.folder} holds no {kind} {key}, which this run stands on; give another with paths.store=DIR, or run its command again.")
    house.store.used.add((kind, key))
    return Layer(folder, manifest["digest"], strategy)


def _with(weights: Weights, below: tuple[Layer, ...], layer: Layer) -> Weights:
    from ftsafety.weights import Weights

    return Weights(weights.model, weights.fingerprint, (*below, layer))
