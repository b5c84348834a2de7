"""Judgement: each judge leaves a verdict on each record; nothing is deleted.

stage           who is asked, again or not, and the counts
judges          all of them, in the order in which they speak
rows            what a judge of single rows sees and says
shape · endings · brevity · loops · merging · remains · refusal · language · reach · toxic   those judges
corpus          the records as columns, what judges say of them, and the verdict tables
reading         the step that reads each record once; engine, the door to Daft, runs it here or on a cluster
compare         the judges that compare: near, contamination, contradiction, semantic, choose; with families, vectors
marks           the teacher's marks
explain         why rows were kept or not; describe_stage, what they hold
"""
