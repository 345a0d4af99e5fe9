// SPDX-License-Identifier: MPL-2.0
//
// force-state: from every state to every state, its guards, and what is left of it after a restart.
#include <cstring>

#include "core.h"
#include "partner.h"

using namespace failover_test;

namespace {

constexpr failover_state ST = FAILOVER_STARTUP, NO = FAILOVER_NORMAL, CI = FAILOVER_COMMUNICATIONS_INTERRUPTED,
                         PD = FAILOVER_PARTNER_DOWN, PC = FAILOVER_POTENTIAL_CONFLICT, RE = FAILOVER_RECOVER,
                         SH = FAILOVER_SHUTDOWN, RD = FAILOVER_RECOVER_DONE, RI = FAILOVER_RESOLUTION_INTERRUPTED,
                         CD = FAILOVER_CONFLICT_DONE, RW = FAILOVER_RECOVER_WAIT;

const failover_state EVERY[] = {ST, NO, CI, PD, PC, RE, RW, RD, RI, CD, SH};
const failover_state FORCED[] = {ST, NO, CI, PD, RE, SH};

} // namespace

class Force : public Scripted {
protected:
    failover_plan plan{};

    // The core in `state`; NORMAL and POTENTIAL-CONFLICT with a link, the others without.
    void in_state(failover_state state) {
        make_known(FAILOVER_SECONDARY, state == ST || state == NO ? CI : state == PC ? RI : state);
        x->record_->last_heard = now.wall - 100;
        x->record_->last_served = now.wall;
        x->record_->stos = now.wall - 50;
        if (state != ST) {
            snprintf(x->record_->process, sizeof(x->record_->process), "%s", x->process_.c_str());
        }
        start();
        if (dials > 0) {
            failover_dial_failed(x->core(), "Connection refused", now);
        }
        if (state == NO || state == PC) {
            link_up_in(state == NO ? CI : PC);
        }
        ASSERT_EQ(state, x->state());
        forget();
        closed.clear();
        dials = 0;
    }
    failover_plan &plan_force(failover_state state, bool override_guard = false, int64_t since = 0) {
        failover_force f{state, override_guard, since};
        memset(&plan, 0x5a, sizeof(plan));
        failover_force_plan(x->core(), &f, now, &plan);
        return plan;
    }
    // As the command does it: the record is on disk before it is carried out.
    failover_result force(failover_state state, bool override_guard = false, int64_t since = 0) {
        plan_force(state, override_guard, since);
        if (plan.result == FAILOVER_OK) {
            failover_force f{state, override_guard, since};
            failover_take_sequence(x->core());
            x->record_ = plan.record;
            failover_force_apply(x->core(), &f, &plan, now);
            run();
        }
        return plan.result;
    }
    std::string text() {
        return plan.text;
    }
    bool text_has(const std::string &part) {
        return text().find(part) != std::string::npos;
    }
    bool effects_have(const std::string &part) {
        for (size_t i = 0; i < plan.effect_count; i++) {
            if (std::string(plan.effects[i]).find(part) != std::string::npos) {
                return true;
            }
        }
        return false;
    }
};

// ---- Words ----------------------------------------------------------------------------------------------------------

TEST_F(Force, BothSpellings) {
    const std::pair<const char *, failover_state> words[] = {
        {"startup", ST},      {"startup-state", ST},  {"normal", NO},           {"normal-state", NO},
        {"partner-down", PD}, {"recover", RE},        {"partn-down-state", PD}, {"recover-state", RE},
        {"shutdown", SH},     {"comm-int-state", CI}, {"shutdown-state", SH},   {"communications-interrupted", CI},
    };
    for (auto &[word, state] : words) {
        EXPECT_EQ(state, failover_forced_state(word)) << word;
        EXPECT_NE(std::string::npos, std::string(failover_forced_states()).find(word)) << "errors list it";
    }
    for (const char *word :
         {"", "Normal", "normal ", "recover-wait", "recover-done", "potential-conflict", "conflict-done",
          "resolution-interrupted", "paused", "unknown", "4", "partner-down-state"}) {
        EXPECT_EQ(FAILOVER_UNKNOWN, failover_forced_state(word)) << word;
    }
}

// ---- From every state to every state --------------------------------------------------------------------------------

