// SPDX-License-Identifier: MPL-2.0
//
// The state machine: the table cell by cell, and what each change of state does.
#include <set>
#include <sstream>

#include "core.h"
#include "partner.h"
#include "state.h"

using namespace failover_test;

namespace {

constexpr failover_state ST = FAILOVER_STARTUP, NO = FAILOVER_NORMAL, CI = FAILOVER_COMMUNICATIONS_INTERRUPTED,
                         PD = FAILOVER_PARTNER_DOWN, PC = FAILOVER_POTENTIAL_CONFLICT, RE = FAILOVER_RECOVER,
                         PA = FAILOVER_PAUSED, SH = FAILOVER_SHUTDOWN, RD = FAILOVER_RECOVER_DONE,
                         RI = FAILOVER_RESOLUTION_INTERRUPTED, CD = FAILOVER_CONFLICT_DONE, RW = FAILOVER_RECOVER_WAIT;

// What the draft (9.4 to 9.14) and the design (rule 7) ask for. "-": stay; "x": can't come, is logged and
// changes nothing; "all": stay and ask for everything; "r/c": recover, or potential-conflict if something was
// granted since; "w/d": recover-wait, or recover-done; "res": the primary goes to conflict-done, the
// secondary to normal; "turn": the secondary asks for updates; "dhc": communications-interrupted, for a dhcpd that
// has asked for nothing.
const int EVENTS[] = {NO,
                      CI,
                      PD,
                      PC,
                      RE,
                      PA,
                      SH,
                      RD,
                      RI,
                      CD,
                      RW,
                      EVENT_LINK_DOWN,
                      EVENT_STARTUP_OVER,
                      EVENT_UPDDONE,
                      EVENT_WAIT_OVER,
                      EVENT_AUTO_PARTNER_DOWN};
const struct {
    failover_state state;
    const char *cells;
} TABLE[] = {
    // clang-format off
    //     the partner's states                                  link startup UPD- wait auto
    //     NO   CI   PD   PC   RE   PA   SH   RD   RI   CD   RW   down over    DONE over PD
    {NO, " -    -    RE   PC   CI   CI   PD   -    PC   PC   CI   CI   CI      -    x    x  "},
    {CI, " NO   NO   r/c  PC   -    -    PD   NO   PC   PC   -    -    -       -    x    PD "},
    {PD, " -    -    PC   PC   -    -    -    NO   PC   PC   -    -    -       -    x    x  "},
    {PC, " x    -    -    -    -    -    PD   NO   -    turn -    RI   RI      res  x    x  "},
    {RE, " all  all  all  PC   all  all  PD   all  PC   PC   all  -    -       w/d  x    x  "},
    {RW, " -    -    -    -    -    -    -    -    -    -    -    -    -       -    RD   x  "},
    {RD, " NO   -    -    PC   dhc  -    PD   NO   PC   PC   -    -    -       -    x    x  "},
    {RI, " PC   PC   PC   PC   PC   -    PD   PC   PC   PC   PC   -    -       -    x    x  "},
    {CD, " NO   -    -    -    -    -    PD   NO   -    PC   -    -    -       -    x    x  "},
    {SH, " -    -    -    -    -    -    -    -    -    -    -    -    -       -    x    x  "},
    // clang-format on
};

int cell_of(const std::string &word) {
    static const std::map<std::string, int> words = {
        {"-", STAY},
        {"x", UNEXPECTED},
        {"all", ASK_ALL},
        {"r/c", RECOVER_OR_CONFLICT},
        {"w/d", WAIT_OR_DONE},
        {"res", CONFLICT_RESOLVED},
        {"turn", CONFLICT_TURN},
        {"dhc", LET_DHCPD_ASK},
        {"NO", NO},
        {"CI", CI},
        {"PD", PD},
        {"PC", PC},
        {"RE", RE},
        {"RD", RD},
        {"RI", RI},
    };
    return words.at(word);
}

enum state_event event_of(int event) {
    return static_cast<enum state_event>(event);
}

std::string event_text(int event) {
    return state_event_name(event_of(event));
}

} // namespace

TEST(StateTable, DecidesEveryPair) {
    for (int state = 0; state < FAILOVER_STATES; state++) {
        for (int event = 0; event < STATE_EVENTS; event++) {
            const state_row *row = state_lookup(failover_state(state), event_of(event));
            ASSERT_NE(nullptr, row);
            EXPECT_NE(nullptr, row->section)
                << failover_state_name(failover_state(state)) << ", " << event_text(event) << " isn't in the table";
        }
    }
}

TEST(StateTable, IsTheDesigns) {
    for (auto &line : TABLE) {
        std::istringstream words(line.cells);
        for (int event : EVENTS) {
            std::string word;
            ASSERT_TRUE(words >> word);
            EXPECT_EQ(cell_of(word), state_lookup(line.state, event_of(event))->next)
                << failover_state_name(line.state) << ", " << event_text(event);
        }
        for (int never : {FAILOVER_UNKNOWN, FAILOVER_STARTUP}) {
            EXPECT_EQ(line.state == SH ? STAY : UNEXPECTED, state_lookup(line.state, event_of(never))->next)
                << failover_state_name(line.state);
        }
    }
    for (failover_state never : {FAILOVER_UNKNOWN, ST, PA}) {
        EXPECT_EQ(UNEXPECTED, state_lookup(never, event_of(NO))->next) << failover_state_name(never);
    }
}

TEST(StateTable, StatesThatServe) {
    for (failover_state state : {NO, CI, PD, RD, RI}) {
        EXPECT_TRUE(state_serves(state)) << failover_state_name(state);
    }
    for (failover_state state : {ST, PC, RE, PA, SH, CD, RW}) {
        EXPECT_FALSE(state_serves(state)) << failover_state_name(state);
    }
}

TEST(StateTable, EveryNameIsTheDrafts) {
    EXPECT_STREQ("normal", state_event_name(event_of(NO)));
    EXPECT_STREQ("recover-wait", state_event_name(event_of(RW)));
    EXPECT_STREQ("link down", state_event_name(EVENT_LINK_DOWN));
    EXPECT_STREQ("auto-partner-down", state_event_name(EVENT_AUTO_PARTNER_DOWN));
    EXPECT_STREQ("communications-interrupted", failover_state_name(CI));
    EXPECT_STREQ("resolution-interrupted", failover_state_name(RI));
    for (int state = 0; state < FAILOVER_STATES; state++) {
        EXPECT_NE(nullptr, failover_state_name(failover_state(state)));
    }
}

