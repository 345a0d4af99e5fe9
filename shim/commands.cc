// SPDX-License-Identifier: MPL-2.0
#include "commands.h"

#include <algorithm>
#include <arpa/inet.h>
#include <cc/command_interpreter.h>
#include <exceptions/exceptions.h>
#include <iomanip>
#include <sstream>

#include "log.h"

using isc::config::createAnswer;
using isc::data::ConstElementPtr;
using isc::data::Element;
using isc::data::ElementPtr;

namespace shim {
namespace {

// Why a command can't be carried out: the text of its answer.
class Refusal : public std::runtime_error {
public:
    explicit Refusal(const std::string &text) : std::runtime_error(whole(text)) {
    }

private:
    static std::string whole(std::string text) {
        std::replace(text.begin(), text.end(), '\0', '?'); // it would end the text
        return text;
    }
};

// ---- Arguments ------------------------------------------------------------------------------------------------------

const char *typeName(const ConstElementPtr &value) {
    static thread_local std::string name;
    name = Element::typeToName(Element::types(value->getType()));
    return name.c_str();
}

// The arguments of a command: only known ones, each of its type.
class Arguments {
public:
    Arguments(const ConstElementPtr &arguments, const std::vector<std::string> &known) : map_(arguments) {
        if (!map_) {
            map_ = Element::createMap();
        }
        if (map_->getType() != Element::map) {
            throw Refusal(std::string("arguments must be a map, not a ") + typeName(map_));
        }
        for (const auto &entry : map_->mapValue()) {
            if (std::find(known.begin(), known.end(), entry.first) == known.end()) {
                throw Refusal("unknown argument \"" + entry.first + "\"; accepted are: " + join(known));
            }
        }
    }
    bool has(const std::string &name) const {
        return map_->contains(name);
    }
    std::string text(const std::string &name) const {
        std::string text = value(name, Element::string, "a string")->stringValue();
        if (text.find('\0') != std::string::npos) {
            throw Refusal("the argument \"" + name + "\" must have no NUL character");
        }
        return text;
    }
    bool flag(const std::string &name) const {
        return has(name) && value(name, Element::boolean, "true or false")->boolValue();
    }
    int64_t number(const std::string &name) const {
        return value(name, Element::integer, "an integer")->intValue();
    }
    static std::string join(const std::vector<std::string> &words) {
        std::string all;
        for (const auto &word : words) {
            all += (all.empty() ? "" : ", ") + word;
        }
        return all.empty() ? "none" : all;
    }

private:
    ConstElementPtr value(const std::string &name, Element::types type, const char *what) const {
        if (!has(name)) {
            throw Refusal("the argument \"" + name + "\" is missing");
        }
        ConstElementPtr value = map_->get(name);
        if (value->getType() != type) {
            throw Refusal("the argument \"" + name + "\" must be " + what + ", not a " + typeName(value));
        }
        return value;
    }
    ConstElementPtr map_;
};

std::string names(const Service &service) {
    std::vector<std::string> all;
    for (const auto &r : service.relationships()) {
        all.push_back(r->name());
    }
    return Arguments::join(all);
}

// The one that is meant; it may be left unsaid where there is one only.
Relationship &pick(Service &service, const Arguments &arguments) {
    if (!arguments.has("relationship")) {
        if (service.relationships().size() != 1) {
            throw Refusal("the argument \"relationship\" is missing: there are several, " + names(service));
        }
        return *service.relationships().front();
    }
    std::string name = arguments.text("relationship");
    Relationship *found = service.find(name);
    if (found == nullptr) {
        throw Refusal("there is no relationship \"" + name + "\"; there are: " + names(service));
    }
    return *found;
}

failover_status statusOf(Relationship &relationship) {
    failover_status status;
    relationship.with([&](failover *core, failover_clock now) { failover_get_status(core, now, &status); });
    return status;
}

// ---- Words ----------------------------------------------------------------------------------------------------------

ElementPtr integer(int64_t value) {
    return Element::create(static_cast<long long int>(value));
}

std::string hex(const uint8_t *bytes, size_t length) {
    std::ostringstream out;
    for (size_t i = 0; i < length; i++) {
        out << (i == 0 ? "" : ":") << std::hex << std::setw(2) << std::setfill('0') << int(bytes[i]);
    }
    return out.str();
}

const char *linkName(const failover_status &s) {
    return s.link_held_down ? "held-down" : s.linked ? "up" : "down";
}

// A time without an end is no number.
void setTime(const ElementPtr &map, const char *name, int64_t time) {
    if (time == FAILOVER_TIME_INFINITE) {
        map->set(name, Element::create("never"));
    } else if (time != 0) {
        map->set(name, integer(time));
    }
}

ElementPtr bindingCounts(const failover_status &s) {
    ElementPtr map = Element::createMap();
    map->set("active", integer(int64_t(s.by_status[FAILOVER_ACTIVE])));
    map->set("free-mine", integer(int64_t(s.by_status[FAILOVER_FREE])));
    map->set("free-partners", integer(int64_t(s.by_status[FAILOVER_BACKUP])));
    map->set("expired", integer(int64_t(s.by_status[FAILOVER_EXPIRED])));
    map->set("released", integer(int64_t(s.by_status[FAILOVER_RELEASED])));
    map->set("reset", integer(int64_t(s.by_status[FAILOVER_RESET])));
    map->set("abandoned", integer(int64_t(s.by_status[FAILOVER_ABANDONED])));
    map->set("reserved", integer(int64_t(s.reserved)));
    return map;
}

ElementPtr counters(const failover_counters &c) {
    ElementPtr map = Element::createMap();
    map->set("updates-sent", integer(int64_t(c.updates_sent)));
    map->set("updates-received", integer(int64_t(c.updates_received)));
    map->set("updates-acked", integer(int64_t(c.updates_acked)));
    map->set("updates-rejected", integer(int64_t(c.updates_rejected)));
    map->set("rejects-sent", integer(int64_t(c.rejects_sent)));
    map->set("renewals-refused", integer(int64_t(c.renewals_refused)));
    map->set("requests-refused", integer(int64_t(c.requests_refused)));
    map->set("queries-silent", integer(int64_t(c.queries_silent)));
    map->set("queries-balanced", integer(int64_t(c.queries_balanced)));
    map->set("addresses-replaced", integer(int64_t(c.addresses_replaced)));
    map->set("exhausted", integer(int64_t(c.exhausted)));
    map->set("clashes", integer(int64_t(c.clashes)));
    map->set("connects", integer(int64_t(c.connects)));
    map->set("disconnects", integer(int64_t(c.disconnects)));
    return map;
}

ElementPtr pendingSteps(const failover_status &s) {
    ElementPtr steps = Element::createList();
    for (size_t i = 0; i < s.pending_count; i++) {
        ElementPtr step = Element::createMap();
        step->set("step", Element::create(s.pending[i].what));
        step->set("seconds", integer(s.pending[i].seconds));
        steps->add(step);
    }
    return steps;
}

// What one server has asked the other for.
ElementPtr transfer(const failover_transfer &t) {
    ElementPtr map = Element::createMap();
    map->set("direction", Element::create(t.sending ? "to-partner" : "from-partner"));
    map->set("bindings", integer(int64_t(t.bindings)));
    map->set("seconds", integer(t.seconds));
    if (t.sending) {
        map->set("expected", integer(int64_t(t.expected)));
        map->set("percent", integer(t.percent));
    }
    if (t.sending && t.left >= 0) {
        map->set("seconds-left", integer(t.left));
    }
    return map;
}

// What status-get says too.
ElementPtr briefly(Relationship &relationship, const failover_status &s) {
    ElementPtr map = Element::createMap();
    map->set("name", Element::create(relationship.name()));
    map->set("state", Element::create(failover_state_name(s.state)));
    map->set("since", integer(s.since));
    map->set("role", Element::create(failover_role_name(s.role)));
    map->set("partner-state", Element::create(failover_state_name(s.partner_state)));
    map->set("link", Element::create(linkName(s)));
    map->set("why", Element::create(std::string(s.why)));
    return map;
}

ElementPtr fully(Service &service, Relationship &relationship) {
    failover_status s = statusOf(relationship);
    ElementPtr map = briefly(relationship, s);
    map->set("this-server-name", Element::create(relationship.parameters.this_server));
    map->set("partner-name", Element::create(relationship.parameters.partner_server));
    map->set("configured-role", Element::create(failover_role_name(s.configured_role)));
    setTime(map, "partner-since", s.partner_since);
    map->set("listening", Element::create(service.listens(relationship)));
    map->set("skew", integer(s.skew));
    map->set("mclt", integer(s.mclt));
    map->set("database", Element::create(s.storing ? "written" : "not-written"));
    map->set("bindings", bindingCounts(s));
    map->set("updates-queued", integer(int64_t(s.updates_queued)));
    map->set("updates-unacked", integer(int64_t(s.updates_unacked)));
    if (s.transfer.sending || s.transfer.receiving) {
        map->set("transfer", transfer(s.transfer));
    }
    map->set("pending", pendingSteps(s));
    map->set("counters", counters(s.counters));
    return map;
}

// ---- force-state ----------------------------------------------------------------------------------------------------

failover_force parseForce(const Arguments &arguments) {
    failover_force force{};
    std::string state = arguments.text("state");
    force.state = failover_forced_state(state.c_str());
    if (force.state == FAILOVER_UNKNOWN) {
        throw Refusal("the state \"" + state + "\" can't be forced; those that can are: " + failover_forced_states());
    }
    force.override_guard = arguments.flag("override");
    if (arguments.has("since")) {
        force.since = arguments.number("since");
        if (force.since <= 0) {
            throw Refusal("the argument \"since\" must be a time in Unix seconds");
        }
    }
    return force;
}

ConstElementPtr forceAnswer(Relationship &relationship, const failover_plan &plan) {
    failover_status s = statusOf(relationship);
    ElementPtr map = Element::createMap();
    ElementPtr effects = Element::createList();
    for (size_t i = 0; i < plan.effect_count; i++) {
        effects->add(Element::create(std::string(plan.effects[i])));
    }
    map->set("relationship", Element::create(relationship.name()));
    map->set("previous-state", Element::create(failover_state_name(plan.previous)));
    map->set("state", Element::create(failover_state_name(s.state)));
    map->set("role", Element::create(failover_role_name(s.role)));
    map->set("partner-state", Element::create(failover_state_name(s.partner_state)));
    map->set("since", integer(s.since));
    map->set("effects", effects);
    return createAnswer(FAILOVER_OK, plan.text, map);
}

ConstElementPtr force(Service &service, const ConstElementPtr &given) {
    Arguments arguments(given, {"state", "relationship", "override", "since"});
    failover_force force = parseForce(arguments);
    Relationship &relationship = pick(service, arguments);
    failover_plan plan;
    relationship.with([&](failover *core, failover_clock now) { failover_force_plan(core, &force, now, &plan); });
    if (plan.result != FAILOVER_OK) {
        return createAnswer(plan.result, plan.text);
    }
    if (!service.storeNow(relationship, plan)) {
        return createAnswer(FAILOVER_ERROR_RESULT, "the failover database could not be written in time: nothing has "
                                                   "changed");
    }
    relationship.with([&](failover *core, failover_clock now) { failover_force_apply(core, &force, &plan, now); });
    LOG_WARN(logger, FAILOVER_FORCED).arg(relationship.name()).arg(failover_state_name(force.state)).arg(plan.text);
    if (force.state == FAILOVER_SHUTDOWN) {
        service.flushShutdown(relationship);
    }
    service.wake();
    return forceAnswer(relationship, plan);
}

// ---- The others -----------------------------------------------------------------------------------------------------

ConstElementPtr status(Service &service, const ConstElementPtr &given) {
    Arguments arguments(given, {"relationship"});
    ElementPtr list = Element::createList();
    if (arguments.has("relationship")) {
        list->add(fully(service, pick(service, arguments)));
    } else {
        for (const auto &r : service.relationships()) {
            list->add(fully(service, *r));
        }
    }
    ElementPtr map = Element::createMap();
    map->set("relationships", list);
    return createAnswer(FAILOVER_OK, "", map);
}

ElementPtr describe(Relationship &relationship, uint32_t address, const failover_binding &b, bool extended) {
    ElementPtr map = Element::createMap();
    failover_why why;
    int64_t wait = 0;
    uint32_t subnet = 0;
    bool on_disk = false;
    relationship.with([&](failover *core, failover_clock now) {
        failover_explain_binding(core, address, now, &why);
        on_disk = failover_is_on_disk(core, address);
        wait = failover_binding_wait_over(core, address);
        subnet = failover_subnet_of(core, address);
    });
    map->set("relationship", Element::create(relationship.name()));
    map->set("subnet-id", integer(subnet));
    map->set("binding-state", Element::create(failover_binding_status_name(b.status)));
    if (b.status == FAILOVER_FREE) {
        map->set("owner", Element::create(failover_owner_name(b.owner)));
    }
    setTime(map, "start-time-of-state", b.starts);
    setTime(map, "ends", b.ends);
    setTime(map, "lease-expiration", b.given);
    setTime(map, "client-last-transaction-time", b.cltt);
    setTime(map, "sent-potential-expiration", b.sent);
    setTime(map, "acked-potential-expiration", b.acked);
    setTime(map, "received-potential-expiration", b.received);
    setTime(map, "wait-over", wait);
    if (b.client.hardware_length > 1) {
        map->set("hw-address", Element::create(hex(b.client.hardware + 1, b.client.hardware_length - 1u)));
    }
    if (b.client.id_length > 0) {
        map->set("client-id", Element::create(hex(b.client.id, b.client.id_length)));
    }
    map->set("reserved", Element::create(b.reserved));
    map->set("extended", Element::create(extended));
    map->set("partner-knows", Element::create(!b.update_due));
    map->set("on-disk", Element::create(on_disk));
    map->set("why", Element::create(std::string(why.text)));
    return map;
}

ConstElementPtr binding(Service &service, const ConstElementPtr &given) {
    Arguments arguments(given, {"ip-address"});
    std::string text = arguments.text("ip-address");
    in_addr parsed;
    if (inet_pton(AF_INET, text.c_str(), &parsed) != 1) {
        throw Refusal("\"" + text + "\" is no IPv4 address");
    }
    uint32_t address = ntohl(parsed.s_addr);
    for (const auto &r : service.relationships()) {
        failover_binding b;
        bool extended = false;
        bool found = r->with([&](failover *core, failover_clock) {
            bool known = failover_get_binding(core, address, &b);
            extended = known && b.extended_epoch == failover_get_record(core)->epoch;
            return known;
        });
        if (found) {
            ElementPtr map = describe(*r, address, b, extended);
            map->set("ip-address", Element::create(text));
            return createAnswer(FAILOVER_OK, "", map);
        }
    }
    return createAnswer(isc::config::CONTROL_RESULT_EMPTY, text + " is in no pool of a relationship");
}

ConstElementPtr sync(Service &service, const ConstElementPtr &given) {
    Arguments arguments(given, {"relationship"});
    Relationship &relationship = pick(service, arguments);
    failover_why why;
    bool asked = relationship.with([&](failover *core, failover_clock now) { return failover_sync(core, now, &why); });
    if (!asked) {
        throw Refusal(why.text);
    }
    service.wake();
    return createAnswer(FAILOVER_OK, "the partner is asked for everything (UPDREQALL)");
}

template <typename Command>
ConstElementPtr answered(Command command, Service &service, const ConstElementPtr &arguments) {
    try {
        if (!service.isRunning()) {
            throw Refusal(
                "the failover hook is not running: its start has failed, or is still to come; the log says why");
        }
        return command(service, arguments);
    } catch (const std::exception &error) {
        return createAnswer(FAILOVER_ERROR_RESULT, error.what());
    }
}

} // namespace

ConstElementPtr forceState(Service &service, const ConstElementPtr &arguments) {
    return answered(force, service, arguments);
}

ConstElementPtr failoverStatus(Service &service, const ConstElementPtr &arguments) {
    return answered(status, service, arguments);
}

ConstElementPtr failoverBinding(Service &service, const ConstElementPtr &arguments) {
    return answered(binding, service, arguments);
}

ConstElementPtr failoverSync(Service &service, const ConstElementPtr &arguments) {
    return answered(sync, service, arguments);
}

// ---- command_processed ----------------------------------------------------------------------------------------------

namespace {

void completeStatus(Service &service, const ConstElementPtr &response) {
    ConstElementPtr arguments = response->get("arguments");
    if (!arguments || arguments->getType() != Element::map || !service.isRunning()) {
        return;
    }
    ElementPtr list = Element::createList();
    for (const auto &r : service.relationships()) {
        list->add(briefly(*r, statusOf(*r)));
    }
    boost::const_pointer_cast<Element>(arguments)->set("failover", list);
}

void adoptWritten(Service &service, const ConstElementPtr &arguments) {
    ConstElementPtr address = arguments ? arguments->get("ip-address") : ConstElementPtr();
    in_addr parsed;
    if (address && address->getType() == Element::string &&
        inet_pton(AF_INET, address->stringValue().c_str(), &parsed) == 1) {
        service.adoptRow(ntohl(parsed.s_addr));
    }
}

} // namespace

void commandProcessed(Service &service, isc::hooks::CalloutHandle &handle) {
    std::string name;
    ConstElementPtr arguments, response;
    handle.getArgument("name", name);
    handle.getArgument("arguments", arguments);
    handle.getArgument("response", response);
    int code = isc::config::CONTROL_RESULT_ERROR;
    if (!response || (isc::config::parseAnswer(code, response), code != isc::config::CONTROL_RESULT_SUCCESS)) {
        return;
    }
    if (name == "status-get") {
        completeStatus(service, response);
    } else if (name == "lease4-add" || name == "lease4-update") {
        adoptWritten(service, arguments);
    }
}

} // namespace shim
