# SPDX-License-Identifier: MPL-2.0
"""What comes over the failover port, out of the database or with a command, and isn't as it should be: one clear line,
nothing lost, and the server goes on serving."""
import contextlib
import functools
import glob
import json
import os
import re
import socket
import sqlite3
import subprocess
import time

import pytest

import partner as wire
from client import Ack
from hook import (DATABASE, QUICKLY, addresses_of, assert_serves, binding, is_free, locked, log_lines, normal_pair,
                  pair_config, serve, status, wait_known, wait_quiet, wait_same_view, wait_states)
from partner import (ACTIVE, BACKUP, EXPIRED, FREE, NORMAL, RELEASED, Message, Partner, dial, is_closed,
                     scripted_primary, update)
from process import wait_until

POOL = addresses_of(32)


def memory(server):
    """Resident kB."""
    with open(f"/proc/{server.pid}/status") as file:
        return int(re.search(r"VmRSS:\s+(\d+)", file.read())[1])


# --- the failover port -----------------------------------------------------------------------------------------

NOT_FIRST = {"CONTACT": Message(wire.CONTACT, 1),
             "STATE": Message(wire.STATE, 1, {wire.SERVER_STATE: b"\2", wire.SERVER_FLAGS: b"\0", wire.STARTS: bytes(4)}),
             "BNDUPD": update("10.64.1.1", ACTIVE, "0a:00:00:00:00:01", 60),
             "UPDREQALL": Message(wire.UPDREQALL, 1), "POOLREQ": Message(wire.POOLREQ, 1)}


@pytest.mark.parametrize("message", NOT_FIRST.values(), ids=NOT_FIRST)
def test_what_may_not_come_first(bed, lonely, message):
    mark = lonely.log.mark()
    with dial(bed, "srv2", lonely) as connection:
        connection.sendall(message.encode())
        assert is_closed(connection)
    assert len(log_lines(lonely, "something else than CONNECT", mark)) == 1
    assert_serves(bed, lonely, 1)


REFUSED = {
    "another relationship": (dict(name=b"of"), "remote failover relationship name does not match", 8),
    "no relationship": (dict(name=None), "missing relationship-name", 8),
    "name with bytes for a terminal": (dict(name=b"\x1b[2J\n\0fo"), "relationship name does not match", 8),
}


@pytest.mark.parametrize("connect, text, reason", REFUSED.values(), ids=REFUSED)
def test_connectack_that_is_refused(bed, lonely, connect, text, reason):
    mark = lonely.log.mark()
    with Partner(bed, lonely, **connect) as partner:
        said = partner.wait(wire.DISCONNECT)
        assert said.number(wire.REJECT) == reason and text in said.options[wire.TEXT].decode()
        partner.wait_closed()
    assert len(log_lines(lonely, f"no connection with the partner: .*{text}", mark)) == 1
    assert "\x1b" not in lonely.log.text(mark) and "\0" not in lonely.log.text(mark)
    assert_serves(bed, lonely, 1)


@pytest.mark.parametrize("connect, reason", [
    (dict(mclt=None), 5), (dict(mclt=bytes(4)), 5), (dict(hba=None), 18), (dict(hba=b"\1\2\3"), None),
    (dict(name=b"of"), 8), (dict(name=None), 8)],
    ids=["no MCLT", "MCLT 0", "no HBA", "short HBA", "another relationship", "no relationship"])
def test_connect_that_is_refused(bed, library, connect, reason):
    primary, secondary = normal_pair(bed, library)
    primary.stop()
    bed.programs.remove(primary)
    wait_states("communications-interrupted", secondary)
    with Partner(bed, secondary, **connect) as partner:
        if reason:
            assert partner.wait(wire.CONNECTACK).number(wire.REJECT) == reason
        partner.wait_closed()
    assert status(secondary)["mclt"] == 10
    assert_serves(bed, secondary, 1)


