"""The acceptance card of a defense: what has been shown of it, against criteria that were fixed beforehand, from finished runs' records alone.

``python -m ftsafety.card lisa RUNS`` writes ``card-lisa.html`` and ``card-lisa.json``. Seven sections each end in passed, failed or not shown, and
the card passes only if all of them did. A section that is not shown says what is missing and the command that computes it.
"""
