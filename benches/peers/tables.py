"""Tables of what was measured, as docs/performance.md has them."""

import statistics

from cases import BY_NAME, CASES, READ, operations

NAMES = {"plain": "PyTorch", "packed": "PyTorch, packed by hand", "nnsight": "nnsight", "lens": "TransformerLens", "captum": "captum",
         "start": "transformers"}


def show(records):
    limits = [record["limits"] for record in records if "limits" in record]
    measured = {case.name: Measured(case, records) for case in CASES}
    measured = {name: found for name, found in measured.items() if found.whole()}
    table(["work", "mmlens", "fastest in Python", "as installed", "fastest on the fast path", "fast path", "as installed / mmlens",
           "fast path / mmlens", "largest difference"], [found.row() for found in measured.values()])
    table(["work", "library", "rows a pass", "part done", "as installed", "fast path", "as installed / mmlens", "fast path / mmlens",
           "peak, MiB"], [row for found in measured.values() for row in found.libraries()])
    table(["work", "mmlens, MiB", "fastest in Python, MiB", "mmlens / Python"], [found.memory() for found in measured.values()])
    shares(limits, measured)


def show_builds(records):
    """Two builds of mmlens. `noise` is how far the rounds of one build lie apart: the largest of their minima over the least, of the worse build."""
    rows = []
    for case in CASES:
        found = Measured(case, records)
        if not found.times("mmlens") or not found.times("before"):
            continue
        now, then = found.times("mmlens"), found.times("before")
        least = {side: [min(record["times"]) for record in found.of(side)] for side in ("mmlens", "before")}
        noise = max(max(own) / min(own) for own in least.values())
        apart = max(record["difference"] for record in found.of("difference"))
        rows.append([case.work, both(now), both(then), f"{min(now) / min(then):.2f}", f"{noise:.2f}", f"{found.peak('mmlens'):.0f}",
                     f"{found.peak('before'):.0f}", f"{apart:.1e}" if apart else "equal"])
    table(["work", "now", "before", "now / before", "noise", "now, MiB", "before, MiB", "largest difference"], rows)


def table(head, rows):
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print(flush=True)


def number(x):
    return f"{x:.0f}" if x >= 1000 else f"{x:.1f}" if x >= 10 else f"{x:.2f}"


def both(times):
    return f"{number(min(times))} / {number(statistics.median(times))}"


class Measured:
    """All that is known of one case."""

    def __init__(self, case, records):
        self.case, self.records = case, [record for record in records if record.get("case") == case.name]

    def of(self, side, fast=False):
        return [record for record in self.records if record["side"] == side and record["fast"] == fast]

    def times(self, side, fast=False):
        return [time for record in self.of(side, fast) for time in record["times"]]

    def peak(self, side, fast=False):
        return statistics.median(record["peak"] for record in self.of(side, fast))

    def whole(self):
        return self.times("mmlens") and all(self.times(side, fast) for side in self.case.sides for fast in (False, True))

    def fastest(self, fast):
        # That which went on after the first round.
        last = max(record["round"] for record in self.records)
        going_on = [side for side in self.case.sides if any(record["round"] == last for record in self.of(side, fast))]
        return min(going_on, key=lambda side: min(self.times(side, fast)))

    def ratio(self, side, fast):
        theirs, ours = self.times(side, fast), self.times("mmlens")
        return f"{min(theirs) / min(ours):.2f} / {statistics.median(theirs) / statistics.median(ours):.2f}"

    def row(self):
        slow, fast = self.fastest(False), self.fastest(True)
        apart = max(record["difference"] for record in self.records if "difference" in record)
        return [self.case.work, both(self.times("mmlens")), NAMES[slow], both(self.times(slow)), NAMES[fast],
                both(self.times(fast, True)), self.ratio(slow, False), self.ratio(fast, True), f"{apart:.1e}" if apart else "equal"]

    def libraries(self):
        for side in self.case.sides:
            first = self.of(side)[0]
            setting, done = first.get("setting"), first["done"]
            yield [self.case.work, NAMES[side], str(setting or ""), "" if done == 1 else f"{100 * done:.1f} %", both(self.times(side)),
                   both(self.times(side, True)), self.ratio(side, False), self.ratio(side, True), f"{self.peak(side):.0f}"]

    def memory(self):
        side = self.fastest(False)
        ours, theirs = self.peak("mmlens"), self.peak(side)
        return [self.case.work, f"{ours:.0f}", f"{theirs:.0f} ({NAMES[side]})", f"{ours / theirs:.2f}"]


def shares(limits, measured):
    if not limits:
        return
    rates = {side: max(limit[side]["products"] for limit in limits) for side in ("mmlens", "installed", "fast")}
    read, most = max(limit["mmlens"]["read"] for limit in limits), max(rates.values())
    print(f"Products of `[2048, 2048]`, GFLOP/s: mmlens {rates['mmlens']:.0f}, PyTorch as installed {rates['installed']:.0f}, "
          f"fast path {rates['fast']:.0f}. Memory read: {read:.1f} GB/s.\n")
    rows = []
    for name, found in measured.items():
        seconds, case = min(found.times("mmlens")) / 1e3, BY_NAME[name]
        if name in READ:
            rate = READ[name] / seconds / 1e9
            rows.append([case.work, f"{READ[name] / 1e9:.1f} GB", f"{rate:.1f} GB/s", f"{100 * rate / read:.0f} % of reading memory"])
        elif operations(case):
            rate = operations(case) / seconds / 1e9
            rows.append([case.work, f"{operations(case) / 1e9:.4g} GFLOP", f"{rate:.0f} GFLOP/s", f"{100 * rate / most:.0f} % of products"])
    table(["work", "needed", "mmlens", "of the limit"], rows)
