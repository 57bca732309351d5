"""A plugin: weight edits after tuning as mitigations. ``conf/mitigation`` holds its options."""
