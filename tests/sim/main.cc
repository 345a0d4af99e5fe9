// SPDX-License-Identifier: MPL-2.0
//
// The simulator as a program. Without arguments it runs as a googletest; with --seed N it shows one run, with --seeds
// or --seconds it runs many and tells what it did.
#include <chrono>
#include <cstring>

#include "simulation.h"
#include "small_world.h"

using namespace failover_sim;

namespace {

struct Options {
    uint64_t first = 1;
    uint64_t seeds = 0;
    int64_t seconds = 0;
    bool one = false;
    uint32_t watched = 0;
    int depth = 0; // of the small world
    std::string start, path;
};

uint64_t number(const char *text) {
    return strtoull(text, nullptr, 10);
}

bool parse(int argc, char **argv, Options &options) {
    for (int i = 1; i < argc; i++) {
        std::string name = argv[i];
        if (i + 1 == argc) {
            return false;
        }
        uint64_t value = number(argv[++i]);
        std::string word = argv[i];
        if (name == "--seed") {
            options.first = value;
            options.seeds = 1;
            options.one = true;
        } else if (name == "--watch") {
            options.watched = failover_test::POOL_FIRST + uint32_t(value);
        } else if (name == "--first") {
            options.first = value;
        } else if (name == "--seeds") {
            options.seeds = value;
        } else if (name == "--seconds") {
            options.seconds = int64_t(value);
        } else if (name == "--small-world") {
            options.depth = int(value);
        } else if (name == "--start") {
            options.start = word;
        } else if (name == "--path") {
            options.path = word;
        } else {
            return false;
        }
    }
    return true;
}

int run(const Options &options) {
    auto end = std::chrono::steady_clock::now() + std::chrono::seconds(options.seconds);
    auto go_on = [&](uint64_t seed) {
        return options.seconds > 0 ? std::chrono::steady_clock::now() < end : seed < options.first + options.seeds;
    };
    Tally all;
    int failed = 0;
    for (uint64_t seed = options.first; go_on(seed); seed++) {
        Simulation simulation(seed, options.one, options.watched);
        std::string why = simulation.run();
        all.add(simulation.tally);
        if (!why.empty() && !options.one) {
            failed++;
            printf("%s\n", why.c_str());
        }
    }
    printf("%s\n%d failed\n", all.text().c_str(), failed);
    return failed > 0 ? 1 : 0;
}

// Every start, or the one that was named; with a path only that one.
int run_small_world(const Options &options) {
    int failed = 0;
    for (const Start &start : starts()) {
        if (!options.start.empty() && options.start != start.name) {
            continue;
        }
        if (!options.path.empty()) {
            std::vector<Event> path;
            std::string why = parse_path(options.path, path) ? replay(start, path, true) : "no such path\n";
            printf("%s", why.c_str());
            return why.empty() ? 0 : 1;
        }
        Exploration found = explore(start, options.depth, 100);
        for (const std::string &failure : found.failures) {
            printf("%s\n", failure.c_str());
        }
        printf("%s: %s\n", start.name.c_str(), found.text().c_str());
        fflush(stdout);
        failed += int(found.failures.size());
    }
    return failed > 0 ? 1 : 0;
}

} // namespace

int main(int argc, char **argv) {
    ::testing::InitGoogleTest(&argc, argv);
    Options options;
    if (!parse(argc, argv, options)) {
        fprintf(stderr,
                "usage: %s [--seed N [--watch NUMBER-OF-ADDRESS] | [--first N] --seeds N | [--first N] --seconds N]\n",
                argv[0]);
        return 2;
    }
    if (options.depth > 0 || !options.path.empty()) {
        return run_small_world(options);
    }
    return argc == 1 ? RUN_ALL_TESTS() : run(options);
}
