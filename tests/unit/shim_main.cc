// SPDX-License-Identifier: MPL-2.0
//
// Every log line is made, so that its arguments are tried, and written nowhere; KEA_LOGGER_DESTINATION=stdout
// shows them.
#include <cstdlib>
#include <gtest/gtest.h>
#include <log/logger_support.h>

int main(int argc, char **argv) {
    testing::InitGoogleTest(&argc, argv);
    setenv("KEA_LOCKFILE_DIR", "none", 0);
    setenv("KEA_LOGGER_DESTINATION", "/dev/null", 0);
    isc::log::initLogger();
    return RUN_ALL_TESTS();
}
