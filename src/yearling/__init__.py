"""yearling."""
