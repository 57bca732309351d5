"""A fine-tuning provider in small, for studying its defenses end to end: upload, tune, serve, on any model of this project.

It speaks the shape of OpenAI's API, so that the official client and ``model=openai`` drive it. ``python -m ftsafety.provider`` starts one.
"""