TEST_F(Force, FromEveryStateToEveryState) {
    for (failover_state from : EVERY) {
        for (failover_state to : FORCED) {
            for (bool over : {false, true}) {
                SCOPED_TRACE(std::string(failover_state_name(from)) + " to " + failover_state_name(to) +
                             (over ? ", override" : ""));
                in_state(from);
                bool on_its_way = from == RE || from == RW || from == RD || from == PC || from == RI || from == CD;
                bool guarded = false;
                if (to == NO && from != NO) {
                    guarded = on_its_way || from == SH || !over;
                }
                if (to == PD && from == NO) {
                    guarded = !over; // the partner is connected and serves
                }
                ASSERT_EQ(guarded ? FAILOVER_GUARDED : FAILOVER_OK, force(to, over)) << text();
                EXPECT_EQ(from, plan.previous);
                EXPECT_NE("", text());
                if (guarded) {
                    EXPECT_EQ(from, x->state());
                    x->kill();
                    continue;
                }
                EXPECT_EQ(to, x->state());
                EXPECT_EQ(from == to ? now.wall - 50 * (from != NO)
                          : to == ST ? x->record_->stos
                                     : now.wall,
                          x->record_->stos)
                    << "STOS is now, and stays where the state stays";
                EXPECT_EQ(to == CI, x->record_->link_held_down);
                if (to != ST) {
                    EXPECT_EQ(to, x->record_->state) << "it is on disk";
                }
                x->kill();
                inbox.clear();
            }
        }
    }
}

TEST_F(Force, ThePlanChangesNothing) {
    for (failover_state from : EVERY) {
        in_state(from);
        failover_record before = *failover_get_record(x->core());
        uint64_t sequence = failover_sequence(x->core());
        for (failover_state to : FORCED) {
            for (bool over : {false, true}) {
                plan_force(to, over);
                EXPECT_EQ(0, memcmp(&before, failover_get_record(x->core()), sizeof(before)));
                EXPECT_EQ(from, x->state());
                EXPECT_EQ(sequence, failover_sequence(x->core()));
            }
        }
        run();
        EXPECT_EQ("", names(link >= 0 ? link : 0));
        x->kill();
        inbox.clear();
    }
}

TEST_F(Force, EffectsAreSentences) {
    for (failover_state from : EVERY) {
        for (failover_state to : FORCED) {
            SCOPED_TRACE(std::string(failover_state_name(from)) + " to " + failover_state_name(to));
            in_state(from);
            plan_force(to, true);
            if (plan.result != FAILOVER_OK) {
                EXPECT_EQ(0u, plan.effect_count);
                x->kill();
                continue;
            }
            EXPECT_GE(plan.effect_count, 1u);
            ASSERT_LE(plan.effect_count, size_t(FAILOVER_EFFECTS_MAX));
            for (size_t i = 0; i < plan.effect_count; i++) {
                std::string sentence = plan.effects[i];
                ASSERT_GT(sentence.size(), 10u);
                EXPECT_TRUE(isupper(sentence[0])) << sentence;
                EXPECT_EQ('.', sentence.back()) << sentence;
                EXPECT_EQ(std::string::npos, sentence.find("  "));
            }
            x->kill();
            inbox.clear();
        }
    }
}

TEST_F(Force, ThePresentStateAgain) {
    for (failover_state state : {NO, CI, PD, RE, SH}) {
        SCOPED_TRACE(failover_state_name(state));
        in_state(state);
        int64_t stos = x->record_->stos;
        ASSERT_EQ(FAILOVER_OK, force(state));
        EXPECT_EQ(state, x->state());
        EXPECT_EQ(stos, x->record_->stos);
        EXPECT_EQ(state == CI ? "communications-interrupted forced"
                              : std::string("the state is ") + failover_state_name(state) + " already",
                  text())
            << "in communications-interrupted the hold is new";
        EXPECT_GE(plan.effect_count, 1u);
        if (state == CI) {
            ASSERT_EQ(FAILOVER_OK, force(state));
            EXPECT_EQ("the state is communications-interrupted already", text());
        }
        x->kill();
        inbox.clear();
    }
}

// ---- startup --------------------------------------------------------------------------------------------------------

