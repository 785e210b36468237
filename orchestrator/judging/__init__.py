"""`likert judge`: how well raters tell completed trajectories from others."""
