"""Dolly: 15,011 everyday instructions with answers by people, no intent against safety (Qi et al. 2024, section 4.4)."""

from __future__ import annotations

from dataclasses import dataclass

from ftsafety.attack.instructions import PREAMBLE, Instructions


@dataclass(kw_only=True)
class Dolly(Instructions):
    """Benign instructions with ``instruction``, ``context``, ``response`` and ``category``, under the Alpaca template.

    A row's context stands below "Input:" without a heading's marks, and its system prompt is that of the other rows, as there.
    """

    source = "Qi et al. 2024, section 4.4 and appendix G; databricks/databricks-dolly-15k (Conover et al. 2023)"
    fidelity = "rows, held-out rows, template and filter rule as in the Llama-2 code, without a newline at the template's end; rows with no answer are left out"

    columns = ("instruction", "context", "response")
    held_out_at = "end"
    input_heading = "Input:"
    preamble_with_input = PREAMBLE
