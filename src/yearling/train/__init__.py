"""School: the student learns the accepted rows of the train split.

stage   rows, mask proof, TRL and PEFT, checkpoints, adapter proof
proof   the saved adapter is not empty, reloads, keeps the loss, and changes the base
"""
