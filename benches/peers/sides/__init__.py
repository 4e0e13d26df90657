"""The Python libraries that mmlens is measured against, one file each.

A side is a function `prepare(case, folder, setting)` that loads what the case needs and gives a `Work`.
"""
