"""Birth: the teacher writes instructions, then answers them.

draft    an instruction that has no answer yet, and what is wrong with a bad one
magpie   the teacher's own template, opened at the user's turn
alpaca   seed tasks as demonstrations, several new tasks a call
stage    the rounds: plan, ask, filter, answer, write
"""
