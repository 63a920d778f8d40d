"""Numbers of one model: each is measured, none is estimated."""
