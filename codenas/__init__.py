"""CodeNAS: find, train and serve the best code-completion model inside a size and latency limit."""

__version__ = "0.1.0"
