# SPDX-License-Identifier: MPL-2.0
"""Measures plain Kea, libdhcp_ha, an ISC dhcpd failover pair and ours side by side, in network namespaces.

Set-ups alternate within each repetition, and each ratio is taken within one repetition; what is reported is the median
of the repetitions with its spread. Every sample is kept in results.json as it comes."""
import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "system"))

import cost                     # noqa: E402
import report                   # noqa: E402
import setups                   # noqa: E402
from drive import Crowd, Population, fill, perfdhcp, quantile, search      # noqa: E402
from hook import force, status, wipe                                       # noqa: E402
from process import wait_until                                             # noqa: E402
from testbed import Testbed                                                # noqa: E402

POPULATION = 12000
POOL = 65536


class Bench:
    def __init__(self, options):
        self.options = options
        self.quick = options.quick
        self.ours = setups.Ours(options.library)
        self.samples = []
        self.hints = {}         # where a search begins: what was found before

    def note(self, measure, setup, repetition=1, **values):
        sample = {"measure": measure, "setup": setup, "repetition": repetition, **values}
        self.samples.append(sample)
        print(f"    {setup:24} " + "  ".join(f"{name} {_short(value)}" for name, value in values.items()), flush=True)
        self.save()

    def save(self):
        path = os.path.join(self.options.output, "results.json")
        with open(path + ".new", "w") as file:
            json.dump({"machine": machine(), "samples": self.samples}, file, indent=1)
        os.replace(path + ".new", path)

    def is_chosen(self, setup):
        return not self.options.setup or setup in self.options.setup

    def alternated(self, variants, measure, repetitions=None):
        """Calls measure(name, start, repetition) for each, in turn; every second time in reverse."""
        for repetition in range(1, (repetitions or self.options.repetitions) + 1):
            order = [(name, start) for name, start in variants.items() if self.is_chosen(name)]
            for name, start in order if repetition % 2 else reversed(order):
                try:
                    with Testbed() as bed:
                        measure(bed, name, start, repetition)
                except Exception as error:      # one set-up that fails must not end a run of hours
                    self.note("failed", name, repetition, error=f"{type(error).__name__}: {error}"[:400])

    def seconds(self, normal, quick):
        return quick if self.quick else normal

    # --- the core ---------------------------------------------------------------------------------------------

    def core(self):
        command = [self.options.core_bench, "--json", *(["--quick"] if self.quick else [])]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        self.note("core", "core", **json.loads(done.stdout))

    # --- instructions and system calls --------------------------------------------------------------------------

    def instructions(self):
        """Of the serving server and of its partner, for each DORA. With callgrind the rate is what a server does under
        it."""
        if cost.has_instruction_counter():
            self._instructions_by_perf()
            return
        count = self.seconds(2000, 300)
        for which in ("plain", "ours serving", "ours partner"):
            if not self.is_chosen(which):
                continue
            with Testbed() as bed:
                path = os.path.join(bed.path, "callgrind.out")
                prefix = cost.callgrind(path)
                if which == "plain":
                    setup = setups.plain(bed, POOL, prefix=prefix)
                else:
                    prefixes = (prefix, ()) if which == "ours serving" else ((), prefix)
                    setup = self.ours(bed, POOL, prefixes=prefixes)
                    setup.wait_service()
                    setups.wait_quiet(setup)
                server = setup.servers[1 if which == "ours partner" else 0]
                population = Population(200)
                rate = self.options.callgrind_rate
                while fill(setup, population, rate) < population.size and rate > 1:
                    rate /= 2
                setups.wait_quiet(setup)
                with cost.Callgrind(server.pid, path) as counter:
                    result = perfdhcp(setup, rate, 0, population.some(), count=count)
                    setups.wait_quiet(setup)
                self.note("instructions", which, instructions=counter.count / result["acks"], rate=rate,
                          functions=[(count / result["acks"], name) for count, name in
                                     counter.functions("libdhcp_failover|sqlite3_(step|exec)")])

    def _instructions_by_perf(self):
        def measure(bed, name, start, repetition):
            setup = start(bed, POOL)
            setup.wait_service()
            population = Population(POPULATION)
            fill(setup, population)
            for number, server in enumerate(setup.servers):
                with cost.PerfStat(server.pid, cost.PERF_EVENT) as counter:
                    result = perfdhcp(setup, 1000, self.seconds(8, 3), population.some())
                which = name if name == "plain" else f"ours {('serving', 'partner')[number]}"
                self.note("instructions", which, repetition, instructions=counter.count / result["acks"])
        self.alternated({"plain": setups.plain, "ours": self.ours}, measure)

    def calls(self):
        """System calls for each DORA, all threads of the process, under load."""
        counts = cost.has_call_counter()

        def measure(bed, name, start, repetition):
            setup = start(bed, POOL)
            setup.wait_service()
            population = Population(POPULATION)
            fill(setup, population)
            setups.wait_quiet(setup)
            for rate in self.options.call_rates:
                server = setup.servers[0]
                if counts:
                    with cost.PerfStat(server.pid, "raw_syscalls:sys_enter") as counter:
                        result = perfdhcp(setup, rate, self.seconds(6, 3), population.some())
                    calls = counter.count
                else:
                    with cost.Strace(server.pid, os.path.join(bed.path, "strace")) as counter:
                        result = perfdhcp(setup, min(rate, 300), self.seconds(6, 3), population.some())
                    calls = counter.count
                self.note("calls", name, repetition, rate=rate, calls=calls / max(result["acks"], 1),
                          serving_us=result["cpu_us"][0], partner_us=result["cpu_us"][-1])
            with cost.Strace(server.pid, os.path.join(bed.path, "strace")) as counter:
                result = perfdhcp(setup, 300, self.seconds(6, 3), population.some())
            self.note("calls by name", name, repetition, **{
                call: number / max(result["acks"], 1) for call, number in counter.calls.items()
                if number > result["acks"] / 20})
        variants = {"plain": setups.plain, "ours": self.ours, "ha hot-standby": setups.ha("hot-standby")}
        self.alternated(variants, measure, min(self.options.repetitions, 3))

    # --- rates ----------------------------------------------------------------------------------------------------

    def _search(self, measure, name, setup, repetition, population):
        key = (measure, name)
        found = search(setup, population, self.hints.get(key, self.options.start_rate), self.seconds(3, 2))
        self.hints[key] = max(found["rate"], 50)
        in_service = setup.state() == setup.service
        cpu = dict(zip(("serving_us", "partner_us"), found["cpu_us"]))
        self.note(measure, name, repetition, rate=found["rate"], in_service=in_service, **cpu)

    def _measure_rate(self, measure, size):
        def run(bed, name, start, repetition):
            setup = start(bed, size)
            setup.wait_service()
            setups.wait_quiet(setup)
            population = Population(min(POPULATION, size * 3 // 8))
            fill(setup, population)
            setups.wait_quiet(setup)
            self._search(measure, name, setup, repetition, population)
        return run

    def rate(self):
        threads = setups.THREADS
        self.alternated({
            "plain": setups.plain,
            "ours": self.ours,
            "plain MT": lambda bed, size: setups.plain(bed, size, threads),
            "ours MT": lambda bed, size: self.ours(bed, size, threads),
            "ha hot-standby MT": setups.ha("hot-standby"),
            "ha load-balancing MT": setups.ha("load-balancing"),
            "ours balanced": self.ours.balanced,
            "ours balanced MT": lambda bed, size: self.ours.balanced(bed, size, threads),
            "dhcpd": setups.dhcpd_pair,
        }, self._measure_rate("rate", POOL))

    def pool(self):
        small, big = 1000, self.seconds(1000000, 100000)
        sizes = {f"{size} addresses": size for size in (small, big)}

        def run(bed, name, size, repetition):
            setup = self.ours(bed, size)
            setup.wait_service()
            setups.wait_quiet(setup)
            population = Population(small * 3 // 8)
            fill(setup, population, 500)
            setups.wait_quiet(setup)
            self._search("pool", name, setup, repetition, population)
        self.alternated(sizes, run)

    def latency(self):
        def measure(bed, name, start, repetition):
            setup = start(bed, POOL)
            setup.wait_service()
            setups.wait_quiet(setup)
            population = Population(POPULATION)
            fill(setup, population)
            setups.wait_quiet(setup)
            result = perfdhcp(setup, self.options.latency_rate, self.seconds(10, 4), population.some(), timestamps=True)
            cpu = dict(zip(("serving_us", "partner_us"), result["cpu_us"]))
            self.note("latency", name, repetition, p50=quantile(result["delays"], .5),
                      p95=quantile(result["delays"], .95), **cpu)
        self.alternated({"plain": setups.plain, "ours": self.ours, "ha hot-standby MT": setups.ha("hot-standby"),
                         "dhcpd": setups.dhcpd_pair}, measure)

    # --- faults ---------------------------------------------------------------------------------------------------

    def _pairs(self):
        return {"ours": self.ours.balanced, "ha hot-standby": setups.ha("hot-standby"),
                "ha load-balancing": setups.ha("load-balancing"), "dhcpd": setups.dhcpd_pair}

    def _fault(self, measure, harm, seconds):
        def run(bed, name, start, repetition):
            setup = start(bed, 16384)
            setup.wait_service()
            setups.wait_quiet(setup)
            with Crowd(bed, self.options.crowd_rate) as crowd:
                wait_until(lambda: len(crowd.served()) >= 3 * self.options.crowd_rate, 60, "the crowd is served")
                since = time.monotonic()
                harm(bed, setup)
                end = since + seconds[name.startswith("ha")]
                time.sleep(10)      # of the loss; then until nobody waits any more
                wait_until(lambda: (crowd.nobody_waits() and len(crowd.served(since)) > 0) or time.monotonic() > end,
                           400, "the end")
                self.note(measure, name, repetition, nobody_s=crowd.longest_gap(since), worst_s=crowd.worst_wait(since),
                          in_vain=sum(not client.served for client in crowd.clients))
            bed.lan.mend()
            bed.link.mend()
        self.alternated(self._pairs(), run, min(self.options.repetitions, 1 if self.quick else 3))

    def kill(self):
        """The primary's process is killed; its kernel closes its connections."""
        self._fault("kill", lambda _, setup: setup.servers[0].kill9(), {False: 30, True: 200})

    def cut(self):
        """The primary's host vanishes from both networks: nothing is closed, nobody is told."""
        def harm(bed, setup):
            bed.link.cut("srv1")
            bed.lan.cut("srv1")
        self._fault("cut", harm, {False: 90, True: 200})

    def start(self):
        def measure(bed, name, start, repetition):
            with Crowd(bed, 20) as crowd:
                setup = start(bed, 16384)
                service = setup.wait_service()
                wait_until(crowd.served, 60, "somebody is served")
                first = min(client.served for client in crowd.served()) - setup.started
            self.note("start", name, repetition, service_s=max(service, first), first_client_s=first)
        self.alternated(self._pairs(), measure, min(self.options.repetitions, 3))

    def recovery(self):
        """One server's database and leases are wiped; the other one serves on and tells it everything."""
        leases = self.seconds(1000000, 100000)

        def measure(bed, name, _, repetition):
            setup = setups.prefill(self.ours, bed, leases + 50000, leases, skip=50000, split=128)
            other, wiped = setup.servers
            wiped.kill9()
            wipe(wiped)
            rate = 20
            with Crowd(bed, rate) as crowd:
                wait_until(lambda: len(crowd.served()) >= 2 * rate, 60, "the crowd is served")
                began = time.monotonic()
                wiped.start()
                have = lambda: status(wiped)["bindings"]["active"]      # noqa: E731
                wait_until(lambda: have() >= leases or time.sleep(0.1), setups.PATIENCE, lambda: f"{have()} of {leases}")
                took = time.monotonic() - began
                waits = crowd.waits(began)
                self.note("recovery", name, repetition, leases=leases, seconds=took, p50_ms=quantile(waits, .5) * 1e3,
                          p95_ms=quantile(waits, .95) * 1e3, worst_ms=max(waits) * 1e3,
                          nobody_s=crowd.longest_gap(began), clients=len(waits),
                          bytes=other_bytes(other))
        self.alternated({"ours": None}, measure, min(self.options.repetitions, 3))

    def force(self):
        """From the command to the first packet that is treated by the new state."""
        leases = self.seconds(1000000, 100000)

        def measure(bed, name, _, repetition):
            setup = setups.prefill(self.ours, bed, leases + 50000, leases, skip=50000)
            server, partner = setup.servers
            partner.stop(60)
            times = []
            with Crowd(bed, 1000, patient=False) as crowd:
                for _ in range(5):
                    wait_until(lambda: status(server)["link"] != "up", 60, "the link is down")
                    force(server, "shutdown", override=True)
                    time.sleep(0.5)
                    began = time.monotonic()
                    force(server, "partner-down", override=True)
                    wait_until(lambda: crowd.first_offer(began), 30, "a client is answered")
                    times.append((crowd.first_offer(began) - began) * 1e3)
                    time.sleep(0.5)
            setup.servers = [server]
            for one in times:
                self.note("force", name, repetition, leases=leases, ms=one)
        self.alternated({"ours": None}, measure, 1)


def other_bytes(server):
    from drive import resident_bytes
    return resident_bytes(server.pid)


def _short(value):
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    return str(value)[:60]


def machine():
    with open("/proc/cpuinfo") as file:
        model = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), platform.machine())
    with open("/proc/meminfo") as file:
        memory = int(file.readline().split()[1]) // 1048576
    version = subprocess.run(["/usr/sbin/kea-dhcp4", "-v"], capture_output=True, text=True).stdout.strip()
    return {"cpu": model, "cores": os.cpu_count(), "memory_gib": memory, "kernel": platform.release(),
            "kea": version, "date": time.strftime("%Y-%m-%d")}


MEASURES = ["core", "instructions", "calls", "latency", "rate", "pool", "start", "kill", "cut", "recovery", "force"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--core-bench", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true", help="short repetitions, fewer leases: to see that it works")
    parser.add_argument("--only", action="append", choices=MEASURES, metavar="NAME",
                        help=f"measure this alone (repeatable): {', '.join(MEASURES)}")
    parser.add_argument("--setup", action="append", metavar="NAME", help="this set-up alone (repeatable), as the output "
                        "calls it")
    parser.add_argument("--repetitions", type=int, metavar="N", help="10, or 1 with --quick")
    parser.add_argument("--output", default=HERE, metavar="DIR", help="where results.json, .md and .svg go")
    parser.add_argument("--add", action="store_true", help="keep the results of other measures and "
                        "set-ups that are there")
    parser.add_argument("--report", action="store_true", help="measure nothing: write the table and the plot again")
    parser.add_argument("--start-rate", type=float, default=2000, help=argparse.SUPPRESS)
    parser.add_argument("--latency-rate", type=int, default=400, help=argparse.SUPPRESS)
    parser.add_argument("--callgrind-rate", type=float, default=40, help=argparse.SUPPRESS)
    parser.add_argument("--call-rates", type=lambda text: [int(rate) for rate in text.split(",")],
                        default=[400, 1000, 2500, 5000], help=argparse.SUPPRESS)
    parser.add_argument("--crowd-rate", type=int, default=20, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.library = os.path.abspath(options.library)
    os.makedirs(options.output, exist_ok=True)
    options.repetitions = options.repetitions or (1 if options.quick else 10)
    bench = Bench(options)
    wanted = options.only or MEASURES
    path = os.path.join(options.output, "results.json")
    if (options.add or options.report) and os.path.exists(path):
        with open(path) as file:
            old = json.load(file)["samples"]
        replaced = [] if options.report else wanted
        bench.samples = [sample for sample in old
                         if sample["measure"].split(" ")[0] not in replaced or not bench.is_chosen(sample["setup"])]
    if not options.report:
        for name in wanted:
            print(f"{time.strftime('%H:%M:%S')} {name}", flush=True)
            getattr(bench, name)()
    text = report.write(options.output, bench.samples, machine())
    print(text)


if __name__ == "__main__":
    main()
