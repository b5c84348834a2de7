"""The press: a trained student leaves as files that other programs run.

gguf_file   a transformers model as a half-precision GGUF file
tokenizer   the tokenizer's part of that file, copied or rebuilt, and proved against llama.cpp
quantise    a smaller GGUF file from the half-precision one, and the file handling all three share
"""
