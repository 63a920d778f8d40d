"""A Ray cluster of our own on this machine: started, watched, and cleaned up after."""
