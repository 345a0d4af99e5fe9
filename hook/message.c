/* SPDX-License-Identifier: MPL-2.0 */
#include "message.h"

#include <string.h>

enum kind { NONE, U8, U16, U32, TIME, BYTES, HBA };

#define FIELD(kind, member)                                                                                            \
    { kind, offsetof(struct failover_message, member) }

/* How each option is encoded, and where its value lives in struct failover_message. */
static const struct {
    enum kind kind;
    size_t offset;
} options[FAILOVER_OPTIONS] = {
    [FAILOVER_OPT_ADDRESSES_TRANSFERRED] = FIELD(U32, addresses_transferred),
    [FAILOVER_OPT_ASSIGNED_IP_ADDRESS] = FIELD(U32, assigned_ip_address),
    [FAILOVER_OPT_BINDING_STATUS] = FIELD(U8, binding_status),
    [FAILOVER_OPT_CLIENT_IDENTIFIER] = FIELD(BYTES, client_identifier),
    [FAILOVER_OPT_CLIENT_HARDWARE_ADDRESS] = FIELD(BYTES, client_hardware_address),
    [FAILOVER_OPT_CLIENT_LAST_TRANSACTION_TIME] = FIELD(TIME, client_last_transaction_time),
    [FAILOVER_OPT_DELAYED_SERVICE_PARAMETER] = FIELD(U8, delayed_service_parameter),
    [FAILOVER_OPT_HASH_BUCKET_ASSIGNMENT] = FIELD(HBA, hash_bucket_assignment),
    [FAILOVER_OPT_IP_FLAGS] = FIELD(U16, ip_flags),
    [FAILOVER_OPT_LEASE_EXPIRATION_TIME] = FIELD(TIME, lease_expiration_time),
    [FAILOVER_OPT_MAX_UNACKED_BNDUPD] = FIELD(U32, max_unacked_bndupd),
    [FAILOVER_OPT_MCLT] = FIELD(U32, mclt),
    [FAILOVER_OPT_MESSAGE] = FIELD(BYTES, message),
    [FAILOVER_OPT_POTENTIAL_EXPIRATION_TIME] = FIELD(TIME, potential_expiration_time),
    [FAILOVER_OPT_RECEIVE_TIMER] = FIELD(U32, receive_timer),
    [FAILOVER_OPT_PROTOCOL_VERSION] = FIELD(U8, protocol_version),
    [FAILOVER_OPT_REJECT_REASON] = FIELD(U8, reject_reason),
    [FAILOVER_OPT_RELATIONSHIP_NAME] = FIELD(BYTES, relationship_name),
    [FAILOVER_OPT_SERVER_FLAGS] = FIELD(U8, server_flags),
    [FAILOVER_OPT_SERVER_STATE] = FIELD(U8, server_state),
    [FAILOVER_OPT_START_TIME_OF_STATE] = FIELD(TIME, start_time_of_state),
    [FAILOVER_OPT_TLS_REPLY] = FIELD(U8, tls_reply),
    [FAILOVER_OPT_TLS_REQUEST] = FIELD(U8, tls_request),
    [FAILOVER_OPT_VENDOR_CLASS_IDENTIFIER] = FIELD(BYTES, vendor_class_identifier),
    [FAILOVER_OPT_VENDOR_SPECIFIC_OPTIONS] = FIELD(BYTES, vendor_specific_options),
};

/* Each type's options in the order in which dhcpd writes them; 0 ends the list. Ours come last. */
static const struct {
    const char *name;
    uint8_t order[12];
} types[] = {
    [FAILOVER_POOLREQ] = {"POOLREQ", {0}},
    [FAILOVER_POOLRESP] = {"POOLRESP", {1}},
    [FAILOVER_BNDUPD] = {"BNDUPD", {2, 3, 4, 5, 13, 18, 25, 6, 12}},
    [FAILOVER_BNDACK] = {"BNDACK", {2, 21, 16}},
    [FAILOVER_CONNECT] = {"CONNECT", {22, 14, 19, 28, 20, 27, 15, 11, 29}},
    [FAILOVER_CONNECTACK] = {"CONNECTACK", {22, 14, 19, 28, 20, 26, 21, 16, 29}},
    [FAILOVER_UPDREQALL] = {"UPDREQALL", {0}},
    [FAILOVER_UPDDONE] = {"UPDDONE", {0}},
    [FAILOVER_UPDREQ] = {"UPDREQ", {0}},
    [FAILOVER_STATE] = {"STATE", {24, 23, 25, 29}},
    [FAILOVER_CONTACT] = {"CONTACT", {0}},
    [FAILOVER_DISCONNECT] = {"DISCONNECT", {21, 16}},
};

