"""MetaWorld: fifty tasks of one arm, whose frames are drawn from stored state."""
