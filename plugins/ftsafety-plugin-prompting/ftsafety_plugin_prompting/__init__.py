"""A plugin: mitigations at the prompt and at the answer. ``conf/mitigation`` holds its options."""
