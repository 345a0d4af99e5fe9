/* SPDX-License-Identifier: MPL-2.0 */
/* load_balance.h - who answers a new client while both servers serve: the hash of RFC 3074, in dhcpd's bit order. */
#ifndef FAILOVER_LOAD_BALANCE_H
#define FAILOVER_LOAD_BALANCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "message.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The bucket (0 to 255) of a client: `data` is its client identifier (option 61), or its chaddr if it sent none. */
uint8_t failover_hash(const uint8_t *data, size_t length);

/* Fills `hba` so that buckets 0 to `split` - 1 are the primary's; `split` is 0 to 256. */
void failover_hba_from_split(unsigned split, uint8_t hba[FAILOVER_HBA_SIZE]);

/* A set bit is the primary's, least significant bit first, as dhcpd has it (draft section 12.11 has it inverted). */
bool failover_bucket_is_primarys(const uint8_t hba[FAILOVER_HBA_SIZE], uint8_t bucket);

/*
 * The `secs` field as seconds. Some clients send it little-endian: a value above 255 whose low byte is zero is taken
 * for one of those, as Kea's libdhcp_ha does.
 */
uint16_t failover_secs(uint16_t field);

#ifdef __cplusplus
}
#endif
#endif
