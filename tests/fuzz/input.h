// SPDX-License-Identifier: MPL-2.0
//
// What the fuzzers have in common: a reader of the input that never runs out (behind the end come zeros), and the way
// to report a broken promise.
#ifndef FAILOVER_TESTS_FUZZ_INPUT_H
#define FAILOVER_TESTS_FUZZ_INPUT_H

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

namespace fuzz {

using Bytes = std::vector<uint8_t>;

#define MUST(condition, ...)                                                                                           \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: broken: %s: ", __FILE__, __LINE__, #condition);                                    \
            fprintf(stderr, __VA_ARGS__);                                                                              \
            fputc('\n', stderr);                                                                                       \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (false)

class Input {
public:
    Input(const uint8_t *data, size_t size) : at_(data), end_(data + size) {
    }
    bool empty() const {
        return at_ == end_;
    }
    uint8_t byte() {
        return at_ == end_ ? 0 : *at_++;
    }
    // Below `limit`.
    unsigned choice(unsigned limit) {
        return byte() % limit;
    }
    uint32_t number(int size) {
        uint32_t v = 0;
        while (size-- > 0) {
            v = v << 8 | byte();
        }
        return v;
    }
    Bytes bytes(size_t most) {
        size_t size = std::min(most, size_t(end_ - at_));
        Bytes b(at_, at_ + size);
        at_ += size;
        return b;
    }
    std::string text(size_t most) {
        Bytes b = bytes(most);
        return std::string(b.begin(), b.end());
    }

private:
    const uint8_t *at_, *end_;
};

// Lines of what is fuzzed, for who looks into a crash.
inline bool is_talkative() {
    static const bool talkative = getenv("FAILOVER_TEST_LOG") != nullptr;
    return talkative;
}

} // namespace fuzz

#endif
