"""Launchers: where the cells of a multirun are run. One after the other here, or e.g. with ``hydra/launcher=processes`` (``conf/hydra/launcher``).

Cells meet in the store and in the ledger only, so a launcher has nothing to bring back.
"""

from ftsafety.launcher.ray import RayLauncher

__all__ = ["RayLauncher"]
