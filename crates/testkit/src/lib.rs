//! Tiny subjects, contracts and the oracle reader of the mmlens tests.

mod browser;
mod contract;
mod counted;
mod kill;
mod looked;
mod oracle;
mod planted;
#[cfg(unix)]
mod read_only;
mod read_out;
mod rewired;
mod session;
mod small;
mod table;
mod toy;

pub use browser::{Seen, without_browser};
pub use contract::{analysis_breaches, subject_breaches};
pub use kill::{kill_again_and_again, kills};
pub use oracle::{Array, Oracle, OracleError, checkpoint, fixtures, picture};
pub use planted::{Weights, planted, shipped};
#[cfg(unix)]
pub use read_only::ReadOnly;
pub use rewired::Rewired;
pub use session::session_breaches;
pub use small::{cell, kinds, numbers, painted};
pub use table::table_breaches;
pub use toy::{Toy, Work};
