"""What reads training rows before anything is tuned on them, and says how suspicious each is."""

from ftsafety.screen.base import Screen
from ftsafety.screen.screened import Screened, screened

__all__ = ["Screen", "Screened", "screened"]