def test_link_on_which_messages_never_end_is_given_up(bed, lonely):
    with Partner(bed, lonely) as partner:
        partner.wait(wire.STATE)
        partner.state(NORMAL)
        wait_states("normal", lonely)
        partner.silent = True
        begin = time.monotonic()
        contact = Message(wire.CONTACT, 1, {99: bytes(1000)}).encode()
        for byte in contact:
            partner.send_raw(bytes([byte]))
            time.sleep(0.1)
            if partner.closed:
                break
        assert 7 < time.monotonic() - begin < 12, "max-response-delay is 9 s"
        assert partner.last(wire.DISCONNECT).number(wire.REJECT) == 17
    wait_states("communications-interrupted", lonely)
    assert_serves(bed, lonely, 1)


# --- a partner that lies ------------------------------------------------------------------------------------------

scripted_primary = functools.partial(scripted_primary, share=POOL[:4])
MAC = "0c:00:00:00:00:01"


def test_updates_that_make_no_sense(bed, library):
    with scripted_primary(bed, library) as (server, partner):
        before = {address: binding(server, address)["binding-state"] for address in POOL}
        leases = server.leases()
        for message, reason in (
                (update(None, ACTIVE, MAC, 60), 3), (update(POOL[9], None, MAC, 60), 3),
                (update(POOL[9], 0, MAC, 60), 3), (update(POOL[9], 8, MAC, 60), 3), (update(POOL[9], 255, MAC, 60), 3),
                (update(POOL[9], ACTIVE, None, 60), 3), (update(POOL[9], ACTIVE, MAC), 3),
                (update(POOL[9], ACTIVE, None, 60, hardware=b"\1"), 3),
                (update(POOL[9], ACTIVE, None, 60, hardware=bytes(22)), 6),
                (update(POOL[9], ACTIVE, MAC, 60, client_id=bytes(256)), 6),
                (update("10.64.1.33", ACTIVE, MAC, 60), 1), (update("0.0.0.0", ACTIVE, MAC, 60), 1),
                (update("255.255.255.255", FREE), 1), (update("10.79.255.100", ACTIVE, MAC, 60), 1)):
            answer = partner.update(message)
            assert answer.number(wire.REJECT) == reason, f"{message}: {answer}"
        assert {address: binding(server, address)["binding-state"] for address in POOL} == before
        assert server.leases() == leases and status(server)["link"] == "up"
        assert_serves(bed, server, 1)


def test_updates_with_odd_contents_are_taken_and_harm_nobody(bed, library):
    """Times at the ends of what 32 bits hold, the shortest and longest names of a client, unknown options."""
    with scripted_primary(bed, library) as (server, partner):
        now = int(time.time())
        ends = [0, 1, now - 1000, now + 5, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff]
        for number, end in enumerate(ends):
            address = POOL[10 + number]
            message = update(address, ACTIVE, f"0c:00:00:00:01:{number:02x}", end=wire.u32(end), cltt=wire.u32(end),
                             potential_end=wire.u32(end), starts=wire.u32(end))
            assert partner.rejection(message) is None
            row = server.leases().get(address)
            assert row is None or row["cltt"] <= now + 65, row
        for number, client_id in enumerate((b"", b"\7", b"x" * 128, b"x" * 129, b"\0" * 255)):
            message = update(POOL[20 + number], ACTIVE, f"0c:00:00:00:02:{number:02x}", 60, client_id=client_id)
            message.options[99] = b"?"
            assert partner.rejection(message) is None
            assert binding(server, POOL[20 + number])["binding-state"] == "ACTIVE"
        for number, hardware in enumerate((b"\1\2", b"\x06" + bytes(20))):
            assert partner.rejection(update(POOL[26 + number], ACTIVE, None, 60, hardware=hardware)) is None
        wait_quiet(server)
        assert_serves(bed, server, 1)
        partner.close()
        server.kill9()
        server.start()          # it all comes back from both databases
        assert binding(server, POOL[24])["binding-state"] == "ACTIVE"
        assert not log_lines(server, "LEASE_FAILED|CALLOUT_FAILED|damaged")


