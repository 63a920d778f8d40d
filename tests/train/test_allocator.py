import resource
import subprocess
import sys

import pytest

_FAULTS = """
import resource, sys
import torch
from codenas.train.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
faults = []
for _ in range(24):
    torch.ones(16_000_000)  # 64 MB, freed at once
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
print(faults[-1] - faults[-9])  # the heap needs some rounds until it has found its shape
"""


def _page_faults(how: str) -> int:
    return int(subprocess.run([sys.executable, "-c", _FAULTS, how], capture_output=True, check=True, text=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_memory_that_was_freed_is_used_again_without_asking_the_system() -> None:
    pages = 64_000_000 // resource.getpagesize()

    assert _page_faults("keep") < pages // 10
    assert _page_faults("give back") > 7 * pages  # or the setting is not needed any more
