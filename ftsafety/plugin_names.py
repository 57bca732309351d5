"""The launcher and the sweeper of this package under the names that Hydra wants.

Hydra makes launchers and sweepers only of what is named under ``hydra_plugins``, a folder that it scans and that vanishes without a word
in an editable install. So ours live here like everything else, and are told to Hydra as ``hydra_plugins.ftsafety...``.
"""

from __future__ import annotations

from hydra.core.plugins import Plugins

from ftsafety.launcher.ray import RayLauncher
from ftsafety.sweeper.worst_case import WorstCase


def name_plugins() -> None:
    """Make them known to Hydra."""
    for cls in (RayLauncher, WorstCase):
        Plugins.instance().class_name_to_class[f"hydra_plugins.{cls.__module__}.{cls.__name__}"] = cls
