# SPDX-License-Identifier: MPL-2.0
"""DHCPv4 messages and the frames around them, to and from bytes; and the load balancing hash."""
import dataclasses
import ipaddress
import struct

BROADCAST_MAC = "ff:ff:ff:ff:ff:ff"
ETHERTYPE_IP, ETHERTYPE_ARP = 0x0800, 0x0806
COOKIE = bytes([99, 130, 83, 99])

DISCOVER, OFFER, REQUEST, DECLINE, ACK, NAK, RELEASE, INFORM = range(1, 9)
MESSAGE_NAMES = dict(enumerate("DISCOVER OFFER REQUEST DECLINE ACK NAK RELEASE INFORM".split(), 1))

# Option codes
SUBNET_MASK, HOST_NAME, REQUESTED_ADDRESS, LEASE_TIME, MESSAGE_TYPE = 1, 12, 50, 51, 53
SERVER_ID, PARAMETER_LIST, MESSAGE, T1, T2, CLIENT_ID, RELAY_INFORMATION = 54, 55, 56, 58, 59, 61, 82
END, PAD = 255, 0


def mac_bytes(text):
    return bytes.fromhex(text.replace(":", ""))


def mac_text(data):
    return ":".join(f"{byte:02x}" for byte in data)


def ip_bytes(text):
    return ipaddress.IPv4Address(text).packed


def ip_text(data):
    return str(ipaddress.IPv4Address(data))


@dataclasses.dataclass
class Message:
    """One DHCP message. Addresses are text, options a dictionary from code to bytes."""
    op: int = 1
    xid: int = 0
    secs: int = 0
    flags: int = 0
    ciaddr: str = "0.0.0.0"
    yiaddr: str = "0.0.0.0"
    siaddr: str = "0.0.0.0"
    giaddr: str = "0.0.0.0"
    chaddr: str = "00:00:00:00:00:00"
    options: dict = dataclasses.field(default_factory=dict)

    @property
    def type(self):
        return self.options[MESSAGE_TYPE][0]

    def address_option(self, code):
        return ip_text(self.options[code]) if code in self.options else None

    def number_option(self, code):
        return int.from_bytes(self.options[code], "big") if code in self.options else None

    def encode(self):
        head = struct.pack("!BBBBIHH4s4s4s4s16s192x", self.op, 1, 6, 0, self.xid, self.secs, self.flags,
                           ip_bytes(self.ciaddr), ip_bytes(self.yiaddr), ip_bytes(self.siaddr),
                           ip_bytes(self.giaddr), mac_bytes(self.chaddr))
        options = b"".join(bytes([code, len(data)]) + data for code, data in self.options.items())
        return (head + COOKIE + options + bytes([END])).ljust(300, b"\0")

    @classmethod
    def decode(cls, data):
        """None for anything that isn't a DHCP message over Ethernet."""
        if len(data) < 240 or data[1:3] != b"\x01\x06" or data[236:240] != COOKIE:
            return None
        options, at = {}, 240
        while at + 1 < len(data) and data[at] != END:
            if data[at] == PAD:
                at += 1
                continue
            options[data[at]] = options.get(data[at], b"") + data[at + 2:at + 2 + data[at + 1]]
            at += 2 + data[at + 1]
        if len(options.get(MESSAGE_TYPE, b"")) != 1:
            return None
        xid, secs, flags = struct.unpack("!IHH", data[4:12])
        return cls(data[0], xid, secs, flags, *(ip_text(data[i:i + 4]) for i in (12, 16, 20, 24)),
                   mac_text(data[28:34]), options)


def checksum(data):
    total = sum(struct.unpack(f"!{len(data + bytes(len(data) % 2)) // 2}H", data + bytes(len(data) % 2)))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


