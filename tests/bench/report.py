# SPDX-License-Identifier: MPL-2.0
"""The table of results with its targets, as text and as Markdown, and the plot for the README."""
import os
import statistics

import plot


class Samples:
    def __init__(self, samples):
        self.samples = samples

    def values(self, measure, setup, key):
        return {one["repetition"]: one[key] for one in self.samples
                if one["measure"] == measure and one["setup"] == setup and one.get(key) is not None}

    def all(self, measure, setup, key):
        return list(self.values(measure, setup, key).values())

    def ratios(self, measure, setup, base, key):
        """In each repetition that has both."""
        ours, theirs = self.values(measure, setup, key), self.values(measure, base, key)
        return [ours[n] / theirs[n] for n in ours if theirs.get(n)]

    def pairs(self, measure, setup, key, base, base_key):
        ours, theirs = self.values(measure, setup, key), self.values(measure, base, base_key)
        return [(ours[n], theirs[n]) for n in ours if theirs.get(n)]

    def core(self, key):
        found = [one[key] for one in self.samples if one["measure"] == "core" and key in one]
        return found[-1:]

    def largest(self, prefix):
        """(size, [value]) of the largest pool that the core was measured with."""
        sizes = sorted(int(key.rpartition(".")[2]) for one in self.samples if one["measure"] == "core"
                       for key in one if key.startswith(prefix + "."))
        return (sizes[-1], self.core(f"{prefix}.{sizes[-1]}")) if sizes else (0, [])


def spread(values, digits=2, unit=""):
    """median (least to most)"""
    if not values:
        return "not measured"
    middle = f"{statistics.median(values):.{digits}f}{unit}"
    if len(values) == 1:
        return middle
    return f"{middle} ({min(values):.{digits}f} to {max(values):.{digits}f}, n={len(values)})"


class Row:
    """One target. `holds` is applied to the median; None: nothing to judge."""

    def __init__(self, what, target, values, most=None, least=None, digits=2, unit="", more=""):
        self.what, self.target = what, target
        self.result = spread(values, digits, unit) + (f" {more}" if more and values else "")
        middle = statistics.median(values) if values else None
        judged = middle is not None and (most, least) != (None, None)
        self.met = (most is None or middle <= most) and (least is None or middle >= least) if judged else None

    def cells(self):
        return [self.what, self.target, self.result, {True: "yes", False: "**no**", None: ""}[self.met]]


def core_rows(s):
    size, load = s.largest("load_s")
    _, memory = s.largest("bytes")
    _, divided = s.largest("bytes_divided")
    rows = [
        Row(f"core: memory for each of {size:,} addresses", "48 bytes", memory, most=48, digits=0, unit=" bytes",
            more=f"({divided[0]:.0f} with half of them given away)" if divided else ""),
        Row(f"core: {size:,} addresses load", "10 s", load, most=10, digits=1, unit=" s"),
    ]
    for key, what in (("grant_ns", "a lease given"), ("renew_ns", "a lease extended"), ("release_ns", "a lease released"),
                      ("next_own_ns", "next own free address")):
        small, (size, big) = s.core(f"{key}.1000"), s.largest(key)
        text = f"(1,000 addresses: {small[0]:.0f} ns; {size:,}: {big[0]:.0f} ns)" if small and big else ""
        rows.append(Row(f"core: {what}, largest pool / 1,000,000 addresses", "constant",
                        [big[0] / s.core(f"{key}.1000000")[0]] if big and s.core(f"{key}.1000000") else [], most=1.5,
                        more=text))
    for key, what in (("everything_receive_ms", "UPDREQALL or a part of its answer arrives"),
                      ("everything_output_ms", "its answer is written"),
                      ("link_lost_ms", "the link is lost"), ("link_back_ms", "the link is back"),
                      ("force_ms", "force-state")):
        rows.append(Row(f"core: longest call with 1,000,000 leases: {what}", "10 ms", s.core(key), most=10, digits=1,
                        unit=" ms"))
    return rows


