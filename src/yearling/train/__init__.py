"""School: the student learns the accepted rows of the train split.

stage       rows, mask proof, base and adapter, adapter proof
fitting     base and adapter on the device, if they fit
loop        updates of the weights, watched, saved, gone on with
batches     which rows make which update
loss        logits only where labels are
guards      what stops a training that has gone wrong
ranks       several processes that train as one
room        how much memory there is, and how updates are cut to fit it
probe       would more data, more epochs or a larger student help?
checkpoint  files that are whole or not there
proof       the saved adapter is not empty, loads in a fresh process, keeps the loss, and changes the base
"""
