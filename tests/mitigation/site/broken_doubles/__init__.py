"""A plugin of a mitigation that breaks what the battery checks."""
