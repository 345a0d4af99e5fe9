# SPDX-License-Identifier: MPL-2.0
"""A trouble report about security: C59, strangers on port 647. What a partner may say that makes no sense is in
system/test_bad_input.py."""
import contextlib
import re
import socket
import struct
import time

import pytest

import partner as wire
from hook import assert_serves, descriptors, log_lines, normal_pair, serve, status, wait_known, wait_states
from partner import Message, dial, is_closed
from process import wait_until


# --- who is no partner ------------------------------------------------------------------------------------------------

def test_c59_strangers(bed, library):
    """A connection from a host that is no peer froze the server, and enough of them ate all its descriptors. No byte
    for who is no partner: it is closed when it is accepted, and the link of those who are doesn't notice."""
    pair = primary, secondary = normal_pair(bed, library)
    secondary.host.namespace.ip("addr add 10.98.0.77/24 dev eth1")
    before = descriptors(primary)
    mark = primary.log.mark()
    connections = [dial(bed, "srv2", primary, source="10.98.0.77") for _ in range(300)]
    for connection in connections:
        with connection, contextlib.suppress(ConnectionError):
            connection.settimeout(5)
            assert connection.recv(100) == b""
    assert_serves(bed, primary)
    wait_until(lambda: descriptors(primary) <= before + 1, 5,
               lambda: f"{before} descriptors, but {descriptors(primary)}")
    assert all("DEBUG" in line for line in log_lines(primary, "10.98.0.77", mark))
    assert status(primary)["counters"]["disconnects"] == 0
    wait_states("normal/normal", *pair)


# --- who has the partner's address but isn't it -----------------------------------------------------------------------

def test_c59_300_idle_connections_from_the_partners_address(bed, library):
    """At most two that have not completed CONNECT are open at a time."""
    pair = primary, secondary = normal_pair(bed, library)
    before = descriptors(primary)
    connections = [dial(bed, "srv2", primary) for _ in range(300)]
    assert_serves(bed, primary)
    assert descriptors(primary) <= before + 5, "two may be open that have not completed CONNECT"
    open_ones = [connection for connection in connections if not is_closed(connection, 0.005)]
    assert len(open_ones) <= 2
    for server in pair:
        assert status(server)["counters"]["disconnects"] == 0
    lease = serve(bed.client(), primary)
    wait_known(secondary, lease)
    for connection in connections:
        connection.close()
    wait_until(lambda: descriptors(primary) <= before + 1, 5,
               lambda: f"{before} descriptors, but {descriptors(primary)}")


def test_c59_who_says_nothing_or_next_to_nothing_is_given_up(bed, lonely):
    """After ten seconds, idle or one byte at a time. Both at once, because it takes so long."""
    message = Message(wire.CONNECTACK, 0, {wire.NAME: b"fo", 99: bytes(500)}).encode()
    idle, slow = dial(bed, "srv2", lonely), dial(bed, "srv2", lonely)
    begin = time.monotonic()
    sent = 0
    while not is_closed(slow, 0.2) and time.monotonic() - begin < 15:
        with contextlib.suppress(ConnectionError):
            slow.sendall(message[sent:sent + 1])
        sent += 1
    assert 8 < time.monotonic() - begin < 13
    assert is_closed(idle, 2)
    assert log_lines(lonely, "doesn't complete CONNECT")
    assert_serves(bed, lonely)


# --- malformed input --------------------------------------------------------------------------------------------------

def header(length, kind=wire.CONTACT, offset=12):
    return struct.pack("!HBBII", length, kind, offset, int(time.time()), 1)


def option(code, data):
    return struct.pack("!HH", code, len(data)) + data


BAD_MESSAGES = {
    "web browser": (b"GET / HTTP/1.1\r\nHost: dhcp\r\n\r\n", "message length outside"),
    "zeros": (bytes(100), "message length outside"),
    "ones": (b"\xff" * 100, "message length outside"),
    "length 11": (header(11), "message length outside"),
    "length 2049": (header(2049) + bytes(2037), "message length outside"),
    "length 65535": (header(65535) + bytes(9000), "message length outside"),
    "type 0": (header(12, 0), "unknown message type"),
    "type 13": (header(12, 13), "unknown message type"),
    "type 255": (header(12, 255), "unknown message type"),
    "offset in the header": (header(16, offset=4) + bytes(4), "payload offset outside"),
    "offset behind the end": (header(16, offset=17) + bytes(4), "payload offset outside"),
    "option runs past the end": (header(20, wire.CONNECTACK) + struct.pack("!HH", wire.NAME, 2000) + b"fofo",
                                 "runs past the end"),
    "half an option": (header(14, wire.CONNECTACK) + b"\0\x16", "runs past the end"),
    "option of a wrong size": (header(19, wire.CONNECT) + option(wire.MCLT, b"\0\0\1"), "wrong size"),
    "option appears twice": (header(24, wire.CONNECT) + option(wire.NAME, b"fo") * 2, "appears twice"),
}


@pytest.mark.parametrize("data, meaning", BAD_MESSAGES.values(), ids=BAD_MESSAGES)
def test_c59_a_malformed_message_is_one_line_and_a_close(bed, lonely, data, meaning):
    """One release read out of bounds at a type that doesn't exist."""
    mark = lonely.log.mark()
    with dial(bed, "srv2", lonely) as connection:
        connection.sendall(data)
        assert is_closed(connection)
    lines = log_lines(lonely, "ERROR", mark)
    assert len(lines) == 1 and re.search(f"bad message from the partner: .*{meaning}", lines[0]), lines
    assert_serves(bed, lonely)
    assert status(lonely)["state"] == "communications-interrupted"


def test_c59_half_a_message_and_then_the_end(bed, lonely):
    """No message, no line; how it went is in `why`."""
    whole = Message(wire.CONNECTACK, 0, {wire.NAME: b"fo"}).encode()
    mark = lonely.log.mark()
    for size in range(1, len(whole)):
        with dial(bed, "srv2", lonely) as connection:
            connection.sendall(whole[:size])
    assert_serves(bed, lonely)
    with dial(bed, "srv2", lonely) as connection:
        connection.sendall(whole[:-1])
        connection.shutdown(socket.SHUT_WR)
        assert is_closed(connection)
    assert status(lonely)["why"].endswith("closed by the partner"), "what the last one did"
    assert not log_lines(lonely, "ERROR", mark)
