"""Runs commands and times them, from a process too small to show in their memory.

A child's peak counts what its parent held when it forked, so the harness, which is larger than some contenders, must
not be that parent. Each line on standard input is a command as a JSON list; its answer is a line of ``[status, seconds,
peak_mib]``.
"""

import json
import os
import subprocess
import sys
import time

# Kilobytes on Linux, bytes on macOS.
RSS_UNIT = 1024 if sys.platform == "darwin" else 1

for line in sys.stdin:
    began = time.perf_counter()
    process = subprocess.Popen(json.loads(line), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    print(json.dumps([process.returncode, seconds, usage.ru_maxrss / RSS_UNIT / 1024]), flush=True)