class State : public Scripted {
protected:
    // The core in `state` as a reconfiguration leaves it, with no link yet. NORMAL and POTENTIAL-CONFLICT
    // can't be without one.
    void begin_in(failover_state state, failover_role role = FAILOVER_PRIMARY) {
        make_known(role, state);
        x->record_->process[0] = '\0';
        snprintf(x->record_->process, sizeof(x->record_->process), "%s", x->process_.c_str());
        x->record_->last_served = now.wall;
        x->record_->stos = now.wall - 10;
        x->record_->acting_primary = role;
        x->record_->acting_since = now.wall - 500;
        acting_primary = role;
        acting_since = now.wall - 500;
        start();
    }
    // The core in `state` with a link on which the partner has shown `shown`.
    void show(failover_state state, failover_state shown, failover_role role = FAILOVER_PRIMARY) {
        ours = true;
        if (state == NO) {
            begin_in(CI, role);
            link_up_in(CI);
        } else if (state == PC) {
            begin_in(RI, role);
            link_up_in(PC);
        } else if (state == SH) {
            begin_in(CI, role);
            link_up_in(RE);
            state_enter(x->core(), SH, now.wall - 10);
            run();
        } else {
            begin_in(state, role);
            link_up();
        }
        ASSERT_EQ(state, x->state());
        forget();
        send(state_message(shown, now.wall + 1));
    }
    int count(failover_message_type type) {
        int n = 0;
        for (Received &r : in(link)) {
            n += r.m.type == type;
        }
        return n;
    }
    // The last STATE that was sent.
    const failover_message &shown() {
        static const failover_message none{};
        for (auto r = in(link).rbegin(); r != in(link).rend(); ++r) {
            if (r->m.type == FAILOVER_STATE) {
                return r->m;
            }
        }
        ADD_FAILURE() << "no STATE was sent";
        return none;
    }
};

// Not only the table says so: a core that is shown each state of the partner does it.
TEST_F(State, GoesWhereTheTableSays) {
    for (auto &line : TABLE) {
        std::istringstream words(line.cells);
        for (int event : EVENTS) {
            std::string word;
            words >> word;
            if (event >= EVENT_LINK_DOWN) {
                continue;
            }
            for (failover_role role : {FAILOVER_PRIMARY, FAILOVER_SECONDARY}) {
                SCOPED_TRACE(std::string(failover_state_name(line.state)) + ", partner in " + event_text(event) + ", " +
                             failover_role_name(role));
                forget();
                closed.clear();
                show(line.state, failover_state(event), role);
                int cell = cell_of(word);
                failover_state expected = cell == STAY || cell == UNEXPECTED || cell >= ASK_ALL
                                              ? cell == RECOVER_OR_CONFLICT ? RE : line.state
                                              : failover_state(cell);
                ASSERT_EQ(expected, x->state());
                if (line.state == NO && event == SH) {
                    EXPECT_EQ(FAILOVER_PRIMARY == role ? FAILOVER_PRIMARY : FAILOVER_SECONDARY,
                              x->record_->acting_primary);
                }
                if (cell == ASK_ALL || (expected == RE && line.state != RE)) {
                    EXPECT_EQ(1, count(FAILOVER_UPDREQALL));
                }
                if (expected != line.state) {
                    EXPECT_EQ(now.wall, x->record_->stos) << "STOS is set at each real change";
                    EXPECT_EQ(expected, failover_state(shown().server_state));
                    EXPECT_EQ(now.wall, shown().start_time_of_state);
                    EXPECT_EQ(0, shown().server_flags);
                    EXPECT_EQ(expected, x->record_->state) << "it is stored";
                } else if (line.state != NO && line.state != PC) {
                    EXPECT_EQ(now.wall - 10, x->record_->stos) << "STOS stays where the state stays";
                }
                x->kill();
            }
        }
    }
}

TEST_F(State, UnexpectedIsLoggedAndChangesNothing) {
    show(PC, NO);
    EXPECT_EQ(PC, x->state());
    EXPECT_TRUE(x->logged("partner's state normal is not expected in potential-conflict"));
}

// ---- The loss of the link -------------------------------------------------------------------------------------------

TEST_F(State, LinkDown) {
    const std::pair<failover_state, failover_state> cases[] = {{NO, CI}, {CI, CI}, {PD, PD}, {PC, RI}, {RE, RE},
                                                               {RW, RW}, {RD, RD}, {RI, RI}, {CD, CD}, {SH, SH}};
    for (auto &[state, expected] : cases) {
        SCOPED_TRACE(failover_state_name(state));
        ours = true;
        if (state == NO || state == PC || state == SH) {
            show(state, state == NO ? CI : RI);
        } else {
            begin_in(state);
            link_up();
        }
        int64_t stos = x->record_->stos;
        now.wall += 3;
        now.mono += 3000;
        disconnect(link);
        EXPECT_EQ(expected, x->state());
        EXPECT_EQ(expected, x->record_->state);
        EXPECT_EQ(expected == state ? stos : now.wall, x->record_->stos);
        if (state == NO) {
            EXPECT_TRUE(x->logged("state normal -> communications-interrupted: link down (section 9.8.4)"));
        }
        x->kill();
    }
}

// Nothing is put aside for a partner that isn't there: the next connection begins with the state of then.
TEST_F(State, WithoutALinkNothingIsSent) {
    begin_in(CI);
    for (failover_state next : {PD, RE, PC, NO}) {
        x->core()->record.default_owner = FAILOVER_NOBODY;
        state_enter(x->core(), next, now.wall);
        EXPECT_EQ(0u, x->core()->peer.out_count) << failover_state_name(next);
        EXPECT_FALSE(x->core()->requests.ask_pending) << failover_state_name(next);
    }
    EXPECT_FALSE(x->logged("the connection is given up")) << "there is none";
}

TEST_F(State, NothingIsAskedOfAPartnerThatHasNotShownItsState) {
    ours = true;
    for (failover_state state : {RE, PC, NO}) {
        begin_in(CI);
        x->core()->record.default_owner = FAILOVER_NOBODY;
        link_up();
        state_enter(x->core(), state, now.wall);
        run();
        EXPECT_EQ(0, count(FAILOVER_UPDREQALL) + count(FAILOVER_UPDREQ)) << failover_state_name(state);
        forget();
        x->kill();
    }
}

TEST_F(State, APartnersStateIsTakenDownAtOnceAndSaidOnce) {
    begin_in(RW);
    link_up();
    send(state_message(RE, now.wall));
    EXPECT_EQ(RE, x->record_->partner_state);
    EXPECT_TRUE(x->logged("partner moves from normal to recover"));
    x->log_.clear();
    send(state_message(RE, now.wall));
    EXPECT_FALSE(x->logged("partner moves"));
    send(state_message(RE, now.wall - 7));
    EXPECT_EQ(now.wall - 7, x->record_->partner_stos) << "the same state, entered anew";
    Message without = state_message(RE, now.wall - 9);
    send(without.without(FAILOVER_OPT_START_TIME_OF_STATE));
    EXPECT_EQ(now.wall, x->record_->partner_stos) << "who doesn't say since when";
}

// ---- STARTUP --------------------------------------------------------------------------------------------------------