def rows_of(s):
    def first(values):
        return values[0] if values else None

    plain = first(s.all("instructions", "plain", "instructions"))

    def instructions(which):
        return [one / plain for one in s.all("instructions", which, "instructions")] if plain else []

    def beyond(setup):
        rates = sorted({one["rate"] for one in s.samples if one["measure"] == "calls"})
        result = []
        for rate in rates:
            chosen = Samples([one for one in s.samples if one.get("rate") == rate])
            pairs = chosen.values("calls", setup, "calls"), chosen.values("calls", "plain", "calls")
            result.append((rate, [pairs[0][n] - pairs[1][n] for n in pairs[0] if n in pairs[1]]))
        return result

    rows = [Row("instructions for each DORA, serving server / plain Kea", "1.15", instructions("ours serving"), most=1.15),
            Row("instructions for each DORA, partner / plain Kea", "0.50", instructions("ours partner"), most=0.5)]
    rows += [Row(f"system calls for each DORA beyond plain Kea's, {rate}/s", "1", values, most=1)
             for rate, values in beyond("ours")]
    rows += [Row(f"the same of libdhcp_ha, {rate}/s", "", values) for rate, values in beyond("ha hot-standby")]
    for setup, what in (("ours", "ours"), ("ha hot-standby MT", "libdhcp_ha hot-standby MT"), ("dhcpd", "dhcpd pair")):
        for key, server in (("serving_us", "serving server"), ("partner_us", "partner")):
            shares = [one / base for one, base in s.pairs("latency", setup, key, "plain", "serving_us")]
            rows.append(Row(f"CPU time for each DORA at 400/s, {what}, {server} / plain Kea", "", shares))
    for setup, base, target in (("ours", "plain", 0.9), ("ours MT", "plain MT", 0.9)):
        rows.append(Row(f"DORA/s, {setup} / {base}", f"{target:.2f}", s.ratios("rate", setup, base, "rate"), least=target,
                        more=f"at {spread(s.all('rate', setup, 'rate'), 0)}/s"))
    for setup, base in (("ha hot-standby MT", "plain MT"), ("ha load-balancing MT", "plain MT"), ("dhcpd", "plain")):
        rows.append(Row(f"DORA/s, {setup} / {base}", "", s.ratios("rate", setup, base, "rate")))
    for key in "p50", "p95":
        rows.append(Row(f"ACK latency {key}, ours / plain", "1.10", s.ratios("latency", "ours", "plain", key), most=1.1,
                        more=f"({spread(s.all('latency', 'ours', key))} ms)"))
        for setup in "ha hot-standby MT", "dhcpd":
            rows.append(Row(f"ACK latency {key}, {setup} / plain", "", s.ratios("latency", setup, "plain", key)))
    rows.append(Row("DORA/s, balanced pair of ours / libdhcp_ha load-balancing, both MT", "1.80",
                    s.ratios("rate", "ours balanced MT", "ha load-balancing MT", "rate"), least=1.8))
    small, big = "1000 addresses", sorted({one["setup"] for one in s.samples if one["measure"] == "pool"}, key=len)
    rows.append(Row(f"DORA/s, pool of {big[-1] if big else '1000000 addresses'} / {small}", "0.95",
                    s.ratios("pool", big[-1], small, "rate") if big else [], least=0.95))
    leases = first(s.all("recovery", "ours", "leases")) or 1000000
    rows += [Row(f"wiped partner has all of {leases:,} leases again", "25 s", s.all("recovery", "ours", "seconds"),
                 most=25, digits=1, unit=" s"),
             Row("DHCP p95 on the other meanwhile", "5 ms", s.all("recovery", "ours", "p95_ms"), most=5, unit=" ms"),
             Row("longest time nobody is served meanwhile", "0.1 s", s.all("recovery", "ours", "nobody_s"), most=0.1,
                 digits=3, unit=" s")]
    for measure, what, limits in (("kill", "a server killed", (0.3, 0.5)), ("cut", "a server cut off", (None, 5))):
        for setup in "ours", "ha hot-standby", "ha load-balancing", "dhcpd":
            own = setup == "ours"
            for key, name, limit in (("nobody_s", "longest time nobody is served", limits[0]),
                                     ("worst_s", "worst client's wait", limits[1])):
                target = limit if own else None
                rows.append(Row(f"{what}: {name}, {setup}", f"{target} s" if target else "", s.all(measure, setup, key),
                                most=target, digits=2, unit=" s"))
    for setup in "ours", "ha hot-standby", "ha load-balancing", "dhcpd":
        rows.append(Row(f"an empty pair, from start to service, {setup}", "2 s" if setup == "ours" else "",
                        s.all("start", setup, "service_s"), most=2 if setup == "ours" else None, unit=" s"))
    leases = first(s.all("force", "ours", "leases")) or 1000000
    forces = [one["ms"] for one in s.samples if one["measure"] == "force"]
    rows.append(Row(f"force-state to the first packet treated by the new state, {leases:,} leases", "10 ms", forces,
                    most=10, unit=" ms"))
    return rows + core_rows(s)


