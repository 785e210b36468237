"""What a run tells of itself: counts, metrics, and audits for people to read."""
