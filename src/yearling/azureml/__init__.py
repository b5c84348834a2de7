"""Runs as jobs of Azure ML: what they are made of, submitted, watched; what has to be set up first."""