TEST_F(State, StartupShowsTheStateFromBefore) {
    const std::pair<failover_state, failover_state> cases[] = {{NO, CI}, {CI, CI}, {PD, PD}, {PC, RI}, {RE, RE},
                                                               {RW, RW}, {RD, RD}, {RI, RI}, {CD, CD}, {SH, RE}};
    ours = true; // a dhcpd is not shown all of them unasked, see below
    for (auto &[before, expected] : cases) {
        SCOPED_TRACE(failover_state_name(before));
        make_known(FAILOVER_SECONDARY, before);
        int64_t stos = x->record_->stos;
        start();
        EXPECT_EQ(ST, x->state());
        EXPECT_TRUE(failover_is_silent(x->core()));
        link_up();
        EXPECT_EQ(expected == RW ? 254 : expected, shown().server_state);
        EXPECT_EQ(FAILOVER_SERVER_FLAG_STARTUP, shown().server_flags);
        EXPECT_EQ(expected == before ? stos : now.wall, shown().start_time_of_state);
        EXPECT_EQ(1, dials) << "the partner is contacted at once";
        forget();
        dials = 0;
        x->kill();
    }
}

TEST_F(State, StartupEndsWithThePartnersState) {
    make_known(FAILOVER_SECONDARY, NO);
    start();
    link_up();
    ASSERT_EQ(ST, x->state());
    forget();
    send(state_message(CI, now.wall));
    EXPECT_EQ(NO, x->state());
    EXPECT_EQ(0, shown().server_flags) << "a second STATE, without the flag";
    EXPECT_EQ(NO, failover_state(shown().server_state));
}

TEST_F(State, StartupAppliesThePartnersStateToTheStateFromBefore) {
    struct {
        failover_state before, shown, expected;
    } cases[] = {
        {NO, NO, NO}, {NO, PD, RE}, {CI, RE, CI}, {CI, RW, CI}, {NO, RD, NO}, {CI, PC, PC},
        {PD, RE, PD}, {PD, RD, NO}, {PD, PD, PC}, {PC, PC, PC}, {PC, NO, PC}, {RE, PD, RE},
        {RD, NO, NO}, {RW, NO, RW}, {CD, RI, CD}, {SH, PD, RE}, {NO, SH, PD}, {NO, PA, CI},
    };
    ours = true;
    for (auto &c : cases) {
        SCOPED_TRACE(std::string(failover_state_name(c.before)) + ", partner in " + failover_state_name(c.shown));
        make_known(FAILOVER_PRIMARY, c.before);
        x->record_->last_served = now.wall;
        start();
        link_up();
        forget();
        send(state_message(c.shown, now.wall));
        EXPECT_EQ(c.expected, x->state());
        x->kill();
    }
}

// ---- What breaks a dhcpd --------------------------------------------------------------------------------------------

// In CONFLICT-DONE it ends by itself when it is shown anything but NORMAL, POTENTIAL-CONFLICT or
// RESOLUTION-INTERRUPTED; and this server's NORMAL, that it waits for, may have been lost.
TEST_F(State, ADhcpdThatMayBeInConflictDoneSpeaksFirst) {
    for (failover_state before : {NO, CI, PD, RE, RD, PC, RI}) {
        for (failover_state recorded : {PC, CD}) {
            SCOPED_TRACE(std::string(failover_state_name(before)) + ", partner was in " +
                         failover_state_name(recorded));
            make_known(FAILOVER_SECONDARY, before);
            x->record_->partner_state = recorded;
            start();
            link_up();
            EXPECT_EQ("", names(link));
            send(state_message(CD, now.wall));
            EXPECT_EQ(PC, x->state());
            EXPECT_EQ(PC, failover_state(take(FAILOVER_STATE).m.server_state));
            EXPECT_EQ(0, std::count(closed.begin(), closed.end(), link));
            forget();
            x->kill();
        }
    }
}

TEST_F(State, WhoLetADhcpdSpeakFirstAnswersThen) {
    begin_in(CI);
    x->kill();
    x->record_->partner_state = PC;
    start();
    link_up();
    EXPECT_EQ("", names(link));
    send(state_message(RE, now.wall));
    EXPECT_EQ(CI, x->state()) << "no change that would have been announced by itself";
    EXPECT_EQ(CI, failover_state(shown().server_state));
}

// The whole of what it can't stand, though few of these can come about.
TEST_F(State, WhatADhcpdMayBeShown) {
    const struct {
        failover_state theirs;
        std::set<failover_state> good;
    } cases[] = {{CD, {NO, PC, RI}}, {NO, {NO, CI, PD, RE, RD, RW, SH}}, {PC, {CI, PD, PC, RE, RD, RW, RI, CD, SH}}};
    for (auto &c : cases) {
        for (failover_state show : {NO, CI, PD, PC, RE, RD, RW, RI, CD, SH}) {
            SCOPED_TRACE(std::string(failover_state_name(show)) + " to a dhcpd in " + failover_state_name(c.theirs));
            begin_in(RW);
            link_up_in(c.theirs);
            ASSERT_EQ(c.theirs, x->core()->record.partner_state);
            x->core()->peer.withdrawn = false;
            state_enter(x->core(), show, now.wall);
            EXPECT_EQ(c.good.count(show) == 0, x->core()->peer.withdrawn);
            x->kill();
            inbox.clear();
        }
    }
}

TEST_F(State, AConnectionThatIsGivenUpSaysNothingMore) {
    make_known(FAILOVER_SECONDARY, PC);
    start();
    link_up_in(CD);
    ASSERT_EQ(PC, x->state());
    state_enter(x->core(), PD, now.wall);
    state_enter(x->core(), RE, now.wall);
    state_enter(x->core(), RI, now.wall); // it could see that
    run();
    EXPECT_EQ("", names(link));
    EXPECT_TRUE(is_closed(link));
    EXPECT_EQ(1, std::count_if(x->log_.begin(), x->log_.end(), [](const std::string &line) {
                  return line.find("the connection is given up") != std::string::npos;
              }));
}

TEST_F(State, ASecondaryThatKnowsNothingLetsADhcpdSpeakFirst) {
    make(FAILOVER_SECONDARY);
    start();
    link_up();
    EXPECT_EQ("", names(link));
    send(state_message(RE, now.wall));
    EXPECT_EQ(RE, failover_state(take(FAILOVER_STATE).m.server_state));
}

TEST_F(State, ADhcpdInNormalIsNotShownAConflict) {
    for (failover_state before : {PC, RI}) {
        SCOPED_TRACE(failover_state_name(before));
        make_known(FAILOVER_PRIMARY, before);
        start();
        link_up();
        EXPECT_EQ("", names(link));
        send(state_message(NO, now.wall));
        EXPECT_EQ("", names(link));
        EXPECT_TRUE(is_closed(link)) << "it leaves NORMAL when it loses the connection";
        EXPECT_EQ(RI, x->state());
        pass(6000);
        link_up_in(CI);
        EXPECT_EQ(PC, x->state());
        forget();
        closed.clear();
        x->kill();
    }
}

TEST_F(State, ADhcpdInNormalEndsConflictDone) {
    make_known(FAILOVER_PRIMARY, CD);
    start();
    link_up();
    EXPECT_EQ("", names(link));
    send(state_message(NO, now.wall, true));
    EXPECT_EQ(NO, x->state());
    EXPECT_EQ(NO, failover_state(take(FAILOVER_STATE).m.server_state));
}

