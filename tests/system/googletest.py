# SPDX-License-Identifier: MPL-2.0
"""Every googletest case of a program as a pytest item, so that one closing line counts everything.

The program runs once, when the first of its cases is due. If it ends as it should its JSON report is read; if it dies
on the way, what it printed tells which cases were over.
"""
import json
import os
import re
import subprocess
import tempfile

import pytest

from process import exit_text

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"


def list_cases(program):
    """Full names, Suite.Case, as --gtest_filter knows them."""
    done = subprocess.run([program, "--gtest_list_tests"], capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise pytest.UsageError(f"{program} --gtest_list_tests failed: {done.stdout}{done.stderr}")
    cases, suite = [], ""
    for line in done.stdout.splitlines():
        name = line.split("#")[0].rstrip()
        if name.endswith(".") and not name.startswith(" "):
            suite = name
        elif name.startswith("  ") and suite:
            cases.append(suite + name.strip())
    return cases


def read_report(path):
    """{case: (outcome, text)}"""
    with open(path) as file:
        report = json.load(file)
    results = {}
    for suite in report["testsuites"]:
        for case in suite["testsuite"]:
            outcome, text = PASSED, ""
            if "failures" in case:
                outcome, text = FAILED, "\n".join(failure["failure"] for failure in case["failures"])
            elif case["status"] == "NOTRUN":
                outcome, text = SKIPPED, "disabled"
            elif case["result"] == "SKIPPED":
                outcome, text = SKIPPED, "\n".join(reason["message"] for reason in case.get("skipped", []))
            results[f"{suite['name']}.{case['name']}"] = outcome, text
    return results


def read_output(output):
    """The same, as far as it can be told from what a program printed before it died."""
    results = {}
    marks = {"OK": PASSED, "FAILED": FAILED, "SKIPPED": SKIPPED}
    for name, text, mark in re.findall(r"\[ RUN      \] (\S+)\n(.*?)\[ +(OK|FAILED|SKIPPED) +\] \1 ", output,
                                       re.DOTALL):
        results[name] = marks[mark], text
    return results


class Program:
    """A unit-test program and, once it ran, its results."""

    def __init__(self, path):
        self.path = os.path.abspath(path)
        self.cases = list_cases(self.path)
        self.results = None
        self.ending = ""            # what was wrong with its end

    def run(self):
        if self.results is not None:
            return
        with tempfile.TemporaryDirectory() as folder:
            report = os.path.join(folder, "report.json")
            done = subprocess.run([self.path, f"--gtest_output=json:{report}", "--gtest_color=no"], text=True,
                                  errors="replace", stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  stdin=subprocess.DEVNULL)
            complete = os.path.exists(report)
            self.results = read_report(report) if complete else read_output(done.stdout)
        how = exit_text(done.returncode)
        for case in self.cases:
            if case not in self.results:
                disabled = re.search(r"(^|[./])DISABLED_", case)
                lost = FAILED, f"not over when {self.path} ended with {how}"
                self.results[case] = (SKIPPED, "disabled") if disabled else lost
        failed = any(outcome == FAILED for outcome, _ in self.results.values())
        if done.returncode != (1 if failed else 0) or not complete:
            self.ending = f"{self.path} ended with {how}; its output ends\n{done.stdout[-4000:]}"


class Case(pytest.Item):
    """One case."""

    def __init__(self, *, program, case, **keywords):
        super().__init__(**keywords)
        self.program = program
        self.case = case

    def runtest(self):
        self.program.run()
        outcome, text = self.program.results[self.case]
        if outcome == SKIPPED:
            pytest.skip(text or "skipped")
        if outcome == FAILED:
            pytest.fail(text, pytrace=False)

    def reportinfo(self):
        return self.program.path, None, self.name


class Ending(pytest.Item):
    """That the program ended in order: a sanitizer's complaint at the very end belongs to no case."""

    def __init__(self, *, program, **keywords):
        super().__init__(**keywords)
        self.program = program

    def runtest(self):
        self.program.run()
        if self.program.ending:
            pytest.fail(self.program.ending, pytrace=False)

    def reportinfo(self):
        return self.program.path, None, self.name


def collect(session, paths):
    """The items of these programs."""
    items = []
    for path in paths:
        program = Program(path)
        name = os.path.basename(path)
        first = len(items)
        for case in program.cases:
            items.append(Case.from_parent(session, name=f"{name}::{case}", program=program, case=case))
        items.append(Ending.from_parent(session, name=f"{name}::ends in order", program=program))
        for item in items[first:]:
            item.add_marker(pytest.mark.xdist_group(name))      # where tests run side by side: the program runs once
    return items
