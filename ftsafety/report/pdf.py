"""A chart's SVG file as a PDF beside it, for papers; CairoSVG draws it, which needs the system's cairo."""

from __future__ import annotations

import re
from pathlib import Path

from ftsafety.errors import ConfigError
from ftsafety.store.publish import publish_bytes

HALO = re.compile(r"\.halo \{[^}]*\}")
"""Light outlines of numbers on lines: CairoSVG would paint them over the numbers."""


def check() -> None:
    """Refuse what could not be drawn.

    Raises:
        ConfigError: CairoSVG or cairo is not installed.
    """
    try:
        import cairosvg  # noqa: F401
    except ImportError as error:
        raise ConfigError("--pdf needs CairoSVG, which is not installed; type pip install 'ftsafety[pdf]'.") from error
    except OSError as error:
        raise ConfigError(
            "--pdf needs the library cairo, which is not on this system; install libcairo2 (brew install cairo), or take the SVG files."
        ) from error


def write(svg: Path) -> Path:
    """Write the PDF of an SVG file, of the same name; returns its path."""
    import cairosvg

    path = svg.with_suffix(".pdf")
    publish_bytes(path, cairosvg.svg2pdf(bytestring=HALO.sub("", svg.read_text(encoding="utf-8")).encode()))
    return path