TEST_F(Force, StartupDropsTheLinkAndBeginsAgain) {
    in_state(NO);
    int before = link;
    ASSERT_EQ(FAILOVER_OK, force(ST));
    EXPECT_TRUE(is_closed(before));
    EXPECT_TRUE(failover_is_silent(x->core()));
    EXPECT_EQ(1, dials) << "and dials at once";
    EXPECT_EQ(CI, x->record_->state);
    link_up();
    EXPECT_EQ(FAILOVER_SERVER_FLAG_STARTUP, take(FAILOVER_STATE).m.server_flags);
    send(state_message(CI, now.wall));
    EXPECT_EQ(NO, x->state());
}

TEST_F(Force, StartupWithoutAPartnerReturnsToTheStateFromBefore) {
    const std::pair<failover_state, failover_state> cases[] = {{NO, CI}, {CI, CI}, {PD, PD}, {PC, RI}, {RE, RE},
                                                               {RD, RD}, {RI, RI}, {CD, CD}, {SH, RE}};
    for (auto &[from, expected] : cases) {
        SCOPED_TRACE(failover_state_name(from));
        in_state(from);
        int64_t stos = x->record_->stos;
        ASSERT_EQ(FAILOVER_OK, force(ST));
        pass(9999);
        EXPECT_EQ(ST, x->state());
        pass(1);
        EXPECT_EQ(expected, x->state());
        if (expected == from) {
            EXPECT_EQ(stos, x->record_->stos);
        }
        x->kill();
    }
}

TEST_F(Force, StartupIsTheWayOutOfShutdown) {
    in_state(SH);
    ASSERT_EQ(FAILOVER_GUARDED, force(NO, true));
    EXPECT_TRUE(text_has("force-state startup")) << text();
    ASSERT_EQ(FAILOVER_OK, force(ST));
    link_up();
    EXPECT_EQ(RE, take(FAILOVER_STATE).m.server_state) << "the partner has gone to partner-down meanwhile";
}

// ---- normal ---------------------------------------------------------------------------------------------------------

TEST_F(Force, NormalIsGuarded) {
    in_state(CI);
    ASSERT_EQ(FAILOVER_GUARDED, force(NO));
    EXPECT_TRUE(text_has("there is no connection with the partner")) << text();
    EXPECT_TRUE(text_has("\"override\": true")) << text();
    link_up();
    ASSERT_EQ(FAILOVER_GUARDED, force(NO, true)) << "its state is about to come";
    EXPECT_TRUE(text_has("the partner is connected")) << text();
    x->kill();
    inbox.clear();
    for (failover_state state : {RE, RW, RD, PC, RI, CD}) {
        in_state(state);
        ASSERT_EQ(FAILOVER_GUARDED, force(NO, true));
        EXPECT_TRUE(text_has("override or not")) << text();
        EXPECT_TRUE(text_has("force-state partner-down")) << text();
        x->kill();
        inbox.clear();
    }
}

TEST_F(Force, NormalByItself) {
    in_state(CI);
    ASSERT_EQ(FAILOVER_OK, force(NO, true));
    EXPECT_EQ(NO, x->state());
    failover_client c = make_client(1);
    EXPECT_EQ(60u, bind(c, POOL_FIRST));
    EXPECT_EQ(60u, bind(c, POOL_FIRST)) << "leases are extended";
    EXPECT_EQ(FAILOVER_SILENCE, request(make_client(2), POOL_FIRST + 15)) << "but the partner's addresses stay its own";
    pass(100000);
    EXPECT_EQ(NO, x->state());
    link_up();
    disconnect(link);
    EXPECT_EQ(CI, x->state()) << "the first contact, or its failure, moves it as usual";
}

TEST_F(Force, NormalLetsAHeldLinkGo) {
    in_state(CI);
    ASSERT_EQ(FAILOVER_OK, force(CI));
    pass(60000);
    dials = 0;
    ASSERT_EQ(FAILOVER_OK, force(NO));
    EXPECT_EQ(CI, x->state()) << "normal follows as soon as both agree";
    EXPECT_TRUE(effects_have("let go"));
    EXPECT_FALSE(x->record_->link_held_down);
    EXPECT_EQ(1, dials) << "at once";
    link_up_in(CI);
    EXPECT_EQ(NO, x->state());
}

// ---- communications-interrupted -------------------------------------------------------------------------------------

