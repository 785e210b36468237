"""`likert pocket train`: the raters that ship with the package, from nothing."""
