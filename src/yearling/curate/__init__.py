"""Judgement: each judge leaves a verdict on each record; nothing is deleted."""
