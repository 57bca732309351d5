"""The stages of a run: align, tune, repair, answer, judge. Each looks its result up before it computes it.

A stage's key holds all that determines its result and nothing else: digests of its inputs, its components' recipes, an engine
version; never a device, a batch of the decoder, a path or a name.
"""

from ftsafety.stages.aligning import align
from ftsafety.stages.answering import Answer, answer, answer_together, losses
from ftsafety.stages.editing import edit_base, repair
from ftsafety.stages.house import House
from ftsafety.stages.judging import judged
from ftsafety.stages.preparing import encoded_whole, tuning_context
from ftsafety.stages.tuning import plan_windows, train

__all__ = [
    "Answer", "House", "align", "answer", "answer_together", "edit_base", "encoded_whole", "judged", "losses", "plan_windows", "repair", "train",
    "tuning_context",
]  # fmt: skip
