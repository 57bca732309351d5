"""A finished run, told to people: the page ``report.html`` and the lines in the terminal."""

from ftsafety.report.page import write_report

__all__ = ["write_report"]
