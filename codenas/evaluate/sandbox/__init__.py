"""The sandbox in which generated code runs: it computes, and can do nothing else.

The generated code runs in one process, the tests in another that never executes it: only values pass between them, as plain data, so
that an object which claims to equal everything, a forged exit code or a patched `assert` cannot pass a test. Both processes have neither
files, network nor child processes (Landlock, seccomp, resource limits, a user of their own), and are killed at the deadline.
"""

from codenas.evaluate.sandbox.sandbox import Outcome, Program, Sandbox, SandboxLimits, missing_features

__all__ = ["Outcome", "Program", "Sandbox", "SandboxLimits", "missing_features"]
