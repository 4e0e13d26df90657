//! Pictures and one self-contained HTML page from mmlens findings.
