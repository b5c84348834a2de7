"""Data that somebody else made, brought into a run, and records taken out again.

files   a path to files, a file to rows: JSON array, JSON lines, CSV, Parquet
shapes  a row to the turns of a conversation: alpaca, sharegpt, messages, prompt-completion
read    a source of the recipe to records; what `format: auto` decided and why; the source's digest
write   records to a file in any of the formats
stage   all sources of a recipe to `records/` of a run
"""
