# SPDX-License-Identifier: MPL-2.0
"""pytest's set-up for the tests in system/ and cases/, which share the modules in system/: options, fixtures, logs of
failed tests, and the unit-test programs."""
import os
import signal
import time

import pytest

import googletest
import process
from configuration import NO_MCLT_WARNING
from hook import normal_pair, pair_config, wait_states
from kea import Kea
from testbed import Testbed
from watch import VALGRIND, sanitizers

HERE = os.path.dirname(os.path.abspath(__file__))
BUILT_LIBRARY = os.path.join(HERE, "..", ".libs", "libdhcp_failover.so")


def pytest_addoption(parser):
    group = parser.getgroup("failover")
    group.addoption("--library", metavar="PATH", default=os.environ.get("FAILOVER_LIBRARY", BUILT_LIBRARY),
                    help="the hook library (default: $FAILOVER_LIBRARY, else the one built in this tree)")
    group.addoption("--long", action="store_true", help="run the tests marked long too")
    group.addoption("--keep", action="store_true", help="keep each test's directory with logs and lease files")
    group.addoption("--gtest", metavar="PROGRAM", action="append", default=[],
                    help="run this googletest program and report each of its cases (repeatable). Before this and "
                         "--library name a test file or directory, or write --gtest=PROGRAM: pytest reads this "
                         "option's name from there")
    group.addoption("--sanitized", metavar="PATH", action="append", default=[],
                    help="a hook library that was built with a sanitizer, for the tests that run with such ones too "
                         "(repeatable). As --library it serves for any test")
    group.addoption("--valgrind", action="store_true", help="run kea-dhcp4 under valgrind; everything may take longer")
    group.addoption("--kills", metavar="NUMBER", type=int, default=5, help="how often servers are killed under load")
    group.addoption("--seed", metavar="NUMBER", type=int, default=int(time.time()), help="of what is left to chance")


def pytest_configure(config):
    if config.getoption("valgrind"):
        Kea.wrapper = VALGRIND
        process.slowness = 10
    config.addinivalue_line("markers", "long: takes minutes; only run with --long")
    # As with Ctrl-C the test beds must be cleaned up if pytest is told to stop.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session, config, items):
    items[:0] = googletest.collect(session, config.getoption("gtest"))      # -k and -m are applied after this
    if not config.getoption("long"):
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(pytest.mark.skip(reason="takes long: needs --long"))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.failed:
        report.sections.extend(Testbed.all_logs())


@pytest.fixture
def library(request):
    """The path of the hook library."""
    path = os.path.abspath(request.config.getoption("library"))
    assert os.path.exists(path), f"{path} is not there: build it, or use --library"
    return path


def pytest_generate_tests(metafunc):
    if "any_library" in metafunc.fixturenames:
        libraries = [metafunc.config.getoption(name) for name in ("library", "sanitized")]
        metafunc.parametrize("any_library", [os.path.abspath(path) for path in [libraries[0], *libraries[1]]],
                             ids=lambda path: "+".join(sanitizers(path)) or "plain")


@pytest.fixture
def bed(request):
    """A test bed of its own for each test. Its end fails the test if a server died or didn't stop properly."""
    with Testbed(keep=request.config.getoption("keep")) as testbed:
        yield testbed
        if testbed.keep:
            print(f"kept: {testbed.path}")


@pytest.fixture
def pair(request, bed, library):
    """A pair in normal, with the module's MCLT and LEASE."""
    return normal_pair(bed, library, {"mclt": request.module.MCLT, "startup_delay": 1},
                       valid_lifetime=request.module.LEASE)


@pytest.fixture
def server(request, bed, library):
    """One server whose partner never came, with the module's MCLT."""
    parameters = {"mclt": request.module.MCLT, "startup_delay": 1}
    server, = bed.start_all(bed.kea("srv1", pair_config(bed, library, parameters)))
    wait_states("recover", server)
    return server


@pytest.fixture(scope="module")
def shared_bed(request):
    """One test bed for all tests of a file that only start a server, which mostly fails."""
    with Testbed(keep=request.config.getoption("keep")) as bed:
        yield bed


@pytest.fixture
def kea(shared_bed, library):
    """A server of the shared bed, not started, with a good configuration."""
    server = shared_bed.kea("srv1", pair_config(shared_bed, library, {"mclt": NO_MCLT_WARNING}))
    yield server
    server.stop()
    shared_bed.programs.remove(server)


@pytest.fixture
def lonely(bed, library):
    """The primary of a pair that was in normal; its partner is down, and the partner's address is free to be used."""
    primary, secondary = normal_pair(bed, library)
    secondary.stop()
    bed.programs.remove(secondary)
    wait_states("communications-interrupted", primary)
    return primary
