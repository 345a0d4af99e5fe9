# SPDX-License-Identifier: MPL-2.0
"""Kea's DDNS server beside each DHCP server, and one DNS server for all: a stub that takes updates (RFC 2136) with
their prerequisites, keeps what they leave, and remembers who sent what."""
import json
import os
import select
import signal
import socket
import struct
import threading

from kea import environment
from packet import ip_text
from process import Daemon

DNS_PORT, NCR_PORT = 5300, 53001
DOMAIN, REVERSE = "example.org.", "10.in-addr.arpa."
A, PTR, AAAA, DHCID, ANY_TYPE = 1, 12, 28, 49, 255
IN, NONE, ANY = 1, 254, 255
NOERROR, YXDOMAIN, YXRRSET, NXRRSET, NXDOMAIN = 0, 6, 7, 8, 3


def dhcp_options():
    """For kea_config()."""
    return {"dhcp_ddns": {"enable-updates": True, "server-ip": "127.0.0.1", "server-port": NCR_PORT},
            "ddns_send_updates": True, "ddns_qualifying_suffix": DOMAIN}


class Ddns(Daemon):
    """kea-dhcp-ddns on the host of a DHCP server.

    It keeps nothing that a clean stop would save. Told to stop while an update is on its way, 2.2 goes on to wait for an
    event when the answer has come, and none may ever come: it forgets a finished update only just before it waits.
    """
    stop_signal = signal.SIGKILL
    clean_exits = (-signal.SIGKILL,)

    def __init__(self, host):
        super().__init__(host, "kea-dhcp-ddns")

    def start(self):
        servers = [{"ip-address": "127.0.0.1", "port": DNS_PORT}]
        config = {"DhcpDdns": {
            "ip-address": "127.0.0.1", "port": NCR_PORT, "dns-server-timeout": 2000, "tsig-keys": [],
            "forward-ddns": {"ddns-domains": [{"name": DOMAIN, "dns-servers": servers}]},
            "reverse-ddns": {"ddns-domains": [{"name": REVERSE, "dns-servers": servers}]},
            "loggers": [{"name": "kea-dhcp-ddns", "severity": "INFO", "output_options": [{"output": "stdout"}]}]}}
        with open(os.path.join(self.host.path, "ddns.json"), "w") as file:
            json.dump(config, file, indent=2)
        self.spawn([self.host.program(self.name), "-c", f"{self.host.self_path}/ddns.json"], environment(self.host))
        self.log.wait("DHCP_DDNS_STARTED")


class Reader:
    """What is in a DNS message, one after the other."""

    def __init__(self, data):
        self.data = data
        self.at = 12

    def numbers(self, form):
        values = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return values

    def name(self):
        """With compression (RFC 1035, 4.1.4)."""
        labels, at, back = [], self.at, None
        while length := self.data[at]:
            if length >= 0xc0:
                back = back or at + 2
                at = struct.unpack_from("!H", self.data, at)[0] & 0x3fff
                continue
            labels.append(self.data[at + 1:at + 1 + length].decode())
            at += 1 + length
        self.at = back or at + 1
        return ".".join(labels).lower() + "."

    def record(self):
        """(name, type, class, what it says)"""
        name = self.name()
        kind, class_, _, length = self.numbers("!HHIH")
        begin = self.at
        says = self.name() if kind == PTR and length else self.data[begin:begin + length]
        self.at = begin + length
        return name, kind, class_, ip_text(says) if kind == A and length else says


class Dns:
    """A context manager."""

    def __init__(self, bed, *hosts):
        self.zone = {}              # name -> {(type, what it says)}
        self.deletes = []           # (host, name, address, whether it had an effect)
        self._daemons = [bed.add(Ddns(host)) for host in hosts]
        self._sockets = {}
        for host in hosts:
            there = host.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM)
            there.bind(("127.0.0.1", DNS_PORT))
            self._sockets[there] = host.name
        self._stop = os.eventfd(0)
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self):
        self._thread.start()
        for daemon in self._daemons:
            daemon.start()
        return self

    def __exit__(self, *_):
        for daemon in self._daemons:
            daemon.stop()
        os.eventfd_write(self._stop, 1)
        self._thread.join()
        os.close(self._stop)
        for there in self._sockets:
            there.close()

    def _serve(self):
        while True:
            ready, _, _ = select.select([*self._sockets, self._stop], [], [])
            if self._stop in ready:
                return
            for there in ready:
                data, client = there.recvfrom(65536)
                there.sendto(self._answer(self._sockets[there], data), client)

    def _answer(self, host, data):
        number, flags, _, prerequisites, updates, _ = struct.unpack_from("!6H", data)
        reader = Reader(data)
        reader.name()
        reader.numbers("!HH")
        unmet = [self._unmet(*reader.record()) for _ in range(prerequisites)]
        code = next(filter(None, unmet), NOERROR)
        for name, kind, class_, says in [reader.record() for _ in range(updates)]:
            if class_ == NONE and kind == A:
                self.deletes.append((host, name, says, code == NOERROR and (A, says) in self.zone.get(name, set())))
            if code == NOERROR:
                self._update(name, kind, class_, says)
        return struct.pack("!6H", number, 0x8000 | flags & 0x7800 | code, 0, 0, 0, 0)

    def _unmet(self, name, kind, class_, says):
        """RFC 2136, 3.2"""
        there = {one for one in self.zone.get(name, set()) if kind in (ANY_TYPE, one[0])}
        if class_ == ANY:
            return NOERROR if there else NXDOMAIN if kind == ANY_TYPE else NXRRSET
        if class_ == NONE:
            return NOERROR if not there else YXDOMAIN if kind == ANY_TYPE else YXRRSET
        return NOERROR if (kind, says) in there else NXRRSET

    def _update(self, name, kind, class_, says):
        """RFC 2136, 3.4.2"""
        there = self.zone.setdefault(name, set())
        if class_ == IN:
            there.add((kind, says))
        elif class_ == NONE:
            there.discard((kind, says))
        else:
            there -= {one for one in there if kind in (ANY_TYPE, one[0])}
        if not there:
            del self.zone[name]

    # --- what tests ask -----------------------------------------------------------------------------------------------

    def address(self, host_name):
        """The address of a name in the domain; None: it has none."""
        found = [says for kind, says in self.zone.get(f"{host_name}.{DOMAIN}", ()) if kind == A]
        return found[0] if found else None

    def name(self, address):
        """The host name of an address."""
        reverse = ".".join(reversed(address.split("."))) + ".in-addr.arpa."
        found = [says for kind, says in self.zone.get(reverse, ()) if kind == PTR]
        return found[0].partition(".")[0] if found else None

    def wait_added(self, server):
        """Until the DDNS server beside this DHCP server has put a name there."""
        daemon = next(daemon for daemon in self._daemons if daemon.host is server.host)
        daemon.log.wait("DHCP_DDNS_ADD_SUCCEEDED")

    def deleted(self, host_name):
        """[(host, whether it had an effect)]: who wanted the address of a name removed."""
        return [(host, effect) for host, name, _, effect in list(self.deletes) if name == f"{host_name}.{DOMAIN}"]
