"""A plugin: the judge ``length``. The package named by the entry point holds ``conf/<group>/<option>.yaml``."""
