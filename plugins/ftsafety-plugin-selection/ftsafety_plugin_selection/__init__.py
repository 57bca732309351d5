"""Attacks whose rows are harmless: which rows are chosen, or how they are put, is the attack."""