#define TYPES (sizeof(types) / sizeof(types[0]))

static bool known_type(uint8_t type) {
    return type > 0 && type < TYPES;
}

const char *failover_message_name(uint8_t type) {
    return known_type(type) ? types[type].name : "unknown message type";
}

const char *failover_decode_text(enum failover_decode_result result) {
    static const char *const texts[] = {
        [FAILOVER_DECODED] = "decoded",
        [FAILOVER_INCOMPLETE] = "incomplete",
        [FAILOVER_BAD_LENGTH] = "message length outside 12 to 2048",
        [FAILOVER_BAD_OFFSET] = "payload offset outside the message",
        [FAILOVER_BAD_OPTION] = "option runs past the end of the message",
        [FAILOVER_BAD_OPTION_SIZE] = "option has a wrong size",
        [FAILOVER_REPEATED_OPTION] = "option appears twice",
        [FAILOVER_BAD_TYPE] = "unknown message type",
    };
    return texts[result];
}

const char *failover_reject_text(uint8_t reason) {
    static const char *const texts[] = {
        [1] = "illegal IP address (not part of any address pool)",
        [2] = "fatal conflict exists: address in use by other client",
        [3] = "missing binding information",
        [4] = "connection rejected, time mismatch too great",
        [5] = "connection rejected, invalid MCLT",
        [6] = "connection rejected, unknown reason",
        [7] = "connection rejected, duplicate connection",
        [8] = "connection rejected, invalid failover partner",
        [9] = "TLS not supported",
        [10] = "TLS supported but not configured",
        [11] = "TLS required but not supported by partner",
        [12] = "message digest not supported",
        [13] = "message digest not configured",
        [14] = "protocol version mismatch",
        [15] = "outdated binding information",
        [16] = "less critical binding information",
        [17] = "no traffic within sufficient time",
        [18] = "hash bucket assignment conflict",
        [19] = "IP not reserved on this server",
        [20] = "message digest failed to compare",
        [21] = "missing message digest",
    };
    if (reason == 0 || reason >= sizeof(texts) / sizeof(texts[0])) {
        return "unknown reject reason";
    }
    return texts[reason];
}

