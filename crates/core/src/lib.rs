//! The waist of mmlens: sites, plans, runs, traces, subjects, objectives and the traits of every analysis.
