"""Judges: processes of pytest with the laws, one per student; and whether they can protect this machine at all."""

import os
import subprocess
import tempfile
import threading
from pathlib import Path

from minimaskgit.common.errors import UserError
from minimaskgit.grading.confinement import Limits
from minimaskgit.grading.laws import ROOT
from minimaskgit.grading.sandbox import STARTING, Answers, JudgeError, Sandbox, StudentError

# An honest file, to try the sandbox with.
HONEST = "import numpy.random, torch\ndef one():\n    return torch.rand(9, 9).softmax(-1).sum() / 9\n"


def protection(memory: int) -> dict:
    """Which protection works on this machine, tried before any student's code runs; UserError if none can be graded."""
    if not hasattr(os, "fork"):
        raise UserError(
            "nobody can be graded on this system: students' code runs in forks, which Windows lacks; use WSL"
        )
    with tempfile.TemporaryDirectory(prefix="grading-") as folder:
        os.chmod(folder, 0o711)  # a student's process may run as another user
        try:
            sandbox = Sandbox(Limits(memory), Path(folder), [ROOT])
            try:
                honest = Answers("lesson_0.py", HONEST, {}, sandbox, (STARTING, STARTING))
                honest.begin()
                honest.one()
            finally:
                sandbox.close()
        except (JudgeError, StudentError) as error:
            raise UserError(f"nobody can be graded: the sandbox failed to run a test function: {error}") from None
        return sandbox.protection


class Judges:
    """The running judge processes, so that they can be stopped."""

    def __init__(self):
        self.running: set[subprocess.Popen] = set()
        self.stopped, self.lock = False, threading.Lock()

    def run(self, command: list[str], environment: dict[str, str], seconds: float) -> tuple[int, str]:
        """Run a judge; returns its exit code and its last line of output."""
        with self.lock:
            if self.stopped:
                raise KeyboardInterrupt
            streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
            process = subprocess.Popen(
                command, cwd=ROOT, env=environment, start_new_session=True, text=True, errors="replace", **streams
            )
            self.running.add(process)
        try:
            output, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()  # the sandbox notices, and kills the student's processes
            output, _ = process.communicate()
        finally:
            with self.lock:
                self.running.discard(process)
        return process.returncode, next(reversed(output.strip().splitlines()), "")

    def stop(self) -> None:
        with self.lock:
            self.stopped = True
            for process in self.running:
                process.kill()