TEST_F(State, NoForceShowsADhcpdInConflictDoneWhatKillsIt) {
    for (failover_state forced : {PD, RE, CI, SH}) {
        SCOPED_TRACE(failover_state_name(forced));
        make_known(FAILOVER_SECONDARY, PC);
        start();
        link_up_in(CD);
        ASSERT_EQ(PC, x->state());
        state_enter(x->core(), forced, now.wall);
        run();
        EXPECT_EQ("", names(link));
        EXPECT_TRUE(is_closed(link));
        EXPECT_EQ(forced, x->state());
        closed.clear();
        x->kill();
    }
}

TEST_F(State, StartupEndsByItselfAfterStartupDelay) {
    const std::pair<failover_state, failover_state> cases[] = {{NO, CI}, {CI, CI}, {PD, PD}, {PC, RI}, {RE, RE},
                                                               {RW, RW}, {RD, RD}, {RI, RI}, {CD, CD}, {SH, RE}};
    for (auto &[before, expected] : cases) {
        SCOPED_TRACE(failover_state_name(before));
        make_known(FAILOVER_PRIMARY, before);
        x->record_->last_served = now.wall;
        start();
        pass(9999);
        EXPECT_EQ(ST, x->state());
        pass(1);
        EXPECT_EQ(expected, x->state());
        x->kill();
    }
}

TEST_F(State, ResumeKeepsStos) {
    for (failover_state before : {CI, PD, RI, RD, CD}) {
        SCOPED_TRACE(failover_state_name(before));
        make_known(FAILOVER_PRIMARY, before);
        int64_t stos = x->record_->stos;
        start();
        pass(10000);
        EXPECT_EQ(before, x->state());
        EXPECT_EQ(stos, x->record_->stos);
        x->kill();
    }
}

TEST_F(State, StartupDelayIsConfigured) {
    make_known(FAILOVER_PRIMARY, CI, 20, [](failover_config &c) { c.startup_delay = 3; });
    start();
    pass(2999);
    EXPECT_EQ(ST, x->state());
    pass(1);
    EXPECT_EQ(CI, x->state());
}

TEST_F(State, AStartupThatIsOverIsNotBegunAgainByAReconfiguration) {
    for (failover_state state : {CI, RW}) {
        make_known(FAILOVER_PRIMARY, state);
        x->record_->last_served = now.wall;
        start();
        pass(10000);
        ASSERT_EQ(state, x->state());
        x->kill();
        start();
        EXPECT_EQ(state, x->state());
        x->kill();
    }
}

TEST_F(State, ARecordOfNoUseIsKeptForAnOperatorToSee) {
    make_known(FAILOVER_PRIMARY, PA);
    start();
    EXPECT_EQ(ST, x->state());
    EXPECT_EQ(PA, x->record_->state);
}

// What is on disk already waits for no commit; what isn't, does.
TEST_F(State, OnlyTheStateFromBeforeIsAnnouncedWithoutTheDisk) {
    ours = true;
    const struct {
        failover_state state;
        const char *process;
        bool at_once;
    } cases[] = {{CI, "process-0", true}, {NO, "process-0", false}, {CI, "", false}};
    for (auto &c : cases) {
        make_known(FAILOVER_PRIMARY, c.state);
        snprintf(x->record_->process, sizeof(x->record_->process), "%s", c.process);
        x->disk_works_ = false;
        start();
        link_up();
        EXPECT_EQ(c.at_once ? 1 : 0, count(FAILOVER_STATE)) << failover_state_name(c.state) << " " << c.process;
        x->disk_works_ = true;
        run();
        EXPECT_EQ(1, count(FAILOVER_STATE));
        forget();
        x->kill();
    }
}

TEST_F(State, LinkLostInStartupChangesNothing) {
    make_known(FAILOVER_PRIMARY, NO);
    start();
    link_up();
    disconnect(link);
    EXPECT_EQ(ST, x->state());
    pass(10000);
    EXPECT_EQ(CI, x->state());
}

// ---- What entering a state does -------------------------------------------------------------------------------------

TEST_F(State, NormalSendsWhatThePartnerDoesNotKnow) {
    begin_in(CI, FAILOVER_SECONDARY);
    failover_client c = make_client(1);
    ASSERT_EQ(60u, bind(c, POOL_FIRST));
    ours = true;
    link_up();
    EXPECT_EQ(0, count(FAILOVER_BNDUPD)) << "not before the partner's state is known";
    uint32_t epoch = x->record_->epoch;
    send(state_message(CI, now.wall));
    EXPECT_EQ(NO, x->state());
    EXPECT_EQ(1, count(FAILOVER_BNDUPD));
    EXPECT_EQ(epoch + 1, x->record_->epoch) << "marks of the interruption are void";
}

// Marks of an interruption are void when NORMAL was there in between, and not before.
TEST_F(State, OnlyNormalBeginsAnotherEpoch) {
    begin_in(CI);
    uint32_t epoch = x->record_->epoch;
    for (failover_state next : {PD, RE, RW, RD, PC, RI, CD, SH, CI}) {
        state_enter(x->core(), next, now.wall);
        EXPECT_EQ(epoch, x->core()->record.epoch) << failover_state_name(next);
    }
}

TEST_F(State, WhatWasLeasedAloneIsForgottenOnDisk) {
    begin_in(PD);
    ASSERT_EQ(60u, bind(make_client(1), POOL_FIRST));
    ASSERT_TRUE(x->bindings_[POOL_FIRST].made_partner_down);
    state_enter(x->core(), CI, now.wall);
    run();
    EXPECT_FALSE(x->bindings_[POOL_FIRST].made_partner_down) << "the partner may extend it from now on";
}

TEST_F(State, NormalBalances) {
    make_known(FAILOVER_PRIMARY, CI);
    x->bindings_.clear(); // everything is the primary's
    start();
    link_up();
    forget();
    send(state_message(CI, now.wall));
    acknowledge_all();
    EXPECT_EQ(10u, x->own_free(now));
}

TEST_F(State, NormalRepeatsRejectedUpdates) {
    start_normal(FAILOVER_PRIMARY);
    ASSERT_EQ(60u, bind(make_client(1), POOL_FIRST));
    send(bndack(take(FAILOVER_BNDUPD), FAILOVER_REJECT_FATAL_CONFLICT));
    EXPECT_EQ("", names(link)) << "a rejected update isn't repeated at once";
    send(state_message(RE, now.wall));
    ASSERT_EQ(CI, x->state());
    forget();
    send(state_message(RD, now.wall));
    ASSERT_EQ(CI, x->state()) << "the partner is told once more, before it serves";
    send(bndack(take(FAILOVER_BNDUPD), FAILOVER_REJECT_FATAL_CONFLICT));
    ASSERT_EQ(NO, x->state());
    EXPECT_EQ(1, count(FAILOVER_BNDUPD));
}

