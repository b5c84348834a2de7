"""Data that somebody else made, brought into a run, and records taken out again.

files          a path to files, a file to rows: JSON array, JSON lines, CSV, Parquet
shapes         a row to the turns of a conversation: alpaca, sharegpt, messages, prompt-completion, p3, oig
dialogue       turns written as one marked text; the last question of a conversation
stackexchange  Posts.xml to questions, alone or with their accepted answers; markup: their HTML to text
runs           the accepted records of another run
plan           what `format: auto` decided and why
read           a source of the recipe to records; the source's digest
write          records to a file in any of the formats
stage          all sources of a recipe to `records/` and `prompts/` of a run
"""
