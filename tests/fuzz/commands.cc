// SPDX-License-Identifier: MPL-2.0
//
// The commands' arguments, as JSON text: one command for each line, whose first character says which. Each answer is
// well-formed, with a result that the README knows and, unless that is 0, a text.
#include <log/logger_support.h>

#include "input.h"
#include "shim_fixture.h"

using namespace shim_test;

namespace {

// The running hook, as in the unit tests.
class Hook : public ServiceTest {
public:
    Hook() {
        lease(client(1), FIRST);
        lease(clientWithId(2), FIRST + 1).ends = FAILOVER_TIME_INFINITE;
        start();
    }
    ConstElementPtr ask(char which, const ConstElementPtr &arguments) {
        using Command = ConstElementPtr (*)(shim::Service &, const ConstElementPtr &);
        static const Command commands[] = {shim::forceState, shim::failoverStatus, shim::failoverBinding,
                                           shim::failoverSync};
        unsigned n = uint8_t(which) % 4;
        ConstElementPtr answer = commands[n](*service, arguments);
        changed_ = changed_ || (n % 3 == 0 && resultOf(answer) == 0);
        return answer;
    }
    // Has a command changed what the next one meets?
    bool is_changed() const {
        return changed_;
    }

private:
    bool changed_ = false;
    void TestBody() override {
    }
};

std::unique_ptr<Hook> hook;

void check(const ConstElementPtr &answer) {
    MUST(answer && answer->getType() == Element::map, "no answer");
    int code = -1;
    isc::config::parseAnswer(code, answer);
    MUST(code == 0 || code == 1 || code == 3 || code == 4, "result %d", code);
    ConstElementPtr text = answer->get("text");
    bool has_text = text && text->getType() == Element::string && !text->stringValue().empty();
    MUST(code == 0 || has_text, "result %d without a text", code);
    MUST(has_text || answer->get("arguments"), "an empty answer");
    ConstElementPtr again = Element::fromJSON(answer->str());
    MUST(again->equals(*answer), "%s is another answer when it is read again", answer->str().c_str());
}

void ask(const std::string &line) {
    ConstElementPtr arguments;
    try {
        if (line.size() > 1) {
            arguments = Element::fromJSON(line.substr(1));
        }
    } catch (const isc::Exception &) {
        return; // Kea's parser
    }
    check(hook->ask(line.empty() ? '1' : line[0], arguments));
}

} // namespace

extern "C" int LLVMFuzzerInitialize(int *, char ***) {
    testing::GTEST_FLAG(break_on_failure) = true;
    setenv("KEA_LOCKFILE_DIR", "none", 0);
    setenv("KEA_LOGGER_DESTINATION", "/dev/null", 0);
    isc::log::initLogger();
    return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!hook || hook->is_changed()) {
        hook.reset();
        hook = std::make_unique<Hook>();
        static int once = atexit([] { hook.reset(); }); // before what of Kea's it has used
        MUST(once == 0, "no room");
    }
    std::string all(reinterpret_cast<const char *>(data), size);
    for (size_t at = 0; at <= all.size();) {
        size_t end = std::min(all.find('\n', at), all.size());
        ask(all.substr(at, end - at));
        at = end + 1;
    }
    return 0;
}
