// SPDX-License-Identifier: MPL-2.0
#include "sockets.h"

#include "kea_version.h"

#include <dhcp/iface_mgr.h>
#include <sys/socket.h>

namespace shim {

namespace {

// Bytes. The system doubles it and counts some 1,300 for a packet: those of 0.2 s at 8,000 DORA/s. A slow server that had
// room for more would answer clients that have already asked again, and never catch up.
constexpr int WANTED = 2 << 20;

void widen(int socket) {
    int size = 0;
    socklen_t length = sizeof(size);
    if (getsockopt(socket, SOL_SOCKET, SO_RCVBUF, &size, &length) == 0 && size >= 2 * WANTED) {
        return; // an operator's net.core.rmem_default
    }
    if (setsockopt(socket, SOL_SOCKET, SO_RCVBUFFORCE, &WANTED, sizeof(WANTED)) != 0) {
        setsockopt(socket, SOL_SOCKET, SO_RCVBUF, &WANTED, sizeof(WANTED)); // cut down to net.core.rmem_max
    }
}

} // namespace

void widenReceiveBuffers() {
    for (const isc::dhcp::IfacePtr &iface : isc::dhcp::IfaceMgr::instance().getIfaces()) {
        for (const isc::dhcp::SocketInfo &socket : iface->getSockets()) {
            widen(socket.sockfd_);
        }
    }
}

} // namespace shim
