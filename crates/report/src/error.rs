//! What can be wrong with a picture or a table that should be drawn.

use mmlens_files::WriteError;

/// What can be wrong with a picture or a table that should be drawn.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// The bytes of a picture cannot be read, or its pixels cannot be written.
    #[error("picture `{picture}`: {source}")]
    Picture {
        /// Name of the picture.
        picture: String,
        /// What the image library said.
        source: image::ImageError,
    },
    /// A picture without a pixel.
    #[error("picture `{picture}` measures {width} x {height} pixels")]
    Empty {
        /// Name of the picture.
        picture: String,
        /// Its width.
        width: u32,
        /// Its height.
        height: u32,
    },
    /// The table has no axis that lies on a picture.
    #[error(
        "table `{table}` has axes {axes:?}; a heat map needs row and column spans, patches, or tokens with patches"
    )]
    NoPlaces {
        /// Name of the table.
        table: String,
        /// Its axes.
        axes: Vec<String>,
    },
    /// The table has axes besides those that lie on a picture.
    #[error("table `{table}` has a heat map for every position of {axes:?}; slice it down to one")]
    ManyMaps {
        /// Name of the table.
        table: String,
        /// The axes that are too many.
        axes: Vec<String>,
    },
    /// The table has places, but none on the picture asked for.
    #[error("table `{table}` has nothing on image {image}, frame {frame}; it lies on images {have:?}")]
    OtherPicture {
        /// Name of the table.
        table: String,
        /// Number of the image asked for.
        image: usize,
        /// Number of the frame asked for.
        frame: usize,
        /// Numbers of the images it lies on.
        have: Vec<usize>,
    },
    /// Tables that do not belong to one map.
    #[error("table `{table}` is in {found}, `{first}` in {unit}: they are not one map")]
    Apart {
        /// Name of the table.
        table: String,
        /// Its unit.
        found: &'static str,
        /// Name of the first table.
        first: String,
        /// The unit of that.
        unit: &'static str,
    },
    /// A table by answer token that does not belong to the table whose name it has.
    #[error("table `{table}` has axes {found:?}; tokens of the answer and then {expected:?} were expected")]
    ByToken {
        /// Name of the table.
        table: String,
        /// Its axes.
        found: Vec<String>,
        /// The axes of the table it is named after.
        expected: Vec<String>,
    },
    /// A map that was put together and does not fit its own labels.
    #[error(transparent)]
    Table(#[from] mmlens_finding::TableError),
    /// The data of the page cannot be written as JSON.
    #[error("data of the page: {source}")]
    Data {
        /// What the JSON library said.
        source: serde_json::Error,
    },
    /// The page cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}