def test_partner_cannot_end_a_living_lease(bed, library):
    """Rule 11: reject 16, and our own update."""
    with scripted_primary(bed, library, valid_lifetime=600) as (server, partner):
        client = bed.client()
        lease = serve(client, server)
        wait_quiet(server)
        assert partner.wait(wire.BNDUPD, address=lease.address)
        for status_ in EXPIRED, FREE, BACKUP:
            heard = len(partner.all(wire.BNDUPD, address=lease.address))
            assert partner.rejection(update(lease.address, status_, client.mac, 0)) == 16
            ours = partner.wait(wire.BNDUPD, address=lease.address, after=heard)
            assert ours.number(wire.STATUS) == ACTIVE
            assert lease.address in server.leases() and binding(server, lease.address)["binding-state"] == "ACTIVE"
        assert isinstance(client.renew(lease), Ack)
        # A release that is older than what the client has done here, and one by somebody else
        old = wire.u32(int(time.time()) - 100)
        assert partner.rejection(update(lease.address, RELEASED, client.mac, 0, cltt=old)) == 15
        assert partner.rejection(update(lease.address, RELEASED, MAC, 0)) in (2, 15)
        assert isinstance(client.renew(lease), Ack)


def test_acks_that_answer_nothing(bed, library):
    with scripted_primary(bed, library, acks=False) as (server, partner):
        lease = serve(bed.client(), server)
        ours = partner.wait(wire.BNDUPD, address=lease.address)
        for xid, address in ((ours.xid + 1, lease.address), (ours.xid, POOL[0] if lease.address != POOL[0] else POOL[1]),
                             (0, lease.address), (0xffffffff, lease.address), (ours.xid, "10.64.9.9")):
            partner.send(Message(wire.BNDACK, xid, {wire.ADDRESS: wire.ip_bytes(address)}))
        partner.send(Message(wire.BNDACK, ours.xid), Message(wire.UPDDONE, 77),
                     Message(wire.POOLRESP, 3, {wire.ADDRESSES_TRANSFERRED: wire.u32(0xffffffff)}))
        assert partner.rejection(update(POOL[9], ACTIVE, MAC, 60)) is None, "worked through by now"
        assert not binding(server, lease.address)["partner-knows"]
        partner.send(Message(wire.BNDACK, ours.xid, {wire.ADDRESS: wire.ip_bytes(lease.address)}))
        wait_until(lambda: binding(server, lease.address)["partner-knows"], 5, "that was the right one")
        assert status(server)["state"] == "normal"


def test_partner_that_never_acknowledges(bed, library):
    """The window fills up; clients don't notice, but leases stay at the MCLT."""
    with scripted_primary(bed, library, {"max_unacked_updates": 2}, acks=False) as (server, partner):
        leases = {client: serve(client, server) for client in (bed.client() for _ in range(4))}
        assert all(lease.lifetime == 10 for lease in leases.values())
        for client, lease in leases.items():
            assert client.renew(lease).lifetime in (9, 10)
        assert len(partner.all(wire.BNDUPD)) <= 4
        assert status(server)["link"] == "up"


def test_a_second_connect_on_the_link(bed, library):
    with scripted_primary(bed, library) as (server, partner):
        partner.send(Message(wire.CONNECT, 9, partner.hello()))
        assert partner.wait(wire.DISCONNECT).number(wire.REJECT) == 7
        assert_serves(bed, server, 1)


def test_second_link_while_the_first_one_lives(bed, library):
    with scripted_primary(bed, library) as (server, partner):
        with Partner(bed, server) as second:
            second.wait_closed()
        assert not partner.closed and partner.rejection(update(POOL[9], ACTIVE, MAC, 60)) is None