// The partner has been away since before, and waits in RECOVER-DONE for a NORMAL in which it gives out its own addresses.
TEST_F(State, NormalThatWasForcedAloneTellsThePartnerFirst) {
    ours = true;
    begin_in(PD, FAILOVER_PRIMARY);
    bind(make_client(1), POOL_FIRST);
    state_enter(x->core(), NO, now.wall);
    link_up();
    send(state_message(RD, now.wall));
    EXPECT_EQ(CI, x->state());
    Received first = take(FAILOVER_STATE);
    EXPECT_EQ(CI, first.m.server_state);
    Received update = take(FAILOVER_BNDUPD);
    EXPECT_EQ(CI, x->state());
    send(bndack(update));
    EXPECT_EQ(NO, x->state());
}

TEST_F(State, PartnerDownMakesPrimary) {
    begin_in(CI, FAILOVER_SECONDARY);
    x->record_->acting_primary = FAILOVER_PRIMARY;
    x->kill();
    start();
    EXPECT_EQ(FAILOVER_SECONDARY, x->status(now).role);
    ours = true;
    acting_primary = FAILOVER_PRIMARY;
    link_up_in(SH);
    EXPECT_EQ(PD, x->state());
    EXPECT_EQ(FAILOVER_PRIMARY, x->status(now).role);
    EXPECT_EQ(FAILOVER_SECONDARY, x->status(now).configured_role);
    EXPECT_EQ(FAILOVER_SECONDARY, x->record_->acting_primary) << "it is stored";
    EXPECT_EQ(now.wall, x->record_->acting_since);
}

TEST_F(State, ConflictBeginsWithThePrimarysUpdreq) {
    show(CI, PC, FAILOVER_PRIMARY);
    EXPECT_EQ("STATE UPDREQ", names(link));
}

TEST_F(State, ConflictTheSecondaryWaits) {
    begin_in(CI, FAILOVER_SECONDARY);
    link_up();
    forget();
    send(state_message(PC, now.wall));
    EXPECT_EQ("STATE", names(link));
    forget();
    send(Message(FAILOVER_UPDREQ, 7));
    EXPECT_EQ(7u, take(FAILOVER_UPDDONE).m.xid);
    send(state_message(CD, now.wall));
    uint32_t xid = take(FAILOVER_UPDREQ).m.xid;
    send(Message(FAILOVER_UPDDONE, xid));
    EXPECT_EQ(NO, x->state());
}

TEST_F(State, ConflictTheSecondaryAsksAtOnceWhereThePrimaryIsDone) {
    begin_in(CI, FAILOVER_SECONDARY);
    link_up();
    forget();
    send(state_message(CD, now.wall));
    EXPECT_EQ(PC, x->state());
    EXPECT_EQ("STATE UPDREQ", names(link));
}

TEST_F(State, ConflictIsNotOverForASecondaryThatHasAskedByItself) {
    begin_in(CI, FAILOVER_SECONDARY);
    link_up();
    send(state_message(PC, now.wall));
    ASSERT_EQ(PC, x->state());
    forget();
    failover_why why{};
    ASSERT_TRUE(failover_sync(x->core(), now, &why)) << why.text;
    run();
    send(Message(FAILOVER_UPDDONE, take(FAILOVER_UPDREQALL).m.xid));
    EXPECT_EQ(PC, x->state()) << "the primary is the first to be done";
}

TEST_F(State, ConflictThePrimaryIsDoneAndThenNormal) {
    show(CI, PC, FAILOVER_PRIMARY);
    take(FAILOVER_STATE);
    uint32_t xid = take(FAILOVER_UPDREQ).m.xid;
    send(Message(FAILOVER_UPDDONE, xid));
    EXPECT_EQ(CD, x->state());
    EXPECT_EQ("STATE", names(link));
    EXPECT_TRUE(failover_is_silent(x->core()));
    send(state_message(NO, now.wall));
    EXPECT_EQ(NO, x->state());
}

// Two servers that have both been primary since they last spoke: whoever the acting roles make primary now,
// it must not wait for a partner that is in conflict-done already.
TEST_F(State, ConflictEndsWhereThePartnerIsDoneAndTheRolesHaveChanged) {
    ours = true;
    acting_primary = FAILOVER_SECONDARY; // the partner, since earlier
    acting_since = now.wall - 900;
    make_known(FAILOVER_PRIMARY, PD);
    x->record_->acting_since = now.wall - 100; // this server, since later
    snprintf(x->record_->process, sizeof(x->record_->process), "%s", x->process_.c_str());
    start();
    link_up();
    forget();
    send(state_message(CD, now.wall));
    EXPECT_EQ(PC, x->state());
    take(FAILOVER_STATE);
    uint32_t xid = take(FAILOVER_UPDREQ).m.xid;
    send(Message(FAILOVER_UPDDONE, xid));
    EXPECT_EQ(NO, x->state());
}

TEST_F(State, ShutdownTellsThePartnerAndGoes) {
    start_normal(FAILOVER_PRIMARY);
    failover_force force{SH, false, 0};
    failover_plan plan;
    failover_force_plan(x->core(), &force, now, &plan);
    failover_force_apply(x->core(), &force, &plan, now);
    EXPECT_TRUE(failover_shutdown_unsent(x->core()));
    run();
    EXPECT_FALSE(failover_shutdown_unsent(x->core()));
    EXPECT_EQ(SH, failover_state(shown().server_state));
    EXPECT_EQ(now.wall, x->record_->last_served);
    EXPECT_TRUE(failover_is_silent(x->core()));
    EXPECT_FALSE(is_closed(link)) << "the partner's PARTNER-DOWN is awaited";
    send(state_message(PD, now.wall));
    pass(1);
    EXPECT_TRUE(is_closed(link));
    dials = 0;
    pass(60000);
    EXPECT_EQ(0, dials) << "the link stays closed";
    EXPECT_EQ(SH, x->state());
}

TEST_F(State, ShutdownWaitsAFewSecondsAtMost) {
    begin_in(CI);
    link_up_in(RE); // stays in communications-interrupted
    state_enter(x->core(), SH, now.wall);
    run();
    send(state_message(CI, now.wall)); // not what is awaited
    pass(4999);
    EXPECT_FALSE(is_closed(link));
    pass(1);
    EXPECT_TRUE(is_closed(link));
    EXPECT_EQ(SH, x->state());
}

TEST_F(State, ShutdownOutlivesAReconfigurationAndEndsWithTheProcess) {
    begin_in(SH);
    EXPECT_EQ(SH, x->state());
    EXPECT_EQ(0, dials);
    x->kill();
    start(); // the same process
    EXPECT_EQ(SH, x->state());
    x->kill();
    x->process_ = "process-2";
    start();
    EXPECT_EQ(ST, x->state());
    pass(10000);
    EXPECT_EQ(RE, x->state());
    EXPECT_EQ(RE, x->record_->state);
}

TEST_F(State, ReconfigurationGoesOnWithoutStartup) {
    const std::pair<failover_state, failover_state> cases[] = {{NO, CI}, {CI, CI}, {PD, PD}, {PC, RI}, {RE, RE},
                                                               {RW, RW}, {RD, RD}, {RI, RI}, {CD, CD}, {SH, SH}};
    for (auto &[before, expected] : cases) {
        SCOPED_TRACE(failover_state_name(before));
        begin_in(before);
        EXPECT_EQ(expected, x->state());
        x->kill();
    }
}

