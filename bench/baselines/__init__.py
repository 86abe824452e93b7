"""Other people's speculators, as baselines on our engine: measured against, never served."""
