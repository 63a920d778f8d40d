"""The search as pure rules: no torch, no Ray. Strategies propose, rungs promote, the history remembers."""