// ---- RECOVER and RECOVER-WAIT ---------------------------------------------------------------------------------------

class RecoverWait : public State {
protected:
    // Drives the core from its start to UPDDONE; the partner shows `shown`.
    void recover(failover_state shown) {
        link_up();
        forget();
        send(state_message(shown, now.wall));
        ASSERT_EQ(RE, x->state());
        done();
    }
    void done() {
        std::deque<Received> box;
        std::swap(box, in(link));
        for (Received &r : box) {
            if (r.m.type == FAILOVER_UPDREQALL) {
                send(Message(FAILOVER_UPDDONE, r.m.xid));
                return;
            }
        }
        FAIL() << "no UPDREQALL";
    }
    // In recover-wait until exactly `end`.
    void expect_wait_until(int64_t end) {
        ASSERT_EQ(RW, x->state());
        EXPECT_TRUE(failover_is_silent(x->core()));
        send(Message(FAILOVER_CONTACT, partner_xid++));
        while (now.wall < end - 1) {
            pass(std::min<int64_t>(10, end - 1 - now.wall) * 1000);
            send(Message(FAILOVER_CONTACT, partner_xid++));
        }
        EXPECT_EQ(RW, x->state()) << "at " << end - now.wall << " s before the end";
        pass(1000);
        EXPECT_EQ(RD, x->state());
    }
};

TEST_F(RecoverWait, FromTheLastMomentServed) {
    make_known(FAILOVER_PRIMARY, NO);
    x->record_->last_served = now.wall - 20;
    start();
    int64_t served = now.wall - 20;
    recover(PD);
    expect_wait_until(served + FAILOVER_SERVED_INTERVAL + 60);
}

TEST_F(RecoverWait, NotAtAllWhenTheMcltIsPast) {
    make_known(FAILOVER_PRIMARY, NO);
    x->record_->last_served = now.wall - 65;
    start();
    recover(PD);
    EXPECT_EQ(RD, x->state());
}

TEST_F(RecoverWait, AtItsVeryEndItIsNotEnteredAnyMore) {
    for (int64_t left : {0, 1}) {
        make_known(FAILOVER_PRIMARY, NO);
        x->record_->last_served = now.wall - 65 + left;
        start();
        link_up();
        send(state_message(PD, now.wall));
        ASSERT_EQ(RE, x->state());
        done();
        EXPECT_EQ(left == 0 ? RD : RW, x->state());
        int waits = int(std::count_if(in(link).begin(), in(link).end(), [](const Received &r) {
            return r.m.type == FAILOVER_STATE && r.m.server_state == 254;
        }));
        EXPECT_EQ(left, waits);
        forget();
        x->kill();
    }
}

TEST_F(RecoverWait, IsEnteredForTheSkewAlone) {
    make_known(FAILOVER_PRIMARY, NO);
    x->record_->last_served = now.wall - 70;
    start();
    skew = -20;
    recover(PD);
    EXPECT_EQ(RW, x->state()) << "by the partner's clock it isn't over";
}

TEST_F(RecoverWait, CountsWithTheMcltThatThePartnerHasTaken) {
    make_known(FAILOVER_PRIMARY, NO, 20, [](failover_config &c) { c.mclt = 20; });
    x->record_->last_served = now.wall - 5;
    start();
    int64_t started = now.wall;
    recover(PD);
    expect_wait_until(started + 60);
}

// The clock has jumped since the last record of it.
TEST_F(RecoverWait, FromNowWhateverWasRecorded) {
    begin_in(CI);
    now.wall += 1000;
    failover_tick(x->core(), now);
    x->core()->record.last_served = now.wall - 1000;
    state_enter(x->core(), RE, now.wall);
    EXPECT_EQ(now.wall, x->core()->recover_served);
}

TEST_F(RecoverWait, FromTheProcessStartForWhoHasNeverServed) {
    make(FAILOVER_SECONDARY);
    start();
    int64_t started = now.wall;
    pass(20000);
    state_enter(x->core(), PC, now.wall);
    state_enter(x->core(), RE, now.wall);
    EXPECT_EQ(started, x->core()->recover_served);
}

TEST_F(RecoverWait, FromTheProcessStartWithoutARecord) {
    make(FAILOVER_SECONDARY);
    start();
    int64_t started = now.wall;
    pass(4000);
    recover(CI);
    expect_wait_until(started + 60);
}

TEST_F(RecoverWait, FromNowForWhoServedUntilNow) {
    ours = true;
    start_normal(FAILOVER_SECONDARY);
    pass(2000);
    forget();
    send(state_message(PD, now.wall));
    ASSERT_EQ(RE, x->state()) << "rule 7: over a live link in normal it falls silent in that moment";
    EXPECT_TRUE(failover_is_silent(x->core()));
    int64_t served = now.wall;
    done();
    expect_wait_until(served + 60);
}

TEST_F(RecoverWait, LastServedIsNeverInTheFuture) {
    make_known(FAILOVER_PRIMARY, NO);
    x->record_->last_served = now.wall - 2;
    start();
    int64_t started = now.wall;
    recover(PD);
    expect_wait_until(started + 60);
}

TEST_F(RecoverWait, IsLongerByTheSkew) {
    for (int64_t s : {20, -20}) {
        make_known(FAILOVER_PRIMARY, NO);
        x->record_->last_served = now.wall - 5;
        start();
        skew = s;
        int64_t started = now.wall;
        recover(PD);
        expect_wait_until(started + 60 + 20);
        x->kill();
    }
}

TEST_F(RecoverWait, GoesOnWithoutTheLinkAndThroughAReconfiguration) {
    make_known(FAILOVER_PRIMARY, NO);
    x->record_->last_served = now.wall - 5;
    start();
    int64_t started = now.wall;
    recover(PD);
    ASSERT_EQ(RW, x->state());
    disconnect(link);
    EXPECT_EQ(RW, x->state());
    pass(20000);
    x->kill();
    start();
    EXPECT_EQ(RW, x->state());
    pass((started + 60 - now.wall) * 1000 - 1000);
    EXPECT_EQ(RW, x->state());
    pass(1000);
    EXPECT_EQ(RD, x->state());
}

TEST_F(RecoverWait, IsSkippedAtFirstContactOfTwoOfOurs) {
    ours = true;
    no_record = true;
    make(FAILOVER_PRIMARY);
    start();
    recover(RE);
    EXPECT_EQ(RD, x->state());
    EXPECT_TRUE(x->logged("recover-wait is skipped"));
    send(state_message(RD, now.wall));
    EXPECT_EQ(NO, x->state());
}

TEST_F(RecoverWait, IsSkippedAtFirstContactWithADhcpd) {
    for (failover_state theirs : {RE, RD}) { // it may have been faster
        make(FAILOVER_SECONDARY);
        start();
        recover(theirs);
        EXPECT_EQ(theirs == RE ? RD : NO, x->state());
        EXPECT_TRUE(x->logged("recover-wait is skipped"));
        forget();
        x->kill();
    }
}

