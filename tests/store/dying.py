"""A process that forks runs and lets them die: imports are paid once, each run is a process of its own.

Reads one JSON object per line: ``overrides``, and ``die_at`` (the number of a fault point, counted from 1) or ``kill_after``
(seconds until SIGKILL). Answers with ``code`` (9: died as told, -9: killed, 0: finished, 7: waited for a lease), the names of the
fault ``points`` that a finished run passed, and its ``seconds``.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
import types
from pathlib import Path
from typing import Any

DIED, WAITED = 9, 7


def lie_down(command: dict[str, Any], report: Path) -> None:
    """Run a cell in this process, which dies at the fault point that it is told to die at."""
    from ftsafety.run import run
    from ftsafety.store import lease, publish
    from tests.helpers import cell_of

    points: list[str] = []

    def fault(point: str) -> None:
        points.append(point)
        if len(points) == command.get("die_at"):
            os._exit(DIED)

    publish.set_fault(fault)
    lease.time = types.SimpleNamespace(monotonic=time.monotonic, sleep=lambda seconds: os._exit(WAITED))  # type: ignore[assignment]
    run(cell_of(*command["overrides"]))
    report.write_text(json.dumps(points))


def obey(command: dict[str, Any]) -> dict[str, Any]:
    """Fork a run, kill it in time if told to, and say what became of it."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "points.json"
        child = os.fork()
        if not child:
            code = 1
            try:
                lie_down(command, report)
                code = 0
            except Exception as error:
                print(repr(error), file=sys.stderr)
            finally:
                os._exit(code)
        if "kill_after" in command:
            time.sleep(command["kill_after"])
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        points = json.loads(report.read_text()) if report.exists() else []
    return {"code": os.waitstatus_to_exitcode(status), "points": points, "seconds": round(time.monotonic() - started, 3)}


def main() -> None:
    """Import all that a run needs, which starts no thread, then obey."""
    from ftsafety.quiet import quiet

    quiet()
    import peft  # noqa: F401
    import statsmodels.stats.contingency_tables  # noqa: F401
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast  # noqa: F401

    import ftsafety.decode
    import ftsafety.run
    import ftsafety.tune  # noqa: F401
    import tests.helpers  # noqa: F401

    for line in sys.stdin:
        print(json.dumps(obey(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
