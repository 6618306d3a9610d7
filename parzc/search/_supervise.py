"""Run a shell command, and end it with everything it started as soon as standard input is closed.

`parzc.search.training` runs this file with the bare interpreter, as the leader of a process group of its own, and keeps
the other end of standard input: a search that is killed, in whatever way, takes its trainings with it. The exit status
is that of the command, 128 and the signal's number if a signal ended it, as shells have it.
"""

import os
import signal
import subprocess
import sys
import threading


def main() -> None:
    """Run the command that the first argument is."""
    child = subprocess.Popen(sys.argv[1], shell=True, stdin=subprocess.DEVNULL)
    threading.Thread(target=_end_with_the_search, args=(child,), daemon=True).start()
    status = child.wait()
    os._exit(status if status >= 0 else 128 - status)


def _end_with_the_search(child: subprocess.Popen[bytes]) -> None:
    while os.read(0, 1):
        pass
    end_group(os.getpid(), child.pid)


def end_group(leader: int, child: int) -> None:
    """End a process group at once; where there are none (Windows), the tree of processes below `child`."""
    if os.name == "posix":
        os.killpg(leader, signal.SIGKILL)
    else:
        subprocess.run(["taskkill", "/F", "/T", "/PID", str(child)], capture_output=True, check=False)
        os._exit(1)


if __name__ == "__main__":
    main()