TEST_F(RecoverWait, IsSkippedThoughThePartnerGoesOnFirst) {
    ours = true;
    no_record = true;
    make(FAILOVER_PRIMARY);
    start();
    link_up();
    forget();
    send(state_message(RE, now.wall));
    no_record = false;
    send(state_message(RD, now.wall));
    done();
    EXPECT_EQ(NO, x->state()) << "it was first contact, and is";
    EXPECT_TRUE(x->logged("recover-wait is skipped"));
}

// Forced to partner-down without a record, it has given leases that nobody else knows.
TEST_F(RecoverWait, IsNotSkippedWhereThePartnerServesWithoutARecord) {
    ours = true;
    no_record = true;
    make(FAILOVER_PRIMARY);
    start();
    recover(PD);
    EXPECT_EQ(RW, x->state());
}

// In RECOVER it asks for updates only when it is shown RECOVER, PARTNER-DOWN or COMMUNICATIONS-INTERRUPTED.
TEST_F(RecoverWait, ADhcpdThatRecoversTooIsLedToAsk) {
    for (bool asks : {false, true}) {
        make_known(FAILOVER_PRIMARY, RW);
        x->record_->last_served = now.wall;
        start();
        link_up_in(RE);
        if (asks) {
            send(Message(FAILOVER_UPDREQALL, partner_xid++));
        }
        EXPECT_EQ(RW, x->state());
        forget();
        while (x->state() == RW) {
            pass(1000);
            send(Message(FAILOVER_CONTACT, partner_xid++));
        }
        EXPECT_EQ(asks ? RD : CI, x->state());
        x->kill();
    }
}

TEST_F(RecoverWait, IsNotSkippedWhereThePartnerHasARecord) {
    ours = true;
    no_record = false;
    make(FAILOVER_PRIMARY);
    start();
    int64_t started = now.wall;
    recover(RE);
    expect_wait_until(started + 60);
    EXPECT_FALSE(x->logged("recover-wait is skipped"));
}

TEST_F(RecoverWait, IsNotSkippedWhereThisServerHasARecord) {
    ours = true;
    no_record = true;
    for (bool owns : {true, false}) {
        for (bool served : {true, false}) {
            if (!owns && !served) {
                continue; // that is what having no record means
            }
            make_known(FAILOVER_PRIMARY, RE);
            x->bindings_.clear();
            x->record_->last_served = served ? now.wall - 5 : 0;
            x->record_->default_owner = owns ? FAILOVER_MINE : FAILOVER_NOBODY;
            start();
            int64_t started = now.wall;
            recover(RE);
            expect_wait_until(started + 60);
            forget();
            x->kill();
        }
    }
}

TEST_F(RecoverWait, EndsInRecoverDoneThoughThePartnerWasInNormalWhenItWasLost) {
    make_known(FAILOVER_PRIMARY, RE);
    x->record_->last_served = now.wall - 5;
    start();
    recover(NO);
    ASSERT_EQ(RW, x->state());
    disconnect(link);
    pass(61000);
    EXPECT_EQ(RD, x->state()) << "normal takes two";
}

TEST_F(RecoverWait, IsNotOverForWhoHasNotBeenAnswered) {
    make_known(FAILOVER_PRIMARY, RE);
    x->record_->last_served = now.wall - 5;
    start();
    link_up();
    forget();
    send(state_message(PD, now.wall));
    for (int i = 0; i < 30; i++) {
        pass(10000);
        send(Message(FAILOVER_CONTACT, partner_xid++));
    }
    EXPECT_EQ(RE, x->state());
    EXPECT_FALSE(x->logged("not expected"));
    EXPECT_FALSE(x->logged("in recover and silent")) << "the partner is there";
}

TEST_F(RecoverWait, ThePartnersOldWordCountsAtItsEnd) {
    make_known(FAILOVER_PRIMARY, NO);
    x->record_->last_served = now.wall - 5;
    start();
    recover(PD);
    ASSERT_EQ(RW, x->state());
    send(state_message(SH, now.wall));
    EXPECT_EQ(RW, x->state()) << "what it may have promised before is waited for first";
    disconnect(link);
    pass(61000);
    EXPECT_EQ(PD, x->state()) << "rule 7";
}

TEST_F(RecoverWait, RequestIsRepeatedOnTheNextConnection) {
    make_known(FAILOVER_PRIMARY, NO);
    start();
    link_up();
    forget();
    send(state_message(PD, now.wall));
    EXPECT_EQ(1, count(FAILOVER_UPDREQALL));
    disconnect(link);
    EXPECT_EQ(RE, x->state());
    link_up();
    forget();
    send(state_message(PD, now.wall - 5));
    EXPECT_EQ(1, count(FAILOVER_UPDREQALL));
}

TEST_F(State, RecoverAloneSaysOnceAMinuteWhatItWaitsFor) {
    make(FAILOVER_SECONDARY, 20, [](failover_config &c) { c.auto_partner_down = 100; });
    start();
    auto says = [](const std::string &line) { return line.find("force-state partner-down") != std::string::npos; };
    pass(59999);
    ASSERT_EQ(RE, x->state());
    EXPECT_EQ(0, std::count_if(x->log_.begin(), x->log_.end(), says));
    pass(1);
    EXPECT_EQ(1, std::count_if(x->log_.begin(), x->log_.end(), says));
    pass(180000);
    EXPECT_EQ(4, std::count_if(x->log_.begin(), x->log_.end(), says));
    EXPECT_EQ(RE, x->state()) << "auto-partner-down is for who has served beside the partner";
    EXPECT_FALSE(x->logged("not expected"));
}

TEST_F(State, WhoDoesNotRecoverIsNotRemindedOfIt) {
    begin_in(RI);
    pass(180000);
    EXPECT_FALSE(x->logged("in recover and silent"));
}

// ---- auto-partner-down ----------------------------------------------------------------------------------------------

class AutoPartnerDown : public State {
protected:
    void start_with(uint32_t seconds) {
        start_normal(FAILOVER_PRIMARY, 20, [&](failover_config &c) { c.auto_partner_down = seconds; });
    }
};

TEST_F(AutoPartnerDown, CountsFromTheLossOfTheLink) {
    start_with(120);
    disconnect(link);
    EXPECT_EQ(CI, x->state());
    failover_status status = x->status(now);
    ASSERT_EQ(1u, status.pending_count);
    EXPECT_STREQ("auto-partner-down", status.pending[0].what);
    EXPECT_EQ(120, status.pending[0].seconds);
    pass(119999);
    EXPECT_EQ(CI, x->state());
    pass(1);
    EXPECT_EQ(PD, x->state());
    EXPECT_EQ(now.wall, x->record_->stos);
}

TEST_F(AutoPartnerDown, IsOffByDefault) {
    start_normal(FAILOVER_PRIMARY);
    disconnect(link);
    pass(600000);
    EXPECT_EQ(CI, x->state());
}

