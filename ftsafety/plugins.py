"""Plugins: distributions outside this package that add options.

A plugin declares the entry-point group ``ftsafety.plugins`` with a top-level package as its value; options are YAML files in that
package's ``conf/<group>/``. The package is found, not imported, so a broken plugin can't break ``--help``.
"""

from __future__ import annotations

import importlib.util
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin

from ftsafety.errors import ConfigError

GROUP = "ftsafety.plugins"
CORE = Path(__file__).parent / "conf"


@dataclass(frozen=True)
class Source:
    """A place that options come from: ``ftsafety`` itself or a plugin, with its ``conf`` folder."""

    name: str
    conf: Path

    def options(self) -> dict[str, list[str]]:
        """Group to the names of its options here; one in a sub-folder is called as it is typed, ``qi2024/table1_llama2``."""
        groups: dict[str, list[str]] = {}
        for file in sorted(self.conf.glob("*/**/*.yaml")):
            group, _, name = file.relative_to(self.conf).with_suffix("").as_posix().partition("/")
            groups.setdefault(group, []).append(name)
        return groups


@cache
def sources() -> tuple[Source, ...]:
    """The core's options and those of every installed plugin that has any.

    Raises:
        ConfigError: two plugins, or options of two sources, have the same name.
    """
    found = [Source("ftsafety", CORE)]
    called: dict[str, str] = {}
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        distribution = _distribution(point)
        if (other := called.setdefault(point.name, distribution)) != distribution:
            raise ConfigError(f"{other} and {distribution} both hold a plugin called {point.name}; uninstall one of them or rename its entry point.")
        # what a plugin lacks breaks nothing but its own options
        with suppress(ConfigError):
            found.append(Source(point.name, _conf_of(point)))
    owners: dict[tuple[str, str], str] = {}
    for source in found:
        for group, options in source.options().items():
            for option in options:
                if (group, option) in owners:
                    raise ConfigError(
                        f"{group}={option} is an option of both {owners[group, option]} and {source.name}; uninstall one of them or rename its option."
                    )
                owners[group, option] = source.name
    return tuple(found)


def without_options() -> list[str]:
    """What is wrong with each installed plugin whose options can't be found, in a sentence."""
    said = []
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        try:
            _conf_of(point)
        except ConfigError as error:
            said.append(str(error))
    return said


def _distribution(point: EntryPoint) -> str:
    return point.dist.name if point.dist else point.value


def _conf_of(point: EntryPoint) -> Path:
    """The ``conf`` folder of a plugin's package, which is found and not imported.

    Raises:
        ConfigError: the package or its ``conf`` folder is missing.
    """
    plugin, package, distribution = point.name, point.value, _distribution(point)
    if not package.isidentifier():
        # to find a.b, Python would import a
        raise ConfigError(f"plugin {plugin}: its entry point is {package} and has to be a top-level package; mend or uninstall {distribution}.")
    spec = importlib.util.find_spec(package)
    folder = Path(next(iter(spec.submodule_search_locations))) / "conf" if spec and spec.submodule_search_locations else None
    if folder is None or not folder.is_dir():
        raise ConfigError(f"plugin {plugin}: the package {package} has no conf folder; mend or uninstall {distribution}.")
    return folder


class FtsafetySearchPath(SearchPathPlugin):
    """Puts the plugins' ``conf`` folders behind the core's."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for source in sources()[1:]:
            search_path.append(f"ftsafety-plugin-{source.name}", f"file://{source.conf}")


def register() -> None:
    """Make plugins' options known to Hydra."""
    Plugins.instance().register(FtsafetySearchPath)
