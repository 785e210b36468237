"""ERL-VLM: the online loop and its own parts, from the settings of a run to its table in a report."""
