"""ftsafety measures how fine-tuning changes what an aligned language model declines."""

__version__ = "0.1.0"
