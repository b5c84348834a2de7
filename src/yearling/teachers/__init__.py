"""The only door to a teacher.

teacher   what a teacher is: a question in, an answer out; opens one from the recipe
wire      the OpenAI wire format over httpx, for any endpoint that speaks it and for the local server
ask       many questions at once, through the ledger: planned, reserved, sent, settled
"""
