"""A plugin of defenses that are known to be worthless, and of one that stands for an ideal one in records made by code."""
