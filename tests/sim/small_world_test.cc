// SPDX-License-Identifier: MPL-2.0
//
// The small world as tests, one for each start, FAILOVER_SIM_DEPTH deep (4 by default).
#include "small_world.h"

using namespace failover_sim;

namespace {

class SmallWorlds : public ::testing::TestWithParam<Start> {};

TEST_P(SmallWorlds, NoPathBreaksARule) {
    const char *depth = getenv("FAILOVER_SIM_DEPTH");
    Exploration found = explore(GetParam(), depth != nullptr ? atoi(depth) : 4);
    for (const std::string &failure : found.failures) {
        ADD_FAILURE() << failure;
    }
    EXPECT_GT(found.states, 30u) << "so few that nothing was tried";
    EXPECT_LT(found.excepted, found.states / 4);
    printf("%s\n", found.text().c_str());
}

std::string name_of(const ::testing::TestParamInfo<Start> &info) {
    std::string name = info.param.name;
    std::replace(name.begin(), name.end(), '-', '_');
    return name;
}

INSTANTIATE_TEST_SUITE_P(From, SmallWorlds, ::testing::ValuesIn(starts()), name_of);

} // namespace
