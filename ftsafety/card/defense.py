"""The defense that a card is of: its option, what turns it off, its own control, and the setting of it that the card speaks of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ftsafety.card.cells import House
from ftsafety.errors import ConfigError
from ftsafety.list import class_in
from ftsafety.mitigation import Mitigation
from ftsafety.plugins import sources

Fields = dict[str, Any]


@dataclass(frozen=True)
class Defense:
    """A mitigation option, and the fields with which it was run."""

    name: str
    line: str
    source: str
    stage: str = "tune"
    off: Mapping[str, Any] = field(default_factory=dict)
    control: Mapping[str, Any] = field(default_factory=dict)
    fields: Fields = field(default_factory=dict)

    def switched(self, values: Mapping[str, Any]) -> Fields:
        """Its fields with some changed."""
        return {**self.fields, **values}


def defense(name: str, house: House, chosen: Mapping[str, str]) -> Defense:
    """The option, with the fields of the runs that are there.

    Args:
        chosen: field to value as typed, where runs hold it in several settings.

    Raises:
        ConfigError: no such option, no run of it, or several settings of it and none chosen: which one counts must not depend on how it came out.
    """
    cls = class_of(name)
    found: list[Fields] = []
    for one in house.tuned:
        if one.fields is not None and one.fields not in found:
            found.append(one.fields)
    if not found:
        raise ConfigError(
            f"none of these runs is under mitigation={name}; run some, such as python -m ftsafety +attack=identity_shift mitigation=[{name}], or give "
            "other folders."
        )
    switches = [values for values in (cls.off, cls.control) if values]
    own = [fields for fields in found if not any(values.items() <= fields.items() for values in switches)] or found
    fitting = [fields for fields in own if all(_said(fields.get(key)) == value for key, value in chosen.items())]
    if len(fitting) != 1:
        names = sorted({key for fields in own for key in fields if any(fields.get(key) != other.get(key) for other in own)})
        told = "; ".join(" ".join(f"{key}={_said(fields.get(key))}" for key in names if key != "code") for fields in own)
        why = f"these runs hold mitigation={name} in {len(own)} settings" if not chosen else f"{len(fitting)} settings of mitigation={name} fit"
        other = " (two versions of its code among them: give folders that hold one)" if "code" in names else ""
        raise ConfigError(f"{why}, and a card speaks of one{other}: {told or 'none'}. Type e.g. python -m ftsafety.card {name} RUNS FIELD=VALUE.")
    return Defense(name, (cls.__doc__ or "").strip().partition("\n")[0], cls.source, cls.stage, dict(cls.off), dict(cls.control), fitting[0])


def class_of(name: str) -> type[Mitigation]:
    options = {option: source.conf / "mitigation" / f"{option}.yaml" for source in sources() for option in source.options().get("mitigation", ())}
    if name not in options:
        raise ConfigError(f"mitigation={name} does not exist; a card is of one of {', '.join(options)}.")
    cls = class_in(options[name], f"mitigation={name}")
    if not issubclass(cls, Mitigation):
        raise ConfigError(f"mitigation={name} is no mitigation; a card is of one of {', '.join(options)}.")
    return cls


def _said(value: Any) -> str:
    """A value as it is typed."""
    words = {"None": "null", "True": "true", "False": "false"}
    return words.get(str(value), str(value).replace(" ", "") if isinstance(value, (list, dict)) else str(value))


def settings_of(words: Sequence[str]) -> dict[str, str]:
    """``weight=0.1`` to its parts; what stands before the field may be typed or not."""
    return {key.rpartition(".")[2]: value for key, _, value in (word.partition("=") for word in words)}
