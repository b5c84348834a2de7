"""The only owner of model, tokenizer and chat template.

template   the one Jinja template: renders text for training, evaluation, chat and serving (no torch)
rows       tokens and label masks from one rendering, and the mask proof (no torch)
load       base model and tokenizer from the hub, a folder or a GGUF file
trained    base plus adapter, or a model tuned whole, read back from a folder
"""
