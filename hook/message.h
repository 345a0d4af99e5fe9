/* SPDX-License-Identifier: MPL-2.0 */
/*
 * message.h - the wire format: one failover message to and from bytes (draft sections 6, 7 and 12).
 *
 * The bytes are those of ISC dhcpd 4.4: payload offset 12, options in dhcpd's order, two-byte IP-flags, one binding
 * for each BNDUPD, state number 254 for RECOVER-WAIT.
 */
#ifndef FAILOVER_MESSAGE_H
#define FAILOVER_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FAILOVER_HEADER_SIZE      12
#define FAILOVER_MESSAGE_SIZE_MAX 2048
#define FAILOVER_HBA_SIZE         32
/* htype and chaddr, as dhcpd takes them; a longer client-hardware-address is rejected in BNDACK. */
#define FAILOVER_HARDWARE_MAX 21

/* A lease without an end. Any other time is in Unix seconds. */
#define FAILOVER_TIME_INFINITE INT64_MAX

enum failover_message_type {
    FAILOVER_POOLREQ = 1,
    FAILOVER_POOLRESP = 2,
    FAILOVER_BNDUPD = 3,
    FAILOVER_BNDACK = 4,
    FAILOVER_CONNECT = 5,
    FAILOVER_CONNECTACK = 6,
    FAILOVER_UPDREQALL = 7,
    FAILOVER_UPDDONE = 8,
    FAILOVER_UPDREQ = 9,
    FAILOVER_STATE = 10,
    FAILOVER_CONTACT = 11,
    FAILOVER_DISCONNECT = 12,
};

enum failover_option {
    FAILOVER_OPT_ADDRESSES_TRANSFERRED = 1,
    FAILOVER_OPT_ASSIGNED_IP_ADDRESS = 2,
    FAILOVER_OPT_BINDING_STATUS = 3,
    FAILOVER_OPT_CLIENT_IDENTIFIER = 4,
    FAILOVER_OPT_CLIENT_HARDWARE_ADDRESS = 5,
    FAILOVER_OPT_CLIENT_LAST_TRANSACTION_TIME = 6,
    FAILOVER_OPT_CLIENT_REPLY_OPTIONS = 7,
    FAILOVER_OPT_CLIENT_REQUEST_OPTIONS = 8,
    FAILOVER_OPT_DDNS = 9,
    FAILOVER_OPT_DELAYED_SERVICE_PARAMETER = 10,
    FAILOVER_OPT_HASH_BUCKET_ASSIGNMENT = 11,
    FAILOVER_OPT_IP_FLAGS = 12,
    FAILOVER_OPT_LEASE_EXPIRATION_TIME = 13,
    FAILOVER_OPT_MAX_UNACKED_BNDUPD = 14,
    FAILOVER_OPT_MCLT = 15,
    FAILOVER_OPT_MESSAGE = 16,
    FAILOVER_OPT_MESSAGE_DIGEST = 17,
    FAILOVER_OPT_POTENTIAL_EXPIRATION_TIME = 18,
    FAILOVER_OPT_RECEIVE_TIMER = 19,
    FAILOVER_OPT_PROTOCOL_VERSION = 20,
    FAILOVER_OPT_REJECT_REASON = 21,
    FAILOVER_OPT_RELATIONSHIP_NAME = 22,
    FAILOVER_OPT_SERVER_FLAGS = 23,
    FAILOVER_OPT_SERVER_STATE = 24,
    FAILOVER_OPT_START_TIME_OF_STATE = 25,
    FAILOVER_OPT_TLS_REPLY = 26,
    FAILOVER_OPT_TLS_REQUEST = 27,
    FAILOVER_OPT_VENDOR_CLASS_IDENTIFIER = 28,
    FAILOVER_OPT_VENDOR_SPECIFIC_OPTIONS = 29,
    FAILOVER_OPTIONS
};

enum failover_reject_reason {
    FAILOVER_REJECT_ILLEGAL_IP_ADDRESS = 1,
    FAILOVER_REJECT_FATAL_CONFLICT = 2,
    FAILOVER_REJECT_MISSING_BINDING_INFORMATION = 3,
    FAILOVER_REJECT_TIME_MISMATCH = 4,
    FAILOVER_REJECT_INVALID_MCLT = 5,
    FAILOVER_REJECT_UNKNOWN_REASON = 6,
    FAILOVER_REJECT_DUPLICATE_CONNECTION = 7,
    FAILOVER_REJECT_INVALID_PARTNER = 8,
    FAILOVER_REJECT_TLS_UNSUPPORTED = 9,
    FAILOVER_REJECT_TLS_REQUIRED = 11,
    FAILOVER_REJECT_OUTDATED_BINDING_INFORMATION = 15,
    FAILOVER_REJECT_LESS_CRITICAL_BINDING_INFORMATION = 16,
    FAILOVER_REJECT_NO_TRAFFIC = 17,
    FAILOVER_REJECT_HBA_CONFLICT = 18,
    FAILOVER_REJECT_IP_NOT_RESERVED = 19,
    FAILOVER_REJECT_UNSPECIFIED = 254,
};

