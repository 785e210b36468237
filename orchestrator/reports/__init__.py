"""Tables, figures and intervals over runs, from their folders alone."""
