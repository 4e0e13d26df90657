//! The waist: plans, runs and traces on a toy subject.

mod loud;
mod passes;
mod toy;