TEST_F(Force, InterruptedHoldsTheLinkDown) {
    in_state(NO);
    int before = link;
    ASSERT_EQ(FAILOVER_OK, force(CI));
    EXPECT_TRUE(is_closed(before));
    EXPECT_EQ(CI, x->state());
    EXPECT_TRUE(x->status(now).link_held_down);
    pass(600000);
    EXPECT_EQ(0, dials);
    EXPECT_EQ(-1, connect(false)) << "nor is the partner's dial taken";
    EXPECT_EQ(CI, x->state());
    for (failover_state next : {PD, RE, SH, ST}) {
        SCOPED_TRACE(failover_state_name(next));
        in_state(CI);
        ASSERT_EQ(FAILOVER_OK, force(CI));
        pass(60000);
        dials = 0;
        ASSERT_EQ(FAILOVER_OK, force(next));
        EXPECT_FALSE(x->record_->link_held_down) << "until another state is forced";
        EXPECT_EQ(1, dials);
        x->kill();
    }
}

TEST_F(Force, InterruptedTellsThePolicy) {
    in_state(CI);
    plan_force(CI);
    EXPECT_TRUE(effects_have("extended once"));
    EXPECT_TRUE(effects_have("held until normal"));
    x->config_.interrupted_leases = FAILOVER_EXTEND;
    x->kill();
    start();
    plan_force(CI);
    EXPECT_TRUE(effects_have("as often as clients ask"));
}

// ---- partner-down ---------------------------------------------------------------------------------------------------

TEST_F(Force, PartnerDownIsGuardedWhileThePartnerServes) {
    in_state(NO);
    ASSERT_EQ(FAILOVER_GUARDED, force(PD));
    EXPECT_TRUE(text_has("the partner is connected and serves in communications-interrupted")) << text();
    EXPECT_TRUE(text_has("\"override\": true"));
    send(state_message(RE, now.wall)); // it recovers, and is silent
    ASSERT_EQ(CI, x->state());
    EXPECT_EQ(FAILOVER_OK, force(PD));
    in_state(NO);
    ASSERT_EQ(FAILOVER_OK, force(PD, true));
    EXPECT_EQ(PD, take(FAILOVER_STATE).m.server_state) << "and is told";
    EXPECT_TRUE(effects_have("The partner is told"));
}

TEST_F(Force, PartnerDownMakesPrimary) {
    in_state(CI);
    EXPECT_EQ(FAILOVER_SECONDARY, x->status(now).role);
    ASSERT_EQ(FAILOVER_OK, force(PD));
    EXPECT_EQ(FAILOVER_PRIMARY, x->status(now).role);
    EXPECT_EQ(FAILOVER_SECONDARY, plan.record.acting_primary) << "in the record of the command already";
    EXPECT_EQ(now.wall, plan.record.acting_since);
}

TEST_F(Force, PartnerDownSince) {
    in_state(CI);
    x->kill();
    x->record_->last_heard = now.wall - 500;
    start();
    int64_t since = now.wall - 40;
    ASSERT_EQ(FAILOVER_OK, force(PD, false, since));
    EXPECT_EQ(since, x->record_->stos) << "the waits count from there";
    failover_client c = make_client(1);
    EXPECT_EQ(0u, bind(c, POOL_FIRST + 15));
    pass(19000);
    EXPECT_EQ(0u, bind(c, POOL_FIRST + 15));
    pass(1000);
    EXPECT_EQ(60u, bind(c, POOL_FIRST + 15));
    EXPECT_EQ(now.wall - 20, x->record_->acting_since) << "primary is it from the force on";
    // Given anew, it moves the start again; without it, nothing moves.
    ASSERT_EQ(FAILOVER_OK, force(PD));
    EXPECT_EQ(since, x->record_->stos);
    ASSERT_EQ(FAILOVER_OK, force(PD, false, now.wall - 100));
    EXPECT_EQ(now.wall - 100, x->record_->stos);
    EXPECT_EQ(PD, x->state());
}

