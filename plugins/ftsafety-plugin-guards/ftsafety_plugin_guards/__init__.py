"""A plugin: guard models as judges. ``conf/judge`` holds its options."""
