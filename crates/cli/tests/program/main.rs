//! The program as its users meet it: what it prints, what it writes, and what it refuses.
#![cfg(test)]

mod answers;
mod blip;
mod certify;
mod classifier;
mod clips;
mod dual;
mod encoders;
mod explain;
mod refusals;
mod rerun;
mod support;
mod trace;
mod written;
