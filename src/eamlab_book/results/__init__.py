"""Everything stored that depends on the model or the weights, and how it is made: ``make results``.

Each result is a file, or a few, with the settings that make it and the names of what it needs. The
command says which of them are stale and how long they take, makes these in order, and goes on where
a killed run stopped.
"""
