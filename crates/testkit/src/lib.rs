//! Tiny subjects, contracts and the oracle reader of the mmlens tests.
