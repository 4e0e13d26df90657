//! The program as its users meet it: what it prints, what it writes, and what it refuses.
#![cfg(test)]

mod aims;
mod answers;
mod bench;
mod blip;
mod certify;
mod classifier;
mod clips;
mod compare;
mod design;
mod diff;
mod dual;
mod encoders;
mod evaluate;
mod explain;
mod fit;
mod job;
mod methods;
mod over;
mod places;
mod record;
mod refusals;
mod report;
mod rerun;
mod scene;
mod show;
mod sounds;
mod support;
mod trace;
mod whatif;
mod written;
