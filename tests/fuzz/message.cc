// SPDX-License-Identifier: MPL-2.0
//
// The decoder: any bytes. What decodes is written again, and means the same when it is read again.
#include <cstring>

#include "input.h"
#include "message.h"

namespace {

bool same(failover_bytes a, failover_bytes b) {
    return a.length == b.length && (a.length == 0 || memcmp(a.data, b.data, a.length) == 0);
}

bool same(const failover_message &a, const failover_message &b) {
    return a.type == b.type && a.time == b.time && a.xid == b.xid && a.present == b.present &&
           a.addresses_transferred == b.addresses_transferred && a.assigned_ip_address == b.assigned_ip_address &&
           a.binding_status == b.binding_status && a.protocol_version == b.protocol_version &&
           a.reject_reason == b.reject_reason && a.server_flags == b.server_flags && a.server_state == b.server_state &&
           a.tls_reply == b.tls_reply && a.tls_request == b.tls_request &&
           a.delayed_service_parameter == b.delayed_service_parameter && a.ip_flags == b.ip_flags &&
           a.max_unacked_bndupd == b.max_unacked_bndupd && a.mclt == b.mclt && a.receive_timer == b.receive_timer &&
           a.client_last_transaction_time == b.client_last_transaction_time &&
           a.lease_expiration_time == b.lease_expiration_time &&
           a.potential_expiration_time == b.potential_expiration_time &&
           a.start_time_of_state == b.start_time_of_state && same(a.client_identifier, b.client_identifier) &&
           same(a.client_hardware_address, b.client_hardware_address) &&
           same(a.hash_bucket_assignment, b.hash_bucket_assignment) && same(a.message, b.message) &&
           same(a.relationship_name, b.relationship_name) &&
           same(a.vendor_class_identifier, b.vendor_class_identifier) &&
           same(a.vendor_specific_options, b.vendor_specific_options);
}

// Takes one message off the front; 0: there is none.
size_t take(const uint8_t *data, size_t size) {
    failover_message m;
    size_t consumed = 0;
    failover_decode_result result = failover_message_decode(data, size, &m, &consumed);
    MUST(failover_decode_text(result)[0] != '\0', "result %d has no text", result);
    if (result != FAILOVER_DECODED) {
        MUST(consumed == 0, "bytes of a message that can't be read were used");
        return 0;
    }
    MUST(consumed >= FAILOVER_HEADER_SIZE && consumed <= FAILOVER_MESSAGE_SIZE_MAX && consumed <= size,
         "%zu bytes of %zu", consumed, size);
    std::vector<uint8_t> out(FAILOVER_MESSAGE_SIZE_MAX);
    size_t written = failover_message_encode(&m, out.data(), out.size());
    MUST(written > 0 && written <= consumed, "%s of %zu bytes is written with %zu", failover_message_name(m.type),
         consumed, written);
    out.resize(written); // so that reading past its end is seen
    out.shrink_to_fit();
    failover_message again;
    size_t used = 0;
    result = failover_message_decode(out.data(), out.size(), &again, &used);
    MUST(result == FAILOVER_DECODED && used == written, "%s", failover_decode_text(result));
    MUST(same(m, again), "%s is another one when it is read again", failover_message_name(m.type));
    failover_reject_text(m.reject_reason);
    return consumed;
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    for (size_t used; size > 0 && (used = take(data, size)) > 0; data += used, size -= used) {
    }
    return 0;
}
