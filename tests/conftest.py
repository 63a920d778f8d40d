"""One profile for all property tests: the same examples on every machine, and no deadline on a busy one."""

from hypothesis import settings

settings.register_profile("deterministic", derandomize=True, deadline=None, database=None, print_blob=True)
settings.load_profile("deterministic")
