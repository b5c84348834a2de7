"""The exam: base, student and teacher on prompts that nobody was trained on.

stage    asks and scores every model, on the files that ship
exam     what was found, as values
report   the same for people: HTML, Markdown, a table
"""