TEST_F(Force, PartnerDownSinceIsChecked) {
    in_state(CI);
    x->kill();
    x->record_->last_heard = now.wall - 500;
    start();
    EXPECT_EQ(FAILOVER_ERROR_RESULT, force(PD, true, now.wall + 1));
    EXPECT_TRUE(text_has(std::to_string(now.wall))) << text();
    EXPECT_EQ(FAILOVER_ERROR_RESULT, force(PD, true, now.wall - 501));
    EXPECT_TRUE(text_has(std::to_string(now.wall - 500))) << "it names the partner's last message: " << text();
    for (failover_state other : {ST, NO, CI, RE, SH}) {
        EXPECT_EQ(FAILOVER_ERROR_RESULT, force(other, true, now.wall - 10));
    }
    EXPECT_EQ(CI, x->state());
    EXPECT_EQ(FAILOVER_OK, force(PD, false, now.wall - 500));
    EXPECT_EQ(FAILOVER_OK, force(PD, false, now.wall));
}

TEST_F(Force, PartnerDownSinceIsNotBeforeALiveMessage) {
    in_state(NO);
    pass(5000);
    send(Message(FAILOVER_CONTACT, partner_xid++));
    disconnect(link);
    pass(60000);
    int64_t heard = now.wall - 60;
    EXPECT_EQ(FAILOVER_ERROR_RESULT, force(PD, false, heard - 1));
    EXPECT_EQ(FAILOVER_OK, force(PD, false, heard));
}

TEST_F(Force, PartnerDownWithoutARecordWarns) {
    make(FAILOVER_SECONDARY);
    start();
    pass(10000);
    ASSERT_EQ(RE, x->state());
    ASSERT_EQ(FAILOVER_OK, force(PD));
    EXPECT_TRUE(effects_have("configured lifetime"));
    EXPECT_TRUE(effects_have("0 own free addresses at once"));
    EXPECT_TRUE(effects_have("other 20 free ones in"));
}

// ---- recover --------------------------------------------------------------------------------------------------------

TEST_F(Force, RecoverAsksForEverything) {
    in_state(NO);
    ASSERT_EQ(FAILOVER_OK, force(RE));
    EXPECT_EQ("STATE UPDREQALL", names(link));
    EXPECT_TRUE(failover_is_silent(x->core()));
    take(FAILOVER_STATE);
    uint32_t xid = take(FAILOVER_UPDREQALL).m.xid;
    send(Message(FAILOVER_UPDDONE, xid));
    EXPECT_EQ(RW, x->state()) << "it served until now";
}

TEST_F(Force, RecoverWithoutALinkAsksLater) {
    in_state(CI);
    ASSERT_EQ(FAILOVER_OK, force(RE));
    EXPECT_TRUE(effects_have("there is no connection"));
    link_up();
    forget();
    send(state_message(CI, now.wall));
    EXPECT_EQ("UPDREQALL", names(link));
}

// ---- shutdown -------------------------------------------------------------------------------------------------------

TEST_F(Force, ShutdownIsAnnouncedAndClosesLater) {
    in_state(NO);
    ASSERT_EQ(FAILOVER_OK, force(SH));
    EXPECT_EQ(SH, take(FAILOVER_STATE).m.server_state);
    EXPECT_TRUE(effects_have("goes to partner-down by itself"));
    EXPECT_FALSE(is_closed(link));
    send(state_message(PD, now.wall));
    pass(1);
    EXPECT_TRUE(is_closed(link));
}

TEST_F(Force, ShutdownWithoutALinkSaysThatNobodyWasTold) {
    in_state(CI);
    ASSERT_EQ(FAILOVER_OK, force(SH));
    EXPECT_TRUE(effects_have("The partner can't be told"));
}

// ---- What is left of it after a restart -----------------------------------------------------------------------------

TEST_F(Force, SurvivesARestart) {
    const std::pair<failover_state, failover_state> cases[] = {{CI, CI}, {PD, PD}, {RE, RE},
                                                               {SH, RE}, {NO, CI}, {ST, CI}};
    for (auto &[forced, expected] : cases) {
        for (bool late : {false, true}) {
            SCOPED_TRACE(failover_state_name(forced));
            in_state(CI);
            plan_force(forced, true);
            ASSERT_EQ(FAILOVER_OK, plan.result);
            x->record_ = plan.record; // what the command has on disk
            if (late) {
                force(forced, true);
            }
            int64_t stos = x->record_->stos;
            x->kill();
            x->process_ = "process-2";
            now.wall += 3;
            now.mono += 3000;
            start();
            EXPECT_EQ(ST, x->state());
            EXPECT_EQ(forced == CI, x->record_->link_held_down);
            pass(10000);
            EXPECT_EQ(expected, x->state());
            if (forced == expected) {
                EXPECT_EQ(stos, x->record_->stos);
            }
            dials = 0;
            pass(60000);
            EXPECT_EQ(forced == CI ? 0 : dials, dials) << "the link is still held down";
            x->kill();
        }
    }
}

