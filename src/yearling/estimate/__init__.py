"""What a recipe will cost, told before the money is spent.

pilot     the few calls that are asked for it: the first that the run will make
evidence  what the ledger answers of the plan, request by request
rounds    the rest of the run's rounds, played many times over with what was seen
pace      how long calls take when as many fly as will
exam      the teacher's part of the exam
numbers   low, expected and high of it
school    what training will take of this machine: memory, time, money
budget    whether the recipe's caps bear it, and which binds first
stage     all of it in order
view      the same for people
"""
