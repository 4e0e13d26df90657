//! Pictures and one self-contained HTML page from mmlens findings.
mod colour;
mod error;
mod heat;
mod overlay;
mod picture;
mod scale;
pub use error::ReportError;
pub use overlay::{OverlaySettings, overlay, overlay_png};
pub use picture::Picture;
