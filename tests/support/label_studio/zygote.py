"""A real Label Studio 0.8, loaded once and forked for each project: its imports take seconds, a fork none.

Usage: zygote.py, with the virtual environment's Python. Each line of the standard input is "PORT TAB PROJECT TAB LOG";
the answer is the process of a Label Studio that starts there, as `label-studio start PROJECT --port PORT` does. None of
Label Studio's code is changed. Ends with its standard input.
"""
import ctypes
import os
import signal
import sys

import label_studio.server as server

server.setup_default_logging_config()
import label_studio.blueprint as blueprint  # noqa: E402


def serve(port, project, log):
    # PR_SET_PDEATHSIG: it ends with this program, however that ends.
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (out, 1), (out, 2)):
        os.dup2(source, target)
    sys.argv = ["label-studio", "start", project, "--host", "localhost", "--port", port, "-b"]
    blueprint.main()


# Nobody waits for what is killed.
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
while True:
    # Not by the iterator, which reads ahead: a fork would inherit what it has read.
    line = os.read(0, 4096).decode()
    if not line:
        break
    child = os.fork()
    if child == 0:
        try:
            serve(*line.rstrip("\n").split("\t"))
        finally:
            os._exit(1)
    os.write(1, ("%d\n" % child).encode())
