// SPDX-License-Identifier: MPL-2.0
//
// What stories of two servers are told with.
#ifndef FAILOVER_TESTS_STORY_H
#define FAILOVER_TESTS_STORY_H

#include "load_balance.h"
#include "pair.h"

namespace failover_test {

// In what the two servers' bindings differ; empty: they are of one mind.
inline std::string difference(Server &p, Server &s) {
    std::string all;
    for (uint32_t a = p.first_; a <= p.last_; a++) {
        failover_binding b = p.binding(a), c = s.binding(a);
        std::string what;
        if (b.status != c.status) {
            what =
                std::string(failover_binding_status_name(b.status)) + " and " + failover_binding_status_name(c.status);
        } else if (b.status == FAILOVER_FREE &&
                   (b.owner == c.owner || b.owner == FAILOVER_NOBODY || c.owner == FAILOVER_NOBODY)) {
            what = std::string("free, ") + failover_owner_name(b.owner) + " and " + failover_owner_name(c.owner);
        } else if (b.status == FAILOVER_ACTIVE && !failover_same_client(&b.client, &c.client)) {
            what = "bound to two clients";
        } else if (b.update_due || c.update_due) {
            what = std::string("not told: ") + failover_binding_status_name(b.status);
        }
        if (!what.empty()) {
            all += dotted(a) + ": " + what + "; ";
        }
    }
    return all;
}

// The n-th client whose bucket is the primary's, or the secondary's, with split 128.
inline failover_client client_of(failover_role role, unsigned n) {
    for (unsigned number = 1;; number++) {
        failover_client c = make_client(number);
        bool primarys = failover_hash(c.hardware + 1, c.hardware_length - 1u) < 128;
        if (primarys == (role == FAILOVER_PRIMARY) && n-- == 0) {
            return c;
        }
    }
}

class Story : public Pair {
protected:
    int count_log(Server &x, const std::string &text) {
        return int(std::count_if(x.log_.begin(), x.log_.end(),
                                 [&](const std::string &line) { return line.find(text) != std::string::npos; }));
    }
    // Both in NORMAL and of one mind.
    void expect_peace() {
        EXPECT_EQ(FAILOVER_NORMAL, p->state());
        EXPECT_EQ(FAILOVER_NORMAL, s->state());
        EXPECT_EQ("", difference(*p, *s));
    }
    uint64_t clashes() {
        return failover_get_counters(p->core_)->clashes + failover_get_counters(s->core_)->clashes;
    }
    Lease new_client(Server &x, unsigned n) {
        return dora(x, make_client(n));
    }
    // Leases to new clients until there are none left; how many.
    int drain(Server &x, unsigned from) {
        int given = 0;
        while (new_client(x, from + unsigned(given)).kind == Lease::ACK) {
            given++;
        }
        return given;
    }
};

} // namespace failover_test

#endif
