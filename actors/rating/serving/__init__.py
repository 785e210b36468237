"""`likert serve`: the rating server over HTTP, for programs outside the cluster."""