static uint16_t get16(const uint8_t *p) {
    return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t get32(const uint8_t *p) {
    return (uint32_t)get16(p) << 16 | get16(p + 2);
}

static void put16(uint8_t *p, uint16_t v) {
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v) {
    put16(p, (uint16_t)(v >> 16));
    put16(p + 2, (uint16_t)v);
}

/* dhcpd's "never"; once 2038 is past, it is a time like any other and only all ones can mean it. */
#define DHCPD_NEVER 0x7fffffffu

static int64_t time_from_wire(uint32_t wire, uint32_t now) {
    if (wire == UINT32_MAX || (wire == DHCPD_NEVER && now < DHCPD_NEVER)) {
        return FAILOVER_TIME_INFINITE;
    }
    return wire;
}

static uint32_t time_to_wire(int64_t time, uint32_t now) {
    if (time == FAILOVER_TIME_INFINITE) {
        return now < DHCPD_NEVER ? DHCPD_NEVER : UINT32_MAX;
    }
    if (time < 0) {
        return 0;
    }
    return time > UINT32_MAX ? UINT32_MAX : (uint32_t)time;
}

static size_t fixed_size(enum kind kind) {
    static const size_t sizes[] = {[U8] = 1, [U16] = 2, [U32] = 4, [TIME] = 4, [HBA] = FAILOVER_HBA_SIZE};
    return kind == BYTES ? 0 : sizes[kind];
}

static bool used_by(uint8_t type, uint16_t code) {
    const uint8_t *order = types[type].order;
    while (*order && *order != code) {
        order++;
    }
    return *order != 0;
}

static void read_option(struct failover_message *m, uint16_t code, const uint8_t *value, uint16_t length) {
    void *field = (uint8_t *)m + options[code].offset;
    switch (options[code].kind) {
    case U8:
        *(uint8_t *)field = value[0];
        break;
    case U16:
        *(uint16_t *)field = get16(value);
        break;
    case U32:
        *(uint32_t *)field = get32(value);
        break;
    case TIME:
        *(int64_t *)field = time_from_wire(get32(value), m->time);
        break;
    default:
        *(struct failover_bytes *)field = (struct failover_bytes){value, length};
        break;
    }
    failover_put(m, code);
}

static enum failover_decode_result read_options(struct failover_message *m, const uint8_t *p, const uint8_t *end) {
    while (p != end) {
        if (end - p < 4 || end - p - 4 < get16(p + 2)) {
            return FAILOVER_BAD_OPTION;
        }
        uint16_t code = get16(p);
        uint16_t length = get16(p + 2);
        const uint8_t *value = p + 4;
        p = value + length;
        if (code >= FAILOVER_OPTIONS || !used_by(m->type, code)) {
            continue;
        }
        if (failover_has(m, code)) {
            return FAILOVER_REPEATED_OPTION;
        }
        size_t size = fixed_size(options[code].kind);
        /* A bad HBA is answered with its own reject reason, so its size is the connection's to check. */
        if (size != 0 && size != length && options[code].kind != HBA) {
            return FAILOVER_BAD_OPTION_SIZE;
        }
        read_option(m, code, value, length);
    }
    return FAILOVER_DECODED;
}

enum failover_decode_result failover_message_decode(const uint8_t *data, size_t length, struct failover_message *m,
                                                    size_t *consumed) {
    if (length < 2) {
        return FAILOVER_INCOMPLETE;
    }
    size_t size = get16(data);
    if (size < FAILOVER_HEADER_SIZE || size > FAILOVER_MESSAGE_SIZE_MAX) {
        return FAILOVER_BAD_LENGTH;
    }
    if (length < size) {
        return FAILOVER_INCOMPLETE;
    }
    memset(m, 0, sizeof(*m));
    m->type = data[2];
    m->time = get32(data + 4);
    m->xid = get32(data + 8);
    if (!known_type(m->type)) {
        return FAILOVER_BAD_TYPE;
    }
    if (data[3] < FAILOVER_HEADER_SIZE || data[3] > size) {
        return FAILOVER_BAD_OFFSET;
    }
    enum failover_decode_result result = read_options(m, data + data[3], data + size);
    if (result == FAILOVER_DECODED) {
        *consumed = size;
    }
    return result;
}

static size_t option_length(const struct failover_message *m, uint8_t code) {
    if (options[code].kind == BYTES || options[code].kind == HBA) {
        return ((const struct failover_bytes *)((const uint8_t *)m + options[code].offset))->length;
    }
    return fixed_size(options[code].kind);
}

static void write_option(const struct failover_message *m, uint8_t code, uint8_t *out) {
    const void *field = (const uint8_t *)m + options[code].offset;
    switch (options[code].kind) {
    case U8:
        *out = *(const uint8_t *)field;
        break;
    case U16:
        put16(out, *(const uint16_t *)field);
        break;
    case U32:
        put32(out, *(const uint32_t *)field);
        break;
    case TIME:
        put32(out, time_to_wire(*(const int64_t *)field, m->time));
        break;
    default: {
        const struct failover_bytes *bytes = field;
        if (bytes->length > 0) {
            memcpy(out, bytes->data, bytes->length);
        }
        break;
    }
    }
}

size_t failover_message_encode(const struct failover_message *m, uint8_t *out, size_t capacity) {
    if (!known_type(m->type) || capacity < FAILOVER_HEADER_SIZE) {
        return 0;
    }
    if (capacity > FAILOVER_MESSAGE_SIZE_MAX) {
        capacity = FAILOVER_MESSAGE_SIZE_MAX;
    }
    size_t size = FAILOVER_HEADER_SIZE;
    for (const uint8_t *code = types[m->type].order; *code; code++) {
        if (!failover_has(m, *code)) {
            continue;
        }
        size_t length = option_length(m, *code);
        if (size + 4 + length > capacity) {
            return 0;
        }
        put16(out + size, *code);
        put16(out + size + 2, (uint16_t)length);
        write_option(m, *code, out + size + 4);
        size += 4 + length;
    }
    put16(out, (uint16_t)size);
    out[2] = m->type;
    out[3] = FAILOVER_HEADER_SIZE;
    put32(out + 4, m->time);
    put32(out + 8, m->xid);
    return size;
}