@dataclasses.dataclass
class Datagram:
    """A UDP datagram in an Ethernet frame."""
    source_mac: str
    target_mac: str
    source: str
    target: str
    source_port: int
    target_port: int
    payload: bytes

    def encode(self):
        length = 8 + len(self.payload)
        pseudo = ip_bytes(self.source) + ip_bytes(self.target) + struct.pack("!BBH", 0, 17, length)
        udp = struct.pack("!HHHH", self.source_port, self.target_port, length, 0) + self.payload
        udp = udp[:6] + struct.pack("!H", checksum(pseudo + udp) or 0xffff) + udp[8:]
        ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + length, 0, 0, 64, 17, 0,
                         ip_bytes(self.source), ip_bytes(self.target))
        ip = ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:]
        return ethernet(self.target_mac, self.source_mac, ETHERTYPE_IP) + ip + udp

    @classmethod
    def decode(cls, frame):
        """None for anything that isn't an unfragmented UDP datagram. Checksums are left to the kernel's offloading."""
        if len(frame) < 42 or frame[12:14] != b"\x08\x00" or frame[14] >> 4 != 4 or frame[23] != 17:
            return None
        if struct.unpack("!H", frame[20:22])[0] & 0x3fff:
            return None
        udp = 14 + (frame[14] & 15) * 4
        source_port, target_port, length = struct.unpack("!HHH", frame[udp:udp + 6])
        return cls(mac_text(frame[6:12]), mac_text(frame[:6]), ip_text(frame[26:30]), ip_text(frame[30:34]),
                   source_port, target_port, frame[udp + 8:udp + length])


def ethernet(target, source, ethertype):
    return mac_bytes(target) + mac_bytes(source) + struct.pack("!H", ethertype)


def arp_question(frame):
    """(asker's MAC, asker's address, address asked for) of an ARP request, else None."""
    if len(frame) < 42 or frame[12:22] != bytes.fromhex("08060001080006040001"):
        return None
    return mac_text(frame[22:28]), ip_text(frame[28:32]), ip_text(frame[38:42])


def arp_answer(mac, address, asker_mac, asker_address):
    return (ethernet(asker_mac, mac, ETHERTYPE_ARP) + bytes.fromhex("0001080006040002") + mac_bytes(mac)
            + ip_bytes(address) + mac_bytes(asker_mac) + ip_bytes(asker_address))


_HASH_TABLE = bytes([
    251, 175, 119, 215, 81, 14, 79, 191, 103, 49, 181, 143, 186, 157, 0, 232,
    31, 32, 55, 60, 152, 58, 17, 237, 174, 70, 160, 144, 220, 90, 57, 223,
    59, 3, 18, 140, 111, 166, 203, 196, 134, 243, 124, 95, 222, 179, 197, 65,
    180, 48, 36, 15, 107, 46, 233, 130, 165, 30, 123, 161, 209, 23, 97, 16,
    40, 91, 219, 61, 100, 10, 210, 109, 250, 127, 22, 138, 29, 108, 244, 67,
    207, 9, 178, 204, 74, 98, 126, 249, 167, 116, 34, 77, 193, 200, 121, 5,
    20, 113, 71, 35, 128, 13, 182, 94, 25, 226, 227, 199, 75, 27, 41, 245,
    230, 224, 43, 225, 177, 26, 155, 150, 212, 142, 218, 115, 241, 73, 88, 105,
    39, 114, 62, 255, 192, 201, 145, 214, 168, 158, 221, 148, 154, 122, 12, 84,
    82, 163, 44, 139, 228, 236, 205, 242, 217, 11, 187, 146, 159, 64, 86, 239,
    195, 42, 106, 198, 118, 112, 184, 172, 87, 2, 173, 117, 176, 229, 247, 253,
    137, 185, 99, 164, 102, 147, 45, 66, 231, 52, 141, 211, 194, 206, 246, 238,
    56, 110, 78, 248, 63, 240, 189, 93, 92, 51, 53, 183, 19, 171, 72, 50,
    33, 104, 101, 69, 8, 252, 83, 120, 76, 135, 85, 54, 202, 125, 188, 213,
    96, 235, 136, 208, 162, 129, 190, 132, 156, 38, 47, 1, 7, 254, 24, 4,
    216, 131, 89, 21, 28, 133, 37, 153, 149, 80, 170, 68, 6, 169, 234, 151,
])


def load_balance_bucket(identity):
    """RFC 3074's hash of a client identifier, or of the chaddr where the client sends none: 0 to 255."""
    bucket = len(identity) % 256
    for byte in reversed(identity):
        bucket = _HASH_TABLE[bucket ^ byte]
    return bucket
