# SPDX-License-Identifier: MPL-2.0
"""Processes that a test bed starts, their logs, and how to wait for something without sleeping blindly."""
import contextlib
import os
import re
import signal
import subprocess
import time

POLL = 0.02
slowness = 1        # how many times as long everything may take


class WaitTimeout(AssertionError):
    """Something that a test waited for did not happen in time."""


def wait_until(predicate, timeout, what):
    """Polls `predicate` until it returns something true, and returns that; fails with `what` after `timeout` s.

    `what` may be a function, so that the message can tell what was the case instead.
    """
    deadline = time.monotonic() + timeout * slowness
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > deadline:
            raise WaitTimeout(f"after {timeout} s still not: {what() if callable(what) else what}")
        time.sleep(POLL)


class Log:
    """A growing text file.

    `start` is where the present run of the program that writes it begins; searches begin there or at a mark() that
    the test took before it did what it expects to see logged.
    """

    def __init__(self, path):
        self.path = path
        self.start = 0

    def mark(self):
        """The position of the end, for `since`."""
        return os.path.getsize(self.path) if os.path.exists(self.path) else 0

    def text(self, since=None):
        if not os.path.exists(self.path):
            return ""
        with open(self.path, "rb") as file:
            file.seek(self.start if since is None else since)
            return file.read().decode(errors="replace")

    def find(self, pattern, since=None):
        """All matches of a regular expression (multi-line mode)."""
        return list(re.finditer(pattern, self.text(since), re.MULTILINE))

    def wait(self, pattern, timeout=10, since=None):
        """Waits for a regular expression and returns its first match."""
        found = wait_until(lambda: self.find(pattern, since), timeout,
                           lambda: f"a line like {pattern!r} in {self.path}, which ends\n{self.tail(10)}")
        return found[0]

    def tail(self, lines=60):
        return "\n".join(self.text(0).splitlines()[-lines:])


class Daemon:
    """One program in a namespace. It lives in a directory of its own, and can be stopped and started again.

    Within the program that directory has the path `host.self_path`, which is the same for all hosts of a test bed
    (a bind mount in the program's mount namespace): so two servers can have byte for byte the same configuration
    although they share a file system, as they would on two machines.
    """
    stop_signal = signal.SIGTERM
    clean_exits = (0,)

    def __init__(self, host, name):
        self.host = host
        self.name = name
        self.log = Log(os.path.join(host.path, f"{name}.log"))
        self.process = None
        self.paused = False
        self.prefix = []        # a command that is to run the program, e.g. valgrind

    def __str__(self):
        return f"{self.name} on {self.host.name}"

    @property
    def pid(self):
        return self.process.pid

    def spawn(self, arguments, environment=None):
        """Starts the program. It dies with this process (pdeathsig), should that be killed before it can clean up."""
        assert not self.is_alive(), f"{self} runs already"
        self.log.start = self.log.mark()
        self.paused = False
        enter = ["setpriv", "--pdeathsig", "KILL", "ip", "netns", "exec", self.host.namespace.name,
                 "sh", "-c", 'mount --bind "$1" "$2" && cd "$2" && shift 2 && exec "$@"',
                 "sh", self.host.path, self.host.self_path]
        settings = ["env"] + [f"{key}={value}" for key, value in (environment or {}).items()]
        with open(self.log.path, "ab") as log:
            # A session of its own, so that Ctrl-C at the terminal ends the tests but not the servers before them.
            self.process = subprocess.Popen(enter + settings + self.prefix + arguments, stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=subprocess.STDOUT, start_new_session=True)

    def is_alive(self):
        process = self.process      # which another thread may be about to end
        return process is not None and process.poll() is None

    def is_responsive(self):
        return self.is_alive() and not self.paused

    def is_idle(self):
        """Whether all its threads wait for something to happen, or are gone."""
        with contextlib.suppress(FileNotFoundError):
            for task in os.listdir(f"/proc/{self.pid}/task") if self.is_alive() else []:
                with open(f"/proc/{self.pid}/task/{task}/stat") as file:
                    if file.read().rpartition(")")[2].split()[0] != "S":
                        return False
        return True

    def signal(self, number):
        self.process.send_signal(number)

    def pause(self):
        """Freezes the program, as an overloaded or swapping host would."""
        self.signal(signal.SIGSTOP)
        self.paused = True

    def resume(self):
        self.signal(signal.SIGCONT)
        self.paused = False

    def kill9(self):
        """Ends it without a chance to clean up. (Its kernel still closes its connections; cut the link first to
        imitate a host that loses its power.)"""
        self.signal(signal.SIGKILL)
        self.process.wait()
        self.process = None

    def stop(self, timeout=10):
        """A clean stop. A program that died before, doesn't stop, or crashes while it does, fails the test."""
        process, self.process = self.process, None
        if process is None:
            return
        died = process.poll()
        if died is None:
            process.send_signal(self.stop_signal)
            process.send_signal(signal.SIGCONT)
            try:
                process.wait(timeout * slowness)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise WaitTimeout(f"{self} still ran {timeout} s after it was told to stop") from None
        how = "ended by itself" if died is not None else "was told to stop and ended"
        assert died is None and process.returncode in self.clean_exits, (
            f"{self} {how} with {exit_text(process.returncode)}; its log ends\n{self.log.tail(40)}")


def exit_text(code):
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
