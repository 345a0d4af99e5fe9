// SPDX-License-Identifier: MPL-2.0
//
// The simulator as a program. Without arguments it runs as a googletest; with --seed N it shows one run, with --seeds
// or --seconds it runs many and tells what it did; --small-world tries every path of events.
#include <atomic>
#include <chrono>
#include <cstring>
#include <functional>
#include <mutex>
#include <thread>

#include "simulation.h"
#include "small_world.h"

using namespace failover_sim;

namespace {

struct Options {
    const char *program = "";
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

// Calls `what` on as many threads as there are cores.
void on_all_cores(const std::function<void()> &what) {
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < std::max(1u, std::thread::hardware_concurrency()); i++) {
        threads.emplace_back(what);
    }
    for (std::thread &thread : threads) {
        thread.join();
    }
}

int run(const Options &options) {
    auto end = std::chrono::steady_clock::now() + std::chrono::seconds(options.seconds);
    auto go_on = [&](uint64_t seed) {
        return options.seconds > 0 ? std::chrono::steady_clock::now() < end : seed < options.first + options.seeds;
    };
    Tally all;
    std::vector<uint64_t> failed;
    std::mutex mutex;
    std::atomic<uint64_t> next{options.first};
    on_all_cores([&] {
        for (uint64_t seed; go_on(seed = next++);) {
            Simulation simulation(seed, options.one, options.watched);
            std::string why = simulation.run();
            std::lock_guard<std::mutex> lock(mutex);
            all.add(simulation.tally);
            if (!why.empty()) {
                failed.push_back(seed);
                printf("%s\n", options.one ? "" : why.c_str());
                fflush(stdout);
            }
        }
    });
    printf("%s\n%zu failed\n", all.text().c_str(), failed.size());
    for (uint64_t seed : failed) {
        printf("again: %s --seed %llu\n", options.program, static_cast<unsigned long long>(seed));
    }
    return failed.empty() ? 0 : 1;
}

int run_path(const Options &options) {
    for (const Start &start : starts()) {
        std::vector<Event> path;
        if (start.name == options.start && parse_path(options.path, path)) {
            std::string why = replay(start, path, true);
            printf("%s\n", why.empty() ? "ok" : why.c_str());
            return why.empty() ? 0 : 1;
        }
    }
    fprintf(stderr, "no such start or path\n");
    return 2;
}

// From every start, or from the one that was named.
int run_small_world(const Options &options) {
    Exploration all;
    std::mutex mutex;
    std::atomic<size_t> next{0};
    on_all_cores([&] {
        for (size_t i; (i = next++) < starts().size();) {
            const Start &start = starts()[i];
            if (!options.start.empty() && options.start != start.name) {
                continue;
            }
            Exploration found = explore(start, options.depth);
            std::lock_guard<std::mutex> lock(mutex);
            for (const std::string &failure : found.failures) {
                printf("%s\n", failure.c_str());
            }
            if (!options.start.empty() || !found.failures.empty()) {
                printf("%s: %s\n", start.name.c_str(), found.text().c_str());
                fflush(stdout);
            }
            all.add(found);
        }
    });
    printf("%s\n", all.text().c_str());
    return all.failures.empty() ? 0 : 1;
}

} // namespace

int main(int argc, char **argv) {
    ::testing::InitGoogleTest(&argc, argv);
    Options options;
    options.program = argv[0];
    if (!parse(argc, argv, options)) {
        fprintf(stderr,
                "usage: %s [--seed N [--watch NUMBER-OF-ADDRESS] | [--first N] --seeds N | [--first N] --seconds N |\n"
                "        --small-world DEPTH [--start NAME] | --start NAME --path EVENTS]\n",
                argv[0]);
        return 2;
    }
    if (!options.path.empty()) {
        return run_path(options);
    }
    if (options.depth > 0) {
        return run_small_world(options);
    }
    return argc == 1 ? RUN_ALL_TESTS() : run(options);
}