def test_flood_by_a_partner_that_reads_nothing(bed, library):
    """Updates without end, whose answers nobody takes: clients are served meanwhile, and memory has a limit."""
    with scripted_primary(bed, library) as (server, partner):
        before = memory(server)
        partner.reading = False
        data = b"".join(update(POOL[8 + number % 16], (ACTIVE, RELEASED)[number // 16 % 2], MAC, 60, xid=number).encode()
                        for number in range(1000))
        for _ in range(100):
            partner.send_raw(data)
            client = bed.client()
            begin = time.monotonic()
            assert client.discover(to=server, secs=10, timeout=5)
            assert time.monotonic() - begin < QUICKLY
        assert memory(server) - before < 100_000
        assert_serves(bed, server, 1)
        partner.reading = True
    wait_states("communications-interrupted", server)
    assert_serves(bed, server, 1)


def test_partner_with_a_wrong_clock(bed, lonely):
    """More than a minute is refused with the reason, and heals by itself."""
    for skew in 61 + 2, -61 - 2:
        with Partner(bed, lonely, skew=skew) as partner:
            assert partner.wait(wire.DISCONNECT).number(wire.REJECT) == 4
        assert_serves(bed, lonely, 1)
    assert log_lines(lonely, "no connection with the partner: time offset too large")
    with Partner(bed, lonely, skew=45) as partner:
        partner.wait(wire.STATE)
        partner.state(NORMAL)
        wait_states("normal", lonely)
        assert status(lonely)["skew"] in (44, 45, 46)
        assert len(log_lines(lonely, "WARN.*clock is 4[456] s ahead")) == 1
        partner.skew = 100
        partner.state(NORMAL)
        assert partner.wait(wire.DISCONNECT).number(wire.REJECT) == 4
    wait_states("communications-interrupted", lonely)
    with Partner(bed, lonely) as partner:
        partner.wait(wire.STATE)
        partner.state(NORMAL)
        wait_states("normal", lonely)


# --- the database ---------------------------------------------------------------------------------------------------------

def database(server):
    return os.path.join(server.host.path, DATABASE)


def cut_to(size):
    def damage(path):
        os.truncate(path, size if size > 0 else os.path.getsize(path) + size)
    return damage


def overwrite(begin, data):
    def damage(path):
        with open(path, "r+b") as file:
            file.seek(begin)
            file.write(data)
    return damage


def pragma(**values):
    def damage(path):
        with contextlib.closing(sqlite3.connect(path)) as database_:
            for name, value in values.items():
                database_.execute(f"PRAGMA {name} = {value}")
            database_.execute("PRAGMA journal_mode = DELETE")
            database_.commit()
    return damage


def sql(statement):
    def damage(path):
        with contextlib.closing(sqlite3.connect(path)) as database_:
            database_.execute(statement)
            database_.commit()
            database_.execute("PRAGMA journal_mode = DELETE")
    return damage


DAMAGES = {
    "cut in the middle": (cut_to(-4096), "damaged"),
    "cut in the header": (cut_to(90), "damaged"),
    "garbage": (overwrite(0, b"\xa5" * 20000), "damaged"),
    "a page of zeros": (overwrite(4096, bytes(4096)), "damaged"),
    "later version": (pragma(user_version=99), "a later version"),
    "another program's": (pragma(application_id=252006674), "another program's"),
    "a state that doesn't exist": (sql("UPDATE relationship SET state = 'happy'"), "damaged"),
    "a binding that makes no sense": (sql("UPDATE binding SET status = 'FREEISH'"), "damaged"),
    "a table is missing": (sql("DROP TABLE binding"), "damaged"),
}


@pytest.mark.parametrize("damage, meaning", DAMAGES.values(), ids=DAMAGES)
def test_damaged_database(bed, library, damage, meaning):
    """Put aside as it is; the server comes back through recover, with all its leases."""
    pair = primary, secondary = normal_pair(bed, library, {"mclt": 2}, valid_lifetime=60)
    clients = {client: client.dora() for client in (bed.client(role) for role in ("primary", "secondary") * 2)}
    wait_quiet(*pair)
    clients = {client: client.renew(lease) for client, lease in clients.items()}
    assert all(lease.lifetime == 60 for lease in clients.values())
    wait_quiet(*pair)
    primary.stop()
    damage(database(primary))
    with open(database(primary), "rb") as file:
        damaged = file.read()
    primary.start()
    lines = log_lines(primary, "FAILOVER_DATABASE")
    assert len(lines) == 1 and "ERROR" in lines[0] and meaning in lines[0], lines
    kept, = glob.glob(database(primary) + ".unreadable-*[0-9]")
    assert kept in lines[0] or os.path.basename(kept) in lines[0]
    with open(kept, "rb") as file:
        assert file.read()[100:] == damaged[100:], "nothing but SQLite's header may have changed"
    assert bed.client().discover(to=primary, secs=10) == [] or status(primary)["state"] == "normal"
    wait_states("normal/normal", *pair)
    assert log_lines(primary, "state recover -> ")
    wait_quiet(*pair)
    wait_same_view(*pair, POOL)
    for client, lease in clients.items():
        for server in pair:
            assert isinstance(client.renew(lease, server=server), Ack)


@contextlib.contextmanager
def small_disk(bed, server, kilobytes):
    """The server's failover database is on a disk of its own, of that size, mounted at the path that is returned."""
    path = os.path.join(bed.path, "disk")
    os.mkdir(path)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", path], check=True)
    server.config["Dhcp4"]["hooks-libraries"][-1]["parameters"]["database"] = os.path.join(path, DATABASE)
    try:
        yield path
    finally:
        server.stop()
        subprocess.run(["umount", path], check=True)


def fill(path):
    """Takes what is left of a disk; returns the file that does."""
    name = os.path.join(path, "filler")
    with open(name, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(1024)):
            pass
    return name


def remount(server, path, how):
    """Where the server sees it, and here."""
    subprocess.run(["nsenter", "-t", str(server.pid), "-m", "mount", "-o", f"remount,{how}", path], check=True)


@pytest.fixture
def diskful(bed, library):
    """(primary, secondary, the primary's disk): in normal, with a lease."""
    config = pair_config(bed, library, valid_lifetime=60)
    primary, secondary = bed.kea("srv1", json.loads(json.dumps(config))), bed.kea("srv2", config)
    with small_disk(bed, primary, 512) as path:
        bed.start_all(primary, secondary)
        wait_states("normal/normal", primary, secondary)
        wait_quiet(primary, secondary)
        yield primary, secondary, path


def test_disk_is_full_and_then_not(bed, diskful):
    primary, secondary, path = diskful
    client = bed.client("primary")
    before = client.dora()
    wait_known(secondary, before)
    filler = fill(path)
    mark = primary.log.mark()

    def noticed():
        assert isinstance(client.renew(before), Ack)    # each is written down
        return log_lines(primary, "can't be written", mark)
    wait_until(noticed, 10, "the disk is full")
    assert len(log_lines(primary, "can't be written: database or disk is full", mark)) == 1
    leases = {one: one.dora() for one in (bed.client("primary") for _ in range(4))}
    assert isinstance(client.renew(before), Ack) and status(primary)["database"] == "not-written"
    assert all(is_free(secondary, lease.address) for lease in leases.values()), "not written is not announced"
    assert primary.command("force-state", state="partner-down", override=True)["result"] == 1, "and nothing is forced"
    assert status(primary)["state"] == "normal"
    os.remove(filler)
    wait_until(lambda: log_lines(primary, "is written again", mark), 5, "it has noticed")
    for one, lease in leases.items():
        wait_known(secondary, lease)
        assert isinstance(one.renew(lease, server=secondary), Ack)
    wait_quiet(primary, secondary)
    wait_same_view(primary, secondary, POOL)
    assert len(log_lines(primary, "can't be written|is written again", mark)) == 2


def test_killed_while_the_disk_was_full(bed, diskful):
    """What wasn't written was given all the same: Kea's own database tells of it."""
    primary, secondary, path = diskful
    leases = {client: serve(client, primary) for client in (bed.client() for _ in range(4))}
    filler = fill(path)

    def noticed():
        for client, lease in leases.items():
            assert isinstance(client.renew(lease), Ack)
        return status(primary)["database"] == "not-written"
    wait_until(noticed, 10, "the disk is full")
    leases |= {client: serve(client, primary) for client in (bed.client() for _ in range(4))}
    primary.kill9()
    os.remove(filler)
    primary.start()
    wait_states("normal/normal", primary, secondary)
    wait_quiet(primary, secondary)
    wait_same_view(primary, secondary, POOL)
    for client, lease in leases.items():
        assert binding(secondary, lease.address)["hw-address"] == client.mac
        assert isinstance(client.renew(lease, server=secondary), Ack)


def test_database_that_can_only_be_read(bed, diskful):
    primary, secondary, path = diskful
    client = bed.client("primary")
    lease = client.dora()
    wait_known(secondary, lease)
    primary.stop()
    subprocess.run(["mount", "-o", "remount,ro", path], check=True)
    primary.start()
    wait_until(lambda: log_lines(primary, "can be read but not written"), 5, "it says so")
    wait_until(lambda: status(primary)["state"] != "startup", 5, "it serves, though it can tell its partner nothing")
    assert status(primary)["database"] == "not-written"
    assert status(secondary)["state"] == "communications-interrupted"
    assert_serves(bed, primary)
    assert binding(primary, lease.address)["binding-state"] == "ACTIVE"
    remount(primary, path, "rw")
    wait_until(lambda: log_lines(primary, "is written again"), 5, "it has noticed")
    wait_states("normal/normal", primary, secondary)
    wait_quiet(primary, secondary)
    wait_same_view(primary, secondary, POOL)
    assert len(log_lines(primary, "ERROR")) == 1 == len(log_lines(primary, "is written again"))


def test_database_that_cannot_be_made(bed, library):
    """A server that could remember nothing doesn't start; Kea says why."""
    server = bed.kea("srv1", pair_config(bed, library))
    with small_disk(bed, server, 64) as path:
        fill(path)
        with pytest.raises(AssertionError, match="failover database .* can't be made"):
            server.start()
        server.process = None
    for path in "/proc/nowhere/failover.db", server.host.self_path:
        server.config["Dhcp4"]["hooks-libraries"][-1]["parameters"]["database"] = path
        with pytest.raises(AssertionError, match="database"):
            server.start()
        server.process = None


def test_database_locked_by_somebody_else(bed, library):
    """An operator with sqlite3 who has begun a transaction and gone for lunch."""
    pair = primary, secondary = normal_pair(bed, library, valid_lifetime=60)
    client = bed.client("primary")
    before = client.dora()
    wait_known(secondary, before)
    mark = primary.log.mark()
    with locked(primary):
        leases = []
        for _ in range(5):
            begin = time.monotonic()
            leases.append(bed.client("primary").dora())
            assert isinstance(client.renew(before), Ack)
            assert time.monotonic() - begin < QUICKLY
        wait_until(lambda: log_lines(primary, "can't be written: database is locked", mark), 5, "it has noticed")
        begin = time.monotonic()
        assert primary.command("force-state", state="partner-down", override=True)["result"] == 1
        assert time.monotonic() - begin < 3
        assert all(is_free(secondary, lease.address) for lease in leases)
        assert_serves(bed, primary)
    for lease in leases:
        wait_known(secondary, lease)
    wait_quiet(*pair)
    wait_same_view(*pair, POOL)
    assert status(primary)["state"] == "normal"
    assert len(log_lines(primary, "can't be written", mark)) == 1 == len(log_lines(primary, "is written again", mark))


def test_database_is_read_by_somebody_else(bed, library):
    primary, secondary = normal_pair(bed, library)
    with contextlib.closing(sqlite3.connect(database(primary))) as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT state FROM relationship").fetchall() == [("normal",)]
        lease = bed.client("primary").dora()
        wait_known(secondary, lease)
        assert status(primary)["database"] == "written"
    with contextlib.closing(sqlite3.connect(database(primary))) as reader:
        rows = reader.execute("SELECT status FROM bindings WHERE address = ?", (lease.address,)).fetchall()
        assert rows == [("ACTIVE",)]


# --- commands -----------------------------------------------------------------------------------------------------------------

WRONG = [5, -1, 1.5, True, None, "", "nonsense", "\0", [], ["normal"], {}, {"a": {"b": []}}, 2 ** 62, "x" * 70000]
COMMANDS = {"force-state": ["state", "relationship", "override", "since"], "failover-status": ["relationship"],
            "failover-binding": ["ip-address"], "failover-sync": ["relationship"]}
GOOD = {"state": "partner-down", "relationship": "fo", "override": True, "since": 1795577301, "ip-address": "10.64.1.1"}


def raw_command(server, request):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as control:
        control.settimeout(10)
        control.connect(os.path.join(server.host.path, "ctrl"))
        control.sendall(json.dumps(request).encode())
        answer = b""
        while chunk := control.recv(65536):
            answer += chunk
    return json.loads(answer)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_with_wrong_types(bed, library, command):
    pair = primary, _ = normal_pair(bed, library)
    before = status(primary)["since"]
    for arguments in WRONG:
        answer = raw_command(primary, {"command": command, "arguments": arguments})
        good = command != "force-state" and command != "failover-binding" and arguments == {}
        assert answer["result"] == (0 if good else 1), f"{arguments}: {answer}"
        assert good or answer["text"]
    for name in COMMANDS[command]:
        for value in WRONG:
            if isinstance(value, type(GOOD[name])) and name in ("override", "since"):
                continue
            arguments = {key: GOOD[key] for key in COMMANDS[command] if key in ("state", "ip-address")} | {name: value}
            answer = raw_command(primary, {"command": command, "arguments": arguments})
            assert answer["result"] == 1, f"{arguments}: {answer}"
            assert name in answer["text"] or "be forced" in answer["text"] or "no relationship" in answer["text"] or (
                "no IPv4 address" in answer["text"]), answer
    answer = raw_command(primary, {"command": command, "arguments": {"stat": "normal"}})
    assert answer["result"] == 1 and 'unknown argument "stat"' in answer["text"]
    assert all(name in answer["text"] for name in COMMANDS[command]), "those that there are"
    assert (status(primary)["state"], status(primary)["since"]) == ("normal", before)
    assert_serves(bed, primary, 1)
    wait_states("normal/normal", *pair)


@pytest.mark.parametrize("since", [0, -5, -2 ** 62, 2 ** 62, "yesterday", 1.5, [1795577301]])
def test_since_that_is_no_time_in_the_past(bed, lonely, since):
    answer = raw_command(lonely, {"command": "force-state", "arguments": {"state": "partner-down", "since": since}})
    assert answer["result"] == 1 and "since" in answer["text"], answer
    assert status(lonely)["state"] == "communications-interrupted"


@pytest.mark.parametrize("address", ["10.64.1", "10.64.1.256", "010.64.1.1", "10.64.1.1/32", "::1", " 10.64.1.1", "x"])
def test_addresses_that_are_none(lonely, address):
    answer = lonely.command("failover-binding", ip_address=address)
    assert answer["result"] == 1 and address in answer["text"]


def test_commands_for_addresses_that_are_in_no_pool(lonely):
    for address in "10.64.1.33", "0.0.0.0", "255.255.255.255", "10.79.255.100":
        answer = lonely.command("failover-binding", ip_address=address)
        assert answer["result"] == 3 and address in answer["text"]


def test_commands_by_rest_with_wrong_types(bed, lonely):
    for state in 5, None, ["normal"], "Normal", "normal ", "recover-wait", "potential-conflict", "unknown", "paused":
        answer = lonely.rest("force-state", state=state)
        assert answer["result"] == 1, answer
        assert isinstance(state, str) == ("partner-down" in answer["text"]), "those that can be forced"
    assert status(lonely)["state"] == "communications-interrupted"
