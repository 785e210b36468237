"""Pictures of what raters said and of what was learned from it, as papers print them; each with its numbers."""
