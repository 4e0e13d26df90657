//! Tiny subjects, contracts and the oracle reader of the mmlens tests.

mod altered;
mod contract;
mod kill;
mod oracle;
mod session;
mod toy;

pub use altered::Altered;
pub use contract::{analysis_breaches, subject_breaches};
pub use kill::{kill_again_and_again, kills};
pub use oracle::{Array, Oracle, OracleError, checkpoint, fixtures, picture};
pub use session::session_breaches;
pub use toy::{Toy, Work};
