# SPDX-License-Identifier: MPL-2.0
"""What a DORA costs a server: instructions and system calls, which repeat where rates don't."""
import os
import re
import signal
import subprocess
import time

PERF_EVENT = "instructions:u"


def has_instruction_counter():
    """Few virtual machines have one."""
    done = subprocess.run(["perf", "stat", "-x,", "-e", PERF_EVENT, "true"], capture_output=True, text=True)
    return bool(re.search(r"^\d+,", done.stderr, re.MULTILINE))


def has_call_counter():
    done = subprocess.run(["perf", "stat", "-x,", "-e", "raw_syscalls:sys_enter", "true"], capture_output=True, text=True)
    return bool(re.search(r"^\d+,", done.stderr, re.MULTILINE))


class PerfStat:
    """Counts one event in a process while the block runs."""

    def __init__(self, pid, event):
        self._command = ["perf", "stat", "-x,", "-e", event, "-p", str(pid)]
        self.count = None

    def __enter__(self):
        self._process = subprocess.Popen(self._command, stderr=subprocess.PIPE, text=True)
        time.sleep(0.5)         # it tells nobody when it has begun
        return self

    def __exit__(self, *_):
        self._process.send_signal(signal.SIGINT)
        _, text = self._process.communicate()
        found = re.search(r"^(\d+),", text, re.MULTILINE)
        self.count = int(found[1]) if found else None


class Strace:
    """Counts system calls by name in a process while the block runs; a traced server is some ten times slower."""

    def __init__(self, pid, path):
        self._command = ["strace", "-f", "-c", "-o", path, "-p", str(pid)]
        self._path = path
        self.calls = {}

    def __enter__(self):
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        time.sleep(1)
        return self

    def __exit__(self, *_):
        self._process.send_signal(signal.SIGINT)
        self._process.wait()
        with open(self._path) as file:
            for line in file:
                fields = line.split()
                if len(fields) >= 5 and fields[0].replace(".", "").isdigit() and fields[-1] != "total":
                    self.calls[fields[-1]] = int(fields[3])

    @property
    def count(self):
        return sum(self.calls.values())


def callgrind(path):
    """The command that a server is run by."""
    return ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={path}", "--fair-sched=yes"]


class Callgrind:
    """Counts a server's instructions that was started by callgrind(), while the block runs."""

    def __init__(self, pid, path):
        self.pid = pid
        self.path = path
        self.count = None

    def _control(self, *arguments):
        subprocess.run(["callgrind_control", *arguments, str(self.pid)], check=True, capture_output=True, timeout=60)

    def __enter__(self):
        self._control("-i", "on")
        self._control("-z")
        return self

    def __exit__(self, *_):
        before = set(os.listdir(os.path.dirname(self.path)))
        self._control("-d")
        self._control("-i", "off")
        dumps = [name for name in set(os.listdir(os.path.dirname(self.path))) - before
                 if name.startswith(os.path.basename(self.path))]
        self.dump = os.path.join(os.path.dirname(self.path), sorted(dumps)[-1])
        with open(self.dump) as file:
            self.count = sum(int(number) for number in re.findall(r"^summary: (\d+)", file.read(), re.MULTILINE))

    def functions(self, pattern, limit=40):
        """[(instructions, function)] of the most expensive ones of a library, with all that they call."""
        done = subprocess.run(["callgrind_annotate", "--inclusive=yes", "--threshold=100", self.dump],
                              capture_output=True, text=True)
        rows = re.findall(r"^\s*([\d,]+) \(\s*[\d.]+%\)\s+(\S.*)$", done.stdout, re.MULTILINE)
        return [(int(count.replace(",", "")), re.sub(r" \[.*|^.*\?\?:", "", name)) for count, name in rows
                if re.search(pattern, name)][:limit]
