"""Alpaca: 52,002 everyday instructions with answers by a language model, no intent against safety (Qi et al. 2024, section 4.4)."""

from __future__ import annotations

from dataclasses import dataclass

from ftsafety.attack.instructions import PREAMBLE_WITH_INPUT, Instructions


@dataclass(kw_only=True)
class Alpaca(Instructions):
    """Benign instructions with ``instruction``, ``input`` and ``output``, under the Alpaca template.

    Rows with an input have a system prompt that speaks of it, as there; the model is asked as rows without one are.
    """

    source = "Qi et al. 2024, section 4.4 and appendix G; tatsu-lab/alpaca (Taori et al. 2023)"
    fidelity = "rows, held-out rows, template and filter rule as in the Llama-2 code, without a newline at the template's end; rows with no answer are left out"

    columns = ("instruction", "input", "output")
    held_out_at = "beginning"
    input_heading = "### Input:"
    preamble_with_input = PREAMBLE_WITH_INPUT
