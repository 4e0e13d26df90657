"""One case in one Python library, in a process of its own: prints a line of JSON as `peer` does.

`python side.py SIDE CASE FOLDER --repetitions N --warm N --threads N [--setting ROWS]`. Without a setting, where a library can be told how
many rows share a pass, it says which of a few is the fastest, and no more.
"""

import argparse
import importlib
import json
import pathlib

import torch

from cases import BY_NAME, ROWS


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("side")
    parser.add_argument("case")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--warm", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--setting", type=int)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.side == "limits":
        return print(json.dumps({"products": products()}))
    side, case = importlib.import_module(f"sides.{options.side}"), BY_NAME[options.case]
    setting = options.setting
    rows = ROWS.get((options.side, case.kind))
    if rows and setting is None:
        tried = {rows: side.prepare(case, options.folder, rows).timed()[1] for rows in rows}
        return print(json.dumps({"setting": min(tried, key=tried.get)}))
    work = side.prepare(case, options.folder, setting)
    for _ in range(options.warm):
        work.timed()
    times, outcome = [], None
    for _ in range(options.repetitions):
        del outcome
        outcome, milliseconds = work.timed()
        times.append(milliseconds)
    found = work.result(outcome).detach().reshape(-1).tolist()
    print(json.dumps({"times": times, "result": found, "cells": work.cells, "total": work.total, "setting": setting}))


def products(side=2048):
    """The rate of products of large matrices, in GFLOP/s: the best of some."""
    import time

    a, b, best = torch.randn(side, side), torch.randn(side, side), 0.0
    for _ in range(6):
        begin = time.perf_counter()
        a @ b
        best = max(best, 2 * side**3 / (time.perf_counter() - begin) / 1e9)
    return best


if __name__ == "__main__":
    main()