#define FAILOVER_SERVER_FLAG_STARTUP 0x01
#define FAILOVER_IP_FLAG_RESERVED    0x0001
#define FAILOVER_IP_FLAG_BOOTP       0x0002

/* Bytes that belong to somebody else: to the buffer that was decoded, or to the caller of the encoder. */
struct failover_bytes {
    const uint8_t *data;
    uint16_t length;
};

/* One message. Only the options whose bit is set in `present` mean anything; the others of a decoded one are zero. */
struct failover_message {
    uint8_t type;
    uint32_t time; /* the sender's clock at sending, Unix seconds */
    uint32_t xid;
    uint32_t present; /* bit n: option n is there; see failover_has() */

    uint32_t addresses_transferred;
    uint32_t assigned_ip_address; /* host byte order */
    uint8_t binding_status;
    uint8_t protocol_version;
    uint8_t reject_reason;
    uint8_t server_flags;
    uint8_t server_state; /* the number on the wire */
    uint8_t tls_reply;
    uint8_t tls_request;
    uint8_t delayed_service_parameter;
    uint16_t ip_flags;
    uint32_t max_unacked_bndupd;
    uint32_t mclt;          /* seconds */
    uint32_t receive_timer; /* seconds */
    int64_t client_last_transaction_time;
    int64_t lease_expiration_time;
    int64_t potential_expiration_time;
    int64_t start_time_of_state;
    struct failover_bytes client_identifier;
    struct failover_bytes client_hardware_address; /* htype, then chaddr */
    struct failover_bytes hash_bucket_assignment;
    struct failover_bytes message;
    struct failover_bytes relationship_name;
    struct failover_bytes vendor_class_identifier;
    struct failover_bytes vendor_specific_options;
};

static inline bool failover_has(const struct failover_message *m, enum failover_option option) {
    return (m->present >> option) & 1u;
}

static inline void failover_put(struct failover_message *m, enum failover_option option) {
    m->present |= 1u << option;
}

enum failover_decode_result {
    FAILOVER_DECODED = 0,
    FAILOVER_INCOMPLETE,      /* more bytes are needed; nothing was consumed */
    FAILOVER_BAD_LENGTH,      /* the length field is outside 12 to 2048 */
    FAILOVER_BAD_OFFSET,      /* the payload offset points into the header or behind the end */
    FAILOVER_BAD_OPTION,      /* an option runs past the end, or left-over bytes */
    FAILOVER_BAD_OPTION_SIZE, /* a fixed-size option of another size */
    FAILOVER_REPEATED_OPTION,
    FAILOVER_BAD_TYPE, /* message type 0 or above 12 */
};

/*
 * Takes one message from the front of `data`. On FAILOVER_DECODED `*consumed` bytes were used and byte strings in `m`
 * point into `data`. FAILOVER_INCOMPLETE asks for more bytes. Anything else cannot be resynchronised: log it with
 * failover_decode_text() and close the connection. Unknown options, and options that the type has no use for, are
 * passed over as dhcpd does.
 */
enum failover_decode_result failover_message_decode(const uint8_t *data, size_t length, struct failover_message *m,
                                                    size_t *consumed);

/*
 * Writes `m` to `out` in dhcpd's option order for its type. Times are saturated at 0xffffffff; one without an end is
 * written as dhcpd's "never", 0x7fffffff, for as long as that is not past. Returns the size, or 0 if it doesn't fit
 * into `capacity` or the type is unknown (a programming error of the caller).
 */
size_t failover_message_encode(const struct failover_message *m, uint8_t *out, size_t capacity);

/* The draft's name of a message type, and what a decoding error means; never null. */
const char *failover_message_name(uint8_t type);
const char *failover_decode_text(enum failover_decode_result result);
/* The draft's words for a reject reason; never null. */
const char *failover_reject_text(uint8_t reason);

#ifdef __cplusplus
}
#endif
#endif
