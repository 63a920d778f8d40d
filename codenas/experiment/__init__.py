"""One candidate to one budget: build, measure, train, store, score. The same code runs in a loop, on a cluster, on a GPU box.

What a candidate is worth is read from what was stored: the checkpoint is written first, pruned and in the storage of its design,
loaded again and scored. Training resumes from the full float32 state.
"""
