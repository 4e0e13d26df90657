"""The same work in mmlens and in Python's libraries, on the same weights, inputs and number of threads.

    pip install -r benches/peers/requirements.txt
    cargo build --release --example peer --bin mmlens
    python benches/peers/compare.py [--cases vit-1 patch-shapes ...] [--rounds 3] [--repetitions 5] [--threads 2] [--out FILE]

Makes random weights at real shapes in a temporary folder (or --folder, to keep them). For every case it runs, in turn and each in a process
of its own: mmlens, every Python library that can do it as installed, and the same with MKL's fast path forced, which Intel's library
refuses to processors of other makers. After the first round only the fastest library of each kind goes on. Results are compared first: a
case whose results differ by more than its tolerance is an error. Every process adds a line of JSON to --out; --tables FILE prints
the tables of such a file again. --against FOLDER measures no Python: in its place another build of mmlens (the `target/release` of an older
checkout, say), in turn with this one, whose results must be the same within the case's tolerance. Times are minimum / median over all repetitions of all rounds, in milliseconds; ratios are those of
Python over mmlens (above 1: mmlens is faster). On a busy machine look at the minima.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import tables
from cases import BY_NAME, CASES, ROWS

HERE = pathlib.Path(__file__).resolve().parent
SHIM = "int mkl_serv_intel_cpu_true(void) { return 1; }\nint mkl_serv_intel_cpu(void) { return 1; }\n"
# A process of next to no memory that starts another and says how much that had at most: what a process starts with counts as its own.
PEAK = """#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
int main(int count, char **words) {
    int status;
    struct rusage used;
    pid_t child = fork();
    if (child == 0) { execvp(words[2], words + 2); _exit(127); }
    if (child < 0 || wait4(child, &status, 0, &used) < 0) return 126;
    FILE *out = fopen(words[1], "w");
    if (!out || fprintf(out, "%ld", used.ru_maxrss) < 0 || fclose(out) != 0) return 126;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
"""
MAKE = "import pathlib, sys, folders; folders.make(pathlib.Path(sys.argv[1]), sys.argv[2])"
# Of a case that begins with the process: the most tokens of the answer.
MOST = {"shapes": 64, "smolvlm": 1}


class Runner:
    """Runs one side of one case, in a process of its own."""

    def __init__(self, options, folder, scratch, target=None):
        self.options, self.folder, self.scratch, self.found = options, folder, scratch, {}
        target = target or options.target
        self.ours = target / "examples" / "peer", target / "mmlens"
        threads = str(options.threads)
        self.environment = dict(os.environ, RAYON_NUM_THREADS=threads, OMP_NUM_THREADS=threads, PYTHONWARNINGS="ignore",
                                TRANSFORMERS_VERBOSITY="error", HF_HUB_DISABLE_PROGRESS_BARS="1", HF_HUB_OFFLINE="1")
        for name, source, how in (("shim.so", SHIM, ["-shared", "-fPIC"]), ("peak", PEAK, [])):
            subprocess.run(["cc", *how, "-x", "c", "-o", scratch / name, "-"], input=source, text=True, check=True)

    def launch(self, command, fast=False):
        """What it printed, the seconds it lived, and the most memory it had at one time in MiB."""
        environment = dict(self.environment, **({"LD_PRELOAD": str(self.scratch / "shim.so")} if fast else {}))
        command = [str(part) for part in (self.scratch / "peak", self.scratch / "most", *command)]
        begin = time.perf_counter()
        done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=HERE)
        seconds = time.perf_counter() - begin
        if done.returncode != 0:
            sys.exit(f"{' '.join(command)} failed ({done.returncode}):\n{done.stderr[-4000:]}")
        return done.stdout, seconds, int((self.scratch / "most").read_text()) / 1024

    def limits(self):
        rates = {"mmlens": json.loads(self.launch([self.ours[0], "limits", self.folder])[0])}
        for name, fast in (("installed", False), ("fast", True)):
            rates[name] = json.loads(self.launch([sys.executable, HERE / "side.py", "limits", "-", self.folder], fast)[0])
        return rates

    def once(self, case, side, fast=False):
        if case.kind == "start":
            return self.start(case, side, fast)
        repetitions, warm = self.options.repetitions or case.repetitions, ["--warm", case.warm]
        if side == "mmlens":
            command = [self.ours[0], case.name, self.folder, repetitions, *warm]
        else:
            command = [sys.executable, HERE / "side.py", side, case.name, self.folder, "--repetitions", repetitions, *warm,
                       "--threads", self.options.threads]
            setting = self.setting(case, side, fast)
            command += ["--setting", setting] if setting else []
        said, _, peak = self.launch(command, fast)
        return json.loads(said.splitlines()[-1]) | {"peak": peak}

    def setting(self, case, side, fast):
        """How many rows share a pass, where a library leaves that to its user: whatever is fastest, found once."""
        if (side, case.kind) not in ROWS:
            return None
        if (case.name, side, fast) not in self.found:
            command = [sys.executable, HERE / "side.py", side, case.name, self.folder, "--threads", self.options.threads]
            self.found[case.name, side, fast] = json.loads(self.launch(command, fast)[0].splitlines()[-1])["setting"]
        return self.found[case.name, side, fast]

    def start(self, case, side, fast):
        from folders import ASK

        model, picture = self.folder / case.what, self.folder / f"{case.what}-clean.png"
        question, most = ASK[case.what], MOST[case.what]
        if side == "mmlens":
            command = [self.ours[1], "ask", model, "--image", picture, "--ask", question, "--max-new", most, "--json"]
        else:
            command = [sys.executable, HERE / "start.py", model, picture, question, most, self.options.threads]
        said, seconds, peak = self.launch(command, fast)
        if side == "mmlens":
            result = [token["id"] for token in json.loads(said)["tokens"]]
        else:
            result = json.loads(said.splitlines()[-1])["result"]
        return {"times": [seconds * 1e3], "result": result, "peak": peak}


def difference(ours, theirs):
    """The largest, over the largest value, of the cells that both have."""
    want, got = theirs["result"], ours["result"]
    if theirs.get("cells") is not None:
        if theirs["total"] != len(got):
            sys.exit(f"{len(got)} values in mmlens, {theirs['total']} in Python")
        got = [got[cell] for cell in theirs["cells"]]
    if len(want) != len(got):
        sys.exit(f"{len(got)} values in mmlens, {len(want)} in Python")
    # What is no number differs by infinity.
    return max((abs(a - b) if a == a and b == b else float("inf")) for a, b in zip(got, want)) / max(abs(x) for x in want)


def measure(case, runner, rounds, keep):
    best, least = {}, {}
    for turn in range(rounds):
        ours = runner.once(case, "mmlens")
        keep({"case": case.name, "side": "mmlens", "fast": False, "round": turn, "times": ours["times"], "peak": ours["peak"]})
        for fast in (False, True):
            for side in case.sides if turn == 0 else (best[fast],):
                theirs = runner.once(case, side, fast)
                apart = difference(ours, theirs)
                if not apart <= case.tolerance:
                    sys.exit(f"{case.name}: mmlens and {side} differ by {apart:.1e} of the largest value, above {case.tolerance:.0e}")
                done = len(theirs["cells"]) / theirs["total"] if theirs.get("cells") is not None else 1.0
                record = {"case": case.name, "side": side, "fast": fast, "round": turn, "times": theirs["times"], "peak": theirs["peak"]}
                keep(record | {"setting": theirs.get("setting"), "done": done, "difference": apart})
                if turn == 0 and min(theirs["times"]) < least.get(fast, float("inf")):
                    best[fast], least[fast] = side, min(theirs["times"])


def measure_builds(case, runners, rounds, keep):
    """Two builds in turn, each first in every other round."""
    for turn in range(max(2, rounds)):
        sides = list(runners.items()) if turn % 2 == 0 else list(runners.items())[::-1]
        found = {}
        for side, runner in sides:
            found[side] = runner.once(case, "mmlens")
            keep({"case": case.name, "side": side, "fast": False, "round": turn, "times": found[side]["times"], "peak": found[side]["peak"]})
        apart = difference(found["mmlens"], found["before"])
        if not apart <= case.tolerance:
            sys.exit(f"{case.name}: the two builds differ by {apart:.1e} of the largest value, above {case.tolerance:.0e}")
        keep({"case": case.name, "side": "difference", "fast": False, "round": turn, "times": [], "difference": apart})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", default=list(BY_NAME), metavar="CASE", help=", ".join(BY_NAME))
    parser.add_argument("--rounds", type=int, help="at most so many")
    parser.add_argument("--repetitions", type=int, help="instead of what each case says")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=pathlib.Path, help="where checkpoints are made and kept")
    parser.add_argument("--target", type=pathlib.Path, default=HERE.parents[1] / "target" / "release")
    parser.add_argument("--against", type=pathlib.Path, help="target/release of another build of mmlens, in the place of Python")
    parser.add_argument("--out", type=pathlib.Path, help="a file of JSON lines")
    parser.add_argument("--tables", type=pathlib.Path, help="prints the tables of such a file, and measures nothing")
    options = parser.parse_args()
    if options.tables:
        records = [json.loads(line) for line in options.tables.read_text().splitlines()]
        return tables.show_builds(records) if any(r.get("side") == "before" for r in records) else tables.show(records)
    unknown = [case for case in options.cases if case not in BY_NAME]
    if unknown:
        sys.exit(f"no such case: {', '.join(unknown)}; cases are {', '.join(BY_NAME)}")

    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        folder = (options.folder or scratch / "made").resolve()
        records = []

        def keep(record):
            records.append(record)
            print(json.dumps(record), file=sys.stderr, flush=True)
            if options.out:
                with open(options.out, "a") as out:
                    print(json.dumps(record), file=out)

        options.target = options.target.resolve()
        runner = Runner(options, folder, scratch)
        runner.launch([sys.executable, "-c", MAKE, folder, runner.ours[1]])
        if options.against:
            runners = {"mmlens": runner, "before": Runner(options, folder, scratch, options.against.resolve())}
            for case in CASES:
                if case.name in options.cases:
                    measure_builds(case, runners, min(case.rounds, options.rounds or case.rounds), keep)
            return tables.show_builds(records)
        keep({"limits": runner.limits()})
        for case in CASES:
            if case.name in options.cases:
                measure(case, runner, min(case.rounds, options.rounds or case.rounds), keep)
        keep({"limits": runner.limits()})
        tables.show(records)


if __name__ == "__main__":
    main()
