"""Benchmark scores: read, joined with checkpoints, and their association with structure.

`neuromfa.scores.reading.read_scores` reads files of any known layout into one long table,
`neuromfa.scores.joining.join` finds the checkpoint of each score, and
`neuromfa.scores.association.associate` gives the statistics of the definitions, section 6.
"""
