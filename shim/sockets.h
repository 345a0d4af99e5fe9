// SPDX-License-Identifier: MPL-2.0
//
// sockets.h - Kea's own sockets for DHCP.
#ifndef FAILOVER_SOCKETS_H
#define FAILOVER_SOCKETS_H

namespace shim {

// Makes room in each of them for the packets that come while the server has no turn on its processor. The system's usual
// 208 KiB hold those of some 15 ms when every client comes at once; who is lost then sends again after 4 s.
void widenReceiveBuffers();

} // namespace shim

#endif
