"""Libraries print much that a user of this tool can do nothing about; errors still show."""

from __future__ import annotations

import logging
import os
import warnings


def quiet() -> None:
    """Silence the notices of Lightning, transformers, peft and bitsandbytes. Called before they are imported."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    for name in ("bitsandbytes", "transformers"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for category in (UserWarning, FutureWarning, DeprecationWarning):
        for module in ("pytorch_lightning", "lightning_fabric", "transformers", "peft", "torch"):
            warnings.filterwarnings("ignore", category=category, module=module)
    import pytorch_lightning
    import transformers

    # these set their own level when they are imported
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    del pytorch_lightning

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
