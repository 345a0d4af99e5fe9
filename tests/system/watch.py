# SPDX-License-Identifier: MPL-2.0
"""What watches kea-dhcp4 while it runs: the sanitizers that the hook was built with, or valgrind (--valgrind).

Kea is not ours, and not built for it. So a leak, a race or an error of valgrind's counts where the hook is in its stack.
"""
import functools
import os
import re
import subprocess
import tempfile

VALGRIND = ["valgrind", "--quiet", "--leak-check=full", "--show-leak-kinds=definite", "--errors-for-leak-kinds=definite",
            # The hook is unloaded before leaks are looked for.
            "--keep-debuginfo=yes", "--fullpath-after=", "--num-callers=40"]
OURS = re.compile(r"libdhcp_failover|/(hook|shim)/\w+\.(c|cc|h):\d")

# Kea counts down the references to a packet, and the last one destroys what the hook has put there. It counts by atomic
# operations, which a sanitizer of threads doesn't see: Kea isn't built with it.
SUPPRESSIONS = "race:~holder"

# libp11-kit, which Kea has by way of its databases' clients, frees a locale at the exit and waits for ever for a lock of
# the C library's if a sanitizer is there.
NO_FREELOCALE = "void freelocale(void *locale) { (void)locale; }"

OPTIONS = {
    # Containers that Kea fills and the hook reads (or the other way round) seem to overflow.
    "ASAN_OPTIONS": "abort_on_error=1:detect_container_overflow=0:fast_unwind_on_malloc=0:malloc_context_size=40",
    # Kea leaks too; which leaks count is judged by the log.
    "LSAN_OPTIONS": "exitcode=0",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    "TSAN_OPTIONS": "exitcode=0:ignore_noninstrumented_modules=1:history_size=5",
}


def sanitizers(library):
    """The names of the sanitizers that this library was built with. libtool doesn't link it to their runtimes."""
    if not os.path.exists(library):
        return []       # for Kea to complain of
    symbols = subprocess.run(["nm", "-D", "--undefined-only", library], capture_output=True, text=True,
                             check=True).stdout
    return [name for name in ("asan", "tsan", "ubsan") if f" __{name}_" in symbols]


def runtime(sanitizer):
    found = subprocess.run(["cc", f"-print-file-name=lib{sanitizer}.so"], capture_output=True, text=True,
                           check=True).stdout.strip()
    return os.path.realpath(found)


@functools.cache
def files():
    """(suppressions, a library without freelocale); they are there as long as this process."""
    files.folder = tempfile.TemporaryDirectory(prefix="failover-watch-")
    suppressions, library = (os.path.join(files.folder.name, name) for name in ("suppressions", "no_freelocale.so"))
    with open(suppressions, "w") as file:
        file.write(SUPPRESSIONS + "\n")
    subprocess.run(["cc", "-w", "-shared", "-fPIC", "-x", "c", "-", "-o", library], input=NO_FREELOCALE, text=True,
                   check=True)
    return suppressions, library


def environment(libraries):
    """What a program that loads these hook libraries must be started with."""
    needed = [runtime(name) for library in libraries for name in sanitizers(library)]
    if not needed:
        return {}
    suppressions, library = files()
    return {"LD_PRELOAD": ":".join([*needed, library]), **OPTIONS,
            "TSAN_OPTIONS": f"{OPTIONS['TSAN_OPTIONS']}:suppressions={suppressions}"}


def merged(watching, more):
    """Two environments, of which both may preload libraries: the sanitizers' come first."""
    preload = ":".join(filter(None, (one.get("LD_PRELOAD") for one in (watching, more))))
    return {**watching, **more, **({"LD_PRELOAD": preload} if preload else {})}


def findings(text):
    """The reports in a log that count."""
    memory = re.findall(r"^==\d+==ERROR: AddressSanitizer.*?^SUMMARY:.*?$", text, re.MULTILINE | re.DOTALL)
    # A dot that were a line's end too would be looked for through the whole log from each of its lines.
    memory += re.findall(r"^.*(?:runtime error:|DEADLYSIGNAL).*$", text, re.MULTILINE)
    leaks = re.findall(r"^(?:Direct|Indirect) leak of .*?\n\n", text, re.MULTILINE | re.DOTALL)
    races = re.findall(r"^WARNING: ThreadSanitizer:.*?^SUMMARY:.*?$", text, re.MULTILINE | re.DOTALL)
    # A block ends with a line that holds the process's number only.
    valgrinds = re.findall(r"^==\d+== \S.*?^==\d+== *$", text, re.MULTILINE | re.DOTALL)
    return memory + [report for report in leaks + races + valgrinds if OURS.search(report)]