def markdown(rows, machine):
    text = [f"Measured {machine['date']} by `tests/bench/run` on {machine['cores']} cores of {machine['cpu']}, "
            f"{machine['memory_gib']} GiB, Linux {machine['kernel']}, Kea {machine['kea']}; both servers and the clients "
            "share the machine. Median (least to most, number of repetitions); each ratio is taken within one repetition.",
            "", "| what | target | measured | met |", "|---|---|---|---|"]
    text += ["| " + " | ".join(row.cells()) + " |" for row in rows if row.result != "not measured" or row.target]
    return "\n".join(text) + "\n"


def plain_text(rows):
    cells = [row.cells() for row in rows if row.result != "not measured" or row.target]
    widths = [max(len(one[i]) for one in cells) for i in range(3)]
    return "\n".join("  ".join([*(cell.ljust(width) for cell, width in zip(one, widths)), one[3].strip("*")]).rstrip()
                     for one in cells)


def write(folder, samples, machine):
    """results.md and results.svg; returns the table as text."""
    s = Samples(samples)
    rows = rows_of(s)
    with open(os.path.join(folder, "results.md"), "w") as file:
        file.write(markdown(rows, machine))
    with open(os.path.join(folder, "results.svg"), "w") as file:
        file.write(plot.svg(panels(s)))
    return plain_text(rows)


def panels(s):
    """What the plot shows: (title, unit, [(label, [values])]), the longer the better or the worse as the title says."""
    names = {"plain": "plain Kea", "plain MT": "plain Kea, MT", "ours": "ours", "ours MT": "ours, MT",
             "ours balanced": "ours, balanced", "ours balanced MT": "ours, balanced, MT",
             "ha hot-standby": "HA hot-standby", "ha hot-standby MT": "HA hot-standby, MT",
             "ha load-balancing": "HA load-balancing", "ha load-balancing MT": "HA load-balancing, MT",
             "dhcpd": "dhcpd failover"}

    def bars(measure, key, setups):
        return [(names[setup], s.all(measure, setup, key)) for setup in setups if s.all(measure, setup, key)]

    pairs = ["ours", "ha hot-standby", "ha load-balancing", "dhcpd"]
    found = [
        ("DORAs a second, fewer than 1 % lost (more is better)", "/s",
         bars("rate", "rate", ["plain", "ours", "plain MT", "ours MT", "ours balanced MT", "ha hot-standby MT",
                               "ha load-balancing MT", "dhcpd"])),
        ("ACK latency, p95 at 400 DORA/s", "ms", bars("latency", "p95", ["plain", "ours", "ha hot-standby MT", "dhcpd"])),
        ("A server is killed: nobody is served for", "s", bars("kill", "nobody_s", pairs)),
        ("A server is killed: the worst client waits", "s", bars("kill", "worst_s", pairs)),
        ("A server is cut off: the worst client waits", "s", bars("cut", "worst_s", pairs)),
        ("An empty pair, from start to service", "s", bars("start", "service_s", pairs)),
    ]
    return [panel for panel in found if panel[2]]
