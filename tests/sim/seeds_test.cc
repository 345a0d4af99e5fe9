// SPDX-License-Identifier: MPL-2.0
//
// The simulator as tests: FAILOVER_SIM_SEEDS of them (200 by default), in blocks.
#include "simulation.h"

using namespace failover_sim;

namespace {

constexpr int BLOCKS = 10;

uint64_t seeds_of_a_block() {
    const char *seeds = getenv("FAILOVER_SIM_SEEDS");
    return (seeds != nullptr ? strtoull(seeds, nullptr, 10) : 200) / BLOCKS;
}

class Seeds : public ::testing::TestWithParam<int> {};

TEST_P(Seeds, NoTwoClientsHoldOneAddress) {
    uint64_t count = seeds_of_a_block();
    ASSERT_GT(count, 0u) << "FAILOVER_SIM_SEEDS is less than " << BLOCKS;
    Tally all;
    for (uint64_t seed = uint64_t(GetParam()) * count + 1; seed <= uint64_t(GetParam() + 1) * count; seed++) {
        Simulation simulation(seed);
        EXPECT_EQ("", simulation.run());
        all.add(simulation.tally);
    }
    EXPECT_GT(all.grants, 10 * count) << "so few that nothing was tried";
    printf("%s\n", all.text().c_str());
}

INSTANTIATE_TEST_SUITE_P(Simulator, Seeds, ::testing::Range(0, BLOCKS));

} // namespace
