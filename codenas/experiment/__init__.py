"""Training of candidates and winners: build, measure, train, store, score. The same code runs in this process and on a cluster.

A candidate is scored as it is stored: its checkpoint is written, pruned and quantised as its design says, loaded again
and scored. Training resumes from the full float32 state.
"""
