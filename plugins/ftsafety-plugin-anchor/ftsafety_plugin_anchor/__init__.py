"""A plugin: mitigations that hold a tuning near the model it starts from. ``conf/mitigation`` holds its options."""