TEST_F(AutoPartnerDown, NotWhileConnected) {
    start_with(20);
    disconnect(link);
    pass(5000);
    link_up_in(RE);
    ASSERT_EQ(CI, x->state());
    for (int i = 0; i < 10; i++) {
        pass(10000);
        send(Message(FAILOVER_CONTACT, partner_xid++));
    }
    EXPECT_EQ(CI, x->state());
    disconnect(link);
    pass(19999);
    EXPECT_EQ(CI, x->state());
    pass(1);
    EXPECT_EQ(PD, x->state()) << "and then anew";
}

TEST_F(AutoPartnerDown, NotWhileTheLinkIsHeldDown) {
    start_with(20);
    failover_force force{CI, false, 0};
    failover_plan plan;
    failover_force_plan(x->core(), &force, now, &plan);
    failover_force_apply(x->core(), &force, &plan, now);
    run();
    pass(300000);
    EXPECT_EQ(CI, x->state());
}

TEST_F(AutoPartnerDown, CountsFromTheStartOfAServerThatNeverHadALink) {
    make_known(FAILOVER_PRIMARY, CI, 20, [](failover_config &c) { c.auto_partner_down = 100; });
    start();
    pass(10000);
    ASSERT_EQ(CI, x->state());
    pass(99999);
    EXPECT_EQ(CI, x->state());
    pass(1);
    EXPECT_EQ(PD, x->state());
}

// ---- PARTNER-DOWN and a partner that starts -------------------------------------------------------------------------

TEST_F(State, PartnerDownIgnoresAPartnerInStartup) {
    for (failover_state shown : {NO, CI, PD, PC, RE, RD, RI, CD, RW}) {
        SCOPED_TRACE(failover_state_name(shown));
        begin_in(PD);
        link_up();
        forget();
        send(state_message(shown, now.wall, true));
        EXPECT_EQ(PD, x->state());
        EXPECT_EQ("", names(link));
        EXPECT_TRUE(x->status(now).linked);
        x->kill();
    }
}

TEST_F(State, OthersTakeTheStateOfAPartnerInStartup) {
    begin_in(CI);
    link_up();
    send(state_message(CI, now.wall, true));
    EXPECT_EQ(NO, x->state());
}

TEST_F(State, PartnerDownInStartupOfBothIsResumed) {
    make_known(FAILOVER_PRIMARY, PD);
    int64_t stos = x->record_->stos;
    start();
    link_up();
    send(state_message(RE, now.wall, true));
    EXPECT_EQ(PD, x->state());
    EXPECT_EQ(stos, x->record_->stos);
}

TEST_F(State, WhoResumesAsksForNothing) {
    make_known(FAILOVER_PRIMARY, PD);
    ours = true;
    start();
    link_up();
    forget();
    send(state_message(RE, now.wall));
    ASSERT_EQ(PD, x->state());
    EXPECT_EQ("STATE", names(link));
}

// Each state has its own, and what else may come due counts beside it.
TEST_F(State, ADeadlineForAllThatComesDue) {
    auto due = [&] { return state_deadline(x->core()) - now.mono; };
    auto soon = [](failover_config &c) { c.auto_partner_down = 2; };
    make_known(FAILOVER_PRIMARY, CI, 20, soon);
    start();
    EXPECT_EQ(10000, due()) << "the end of startup";
    pass(10000);
    EXPECT_EQ(2000, due()) << "auto-partner-down, before serving is recorded again";
    x->kill();
    begin_in(CI);
    EXPECT_EQ(4000, due()) << "serving is recorded";
    x->kill();
    begin_in(RW);
    x->core()->recover_served = now.wall - 10;
    EXPECT_EQ(50000, due()) << "the end of recover-wait";
    x->kill();
    begin_in(RE);
    EXPECT_EQ(60000, due()) << "the reminder";
    link_up_in(PD);
    EXPECT_EQ(INT64_MAX - now.mono, due()) << "the partner is there";
    state_enter(x->core(), SH, now.wall);
    EXPECT_EQ(5000, due()) << "the link is closed";
    x->kill();
    begin_in(SH);
    EXPECT_EQ(INT64_MAX - now.mono, due());
}

TEST_F(State, ServingIsRecordedEveryFewSeconds) {
    begin_in(CI);
    uint64_t sequence = failover_sequence(x->core());
    run();
    EXPECT_EQ(sequence, failover_sequence(x->core())) << "not at every turn";
    for (int i = 0; i < 40; i++) {
        pass(1000);
        EXPECT_LE(now.wall - x->record_->last_served, FAILOVER_SERVED_INTERVAL);
    }
    int64_t served = x->record_->last_served;
    state_enter(x->core(), RE, now.wall);
    run();
    pass(60000);
    EXPECT_LE(x->record_->last_served, served + FAILOVER_SERVED_INTERVAL) << "who is silent doesn't serve";
}

TEST_F(State, ACleanStopIsRecorded) {
    begin_in(CI);
    pass(1500);
    failover_stop(x->core(), now);
    x->commit(now);
    EXPECT_EQ(now.wall, x->record_->last_served);
}

TEST_F(State, StartAloneAfterMoreThanTheMcltIsAWarning) {
    make_known(FAILOVER_PRIMARY, NO);
    x->record_->last_served = now.wall - 3600;
    start();
    pass(10000);
    ASSERT_EQ(CI, x->state());
    EXPECT_TRUE(x->logged("alone")) << "the design's safety sentence asks for a WARN that says so";
}

TEST_F(State, OtherStartsAreNoWarning) {
    auto begin = [&](failover_state state, int64_t away, uint32_t mclt = 60) {
        make_known(FAILOVER_PRIMARY, state, 20, [&](failover_config &c) { c.mclt = mclt; });
        x->record_->last_served = away == 0 ? 0 : now.wall - away;
        start();
    };
    const struct {
        failover_state state;
        int64_t away;
        uint32_t mclt;
        bool warns;
    } cases[] = {{NO, 51, 60, true},  {NO, 50, 60, false}, // the startup delay counts
                 {NO, 0, 60, false},  {RE, 3600, 60, false},
                 {NO, 30, 20, false}, // the partner has still the MCLT of before
                 {NO, 51, 20, true}};
    for (auto &c : cases) {
        begin(c.state, c.away, c.mclt);
        pass(10000);
        EXPECT_EQ(c.warns, x->logged("alone")) << c.away << ", " << c.mclt;
        x->kill();
    }
    begin(NO, 3600);
    link_up();
    send(state_message(CI, now.wall));
    EXPECT_FALSE(x->logged("alone")) << "the partner is there";
}

// ---- The partner in PARTNER-DOWN (rule 7) ---------------------------------------------------------------------------

// A second is for the rounding of both clocks.
TEST_F(State, OnlyWhatWasGrantedSinceThePartnersPartnerDownIsAConflict) {
    for (int64_t before : {0, 1, 2}) {
        ours = true;
        begin_in(CI);
        x->core()->record.last_granted = now.wall - 100;
        link_up();
        send(state_message(PD, now.wall - 100 + before));
        EXPECT_EQ(before < 2 ? PC : RE, x->state()) << "granted " << before << " s before it";
        x->kill();
    }
}
