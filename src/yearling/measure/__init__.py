"""What several stages need to know about texts and records: tokens, novelty, what was accepted, the split."""