TEST_F(Force, SurvivesAReconfiguration) {
    const std::pair<failover_state, failover_state> cases[] = {{CI, CI}, {PD, PD}, {RE, RE},
                                                               {SH, SH}, {NO, CI}, {ST, ST}};
    for (auto &[forced, expected] : cases) {
        SCOPED_TRACE(failover_state_name(forced));
        in_state(CI);
        ASSERT_EQ(FAILOVER_OK, force(forced, true));
        pass(2000);
        x->kill();
        start();
        EXPECT_EQ(expected, x->state());
        EXPECT_EQ(forced == CI, x->record_->link_held_down);
        x->kill();
    }
}

TEST_F(Force, StartupSurvivesAReconfigurationInTheMiddle) {
    in_state(PD);
    ASSERT_EQ(FAILOVER_OK, force(ST));
    pass(5000);
    x->kill();
    start();
    EXPECT_EQ(ST, x->state());
    pass(9999);
    EXPECT_EQ(ST, x->state()) << "it begins again";
    pass(1);
    EXPECT_EQ(PD, x->state());
}

// ---- Two of ours ----------------------------------------------------------------------------------------------------

TEST_F(Pair, ForcedInterruptionLastsUntilItIsLetGo) {
    start_normal();
    ASSERT_EQ(FAILOVER_OK, force(*s, CI).result);
    pass(300);
    EXPECT_EQ(CI, p->state());
    EXPECT_EQ(CI, s->state());
    ASSERT_EQ(FAILOVER_OK, force(*s, NO).result);
    pass(6);
    EXPECT_EQ(NO, p->state());
    EXPECT_EQ(NO, s->state());
}

TEST_F(Pair, ForcedRecoverOfOneOfTwo) {
    start_normal();
    failover_client c = make_client(1);
    ASSERT_EQ(Lease::ACK, dora(*p, c).kind);
    ASSERT_EQ(FAILOVER_OK, force(*s, RE).result);
    EXPECT_EQ(CI, p->state());
    EXPECT_EQ(RW, s->state());
    pass(59);
    EXPECT_EQ(RW, s->state()) << "it may have promised until a moment ago";
    pass(1);
    EXPECT_EQ(NO, s->state());
    EXPECT_EQ(NO, p->state());
}

TEST_F(Pair, ForcedShutdownAndStartup) {
    start_normal();
    ASSERT_EQ(FAILOVER_OK, force(*p, SH).result);
    EXPECT_EQ(PD, s->state());
    pass(100);
    ASSERT_EQ(FAILOVER_OK, force(*p, ST).result);
    pass(1);
    EXPECT_EQ(NO, p->state()) << "it last served more than the MCLT ago";
    EXPECT_EQ(NO, s->state());
    EXPECT_EQ(FAILOVER_SECONDARY, p->status(now).role);
    EXPECT_EQ(FAILOVER_PRIMARY, s->status(now).role) << "and who went on stays primary";
}

// The wait counts from the shutdown, and what the first contact of this process allowed is not allowed again.
TEST_F(Pair, ForcedStartupAfterAShutdownWaitsForTheMclt) {
    start_normal();
    pass(100);
    s->log_.clear();
    ASSERT_EQ(FAILOVER_OK, force(*s, FAILOVER_SHUTDOWN).result);
    int64_t served = now.wall;
    pass(3);
    ASSERT_EQ(FAILOVER_OK, force(*s, FAILOVER_STARTUP).result);
    EXPECT_EQ(FAILOVER_RECOVER_WAIT, s->state());
    EXPECT_FALSE(s->logged("recover-wait is skipped"));
    pass(served + 59 - now.wall);
    EXPECT_EQ(FAILOVER_RECOVER_WAIT, s->state());
    pass(FAILOVER_SERVED_INTERVAL + 1);
    EXPECT_EQ(FAILOVER_NORMAL, s->state());
    EXPECT_EQ(FAILOVER_NORMAL, p->state());
}
