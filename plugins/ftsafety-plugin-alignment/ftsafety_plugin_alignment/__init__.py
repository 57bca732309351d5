"""A plugin: mitigations that act while a model is aligned, before anybody fine-tunes it. ``conf/mitigation`` holds its options."""
