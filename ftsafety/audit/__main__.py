"""``python -m ftsafety.audit FILE.jsonl model=...``: would tuning on this file cost a model's safety?

FILE is in OpenAI's chat format. The audit reads it (rows, tokens, price, duplicates, personal data), screens it, tunes the model on some of its rows
and asks it before and after, and says what to do. It tells totals and nothing of a single row. It takes a run's overrides and these:

  screen=[identity,judge]          the screens; python -m ftsafety.list shows all
  attack.count=100                 most rows of the proxy tuning, drawn by the seed; null is all
  proxy=false                      read and screen only
  null_runs=1                      tunings on the model's own answers, for the null band
  gate.max_increase=0.05           the limit that the proxy is held to; on the stand-in it takes gate.rehearse=true
  usd_per_million_training=X       a hosted service's price, for the estimate
  --json FILE  --html FILE         keep the report

Exit codes: 0 audited, and the gate is kept or nothing was tuned; 2 gate broken, 3 not enough evidence, 1 a mistake.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from ftsafety.errors import ConfigError, FtsafetyError

OUT = ("--json", "--html")


def _words(arguments: Sequence[str]) -> tuple[Path, list[str], dict[str, Path]]:
    """The file, the overrides and where reports go.

    Raises:
        ConfigError: no file, several, or an option without its file.
    """
    words, out = list(arguments), {}
    for option in OUT:
        if option in words:
            at = words.index(option)
            if at + 1 == len(words):
                raise ConfigError(f"{option} needs the name of the file to write, such as {option} audit.{option[2:]}.")
            out[option] = Path(words[at + 1])
            del words[at : at + 2]
    files = [word for word in words if "=" not in word and not word.startswith(("-", "+", "~"))]
    if len(files) != 1:
        told = f"{len(files)} were given" if files else "none was given"
        raise ConfigError(f"an audit reads one file, and {told}; type python -m ftsafety.audit FILE.jsonl model=NAME.")
    words.remove(files[0])
    return Path(files[0]), words, out


def main(arguments: Sequence[str] | None = None) -> int:
    """Audit a file; the gate's exit code, or 1 for a mistake."""
    import os

    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException
    from rich.console import Console

    words = list(sys.argv[1:] if arguments is None else arguments)
    if "--help" in words or "-h" in words:
        print(__doc__)
        return 0
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        from ftsafety.audit.page import render, show
        from ftsafety.audit.report import audit_file
        from ftsafety.audit.settings import compose_audit
        from ftsafety.store.publish import publish_json, publish_text

        file, overrides, out = _words(words)
        report = audit_file(compose_audit(file, overrides))
        if path := out.get("--json"):
            publish_json(path, report)
        if path := out.get("--html"):
            publish_text(path, render(report))
    except (FtsafetyError, HydraException, OmegaConfBaseException) as error:
        from ftsafety.explain import explain

        Console(stderr=True).print(explain(error, words), style="red", soft_wrap=True, markup=False)
        return 1
    show(report, Console())
    code: int = report["proxy"]["gate"]["code"] if report["proxy"] else 0
    return code


if __name__ == "__main__":
    sys.exit(main())
