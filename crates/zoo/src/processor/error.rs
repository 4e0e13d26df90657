//! Why a processor, or a picture, was refused.

use std::path::PathBuf;

use crate::checkpoint::ConfigError;

/// What is wrong with a processor's configuration, or with a picture.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessorError {
    /// The file cannot be read, or is not JSON.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The folder says nothing about pictures.
    #[error(
        "{}: no image processor: neither `image_processor` in `processor_config.json` nor `preprocessor_config.json`",
        dir.display()
    )]
    NotThere {
        /// The folder.
        dir: PathBuf,
    },
    /// A processor that is not known here.
    #[error("{}: the image processor is {found}; known are {}", file.display(), known.join(", "))]
    Kind {
        /// The file.
        file: PathBuf,
        /// Its name there.
        found: String,
        /// The names that are known.
        known: Vec<&'static str>,
    },
    /// A field that is not what it should be.
    #[error("{}: `{field}` is {found}, expected {expected}", file.display())]
    Field {
        /// The file.
        file: PathBuf,
        /// The field.
        field: String,
        /// What stands there.
        found: String,
        /// What should.
        expected: &'static str,
    },
    /// A field that is not known here and may change numbers.
    #[error("{}: the field `{field}` ({found}) is not supported", file.display())]
    Unsupported {
        /// The file.
        file: PathBuf,
        /// The field.
        field: String,
        /// What stands there.
        found: String,
    },
    /// A picture without pixels.
    #[error("the picture is {width} x {height}: it has no pixels")]
    Empty {
        /// Its width.
        width: usize,
        /// Its height.
        height: usize,
    },
    /// More pixels than are taken.
    #[error("{what} would be {width} x {height}, more than the {limit} pixels allowed")]
    TooLarge {
        /// The picture, or a step on its way.
        what: &'static str,
        /// Its width.
        width: usize,
        /// Its height.
        height: usize,
        /// How many pixels are allowed.
        limit: usize,
    },
    /// A picture cut into more tiles than any decoder could read.
    #[error(
        "a picture of {width} x {height} would be cut into {tiles} tiles, more than the {limit} allowed: `size` or `max_image_size` says so"
    )]
    Tiles {
        /// Its width.
        width: usize,
        /// Its height.
        height: usize,
        /// How many there would be.
        tiles: usize,
        /// How many there may be.
        limit: usize,
    },
    /// Resizing would leave nothing.
    #[error("a picture of {width} x {height} would be resized to {to_width} x {to_height}")]
    Vanishes {
        /// Its width.
        width: usize,
        /// Its height.
        height: usize,
        /// The width asked for.
        to_width: usize,
        /// The height asked for.
        to_height: usize,
    },
    /// Colours that cannot be converted, or that the configuration says not to convert.
    #[error("the picture is {found}; {expected}")]
    Colour {
        /// Its colour type.
        found: String,
        /// What would be taken.
        expected: &'static str,
    },
    /// A picture that is far longer in one direction than in the other.
    #[error("the picture is {width} x {height}: one side is more than 200 times the other")]
    Narrow {
        /// Its width.
        width: usize,
        /// Its height.
        height: usize,
    },
    /// A picture that is not resized and does not divide into patches.
    #[error("the picture is {width} x {height}; without `do_resize` both must be multiples of {factor}")]
    Uneven {
        /// Its width.
        width: usize,
        /// Its height.
        height: usize,
        /// Side of a merged patch.
        factor: usize,
    },
    /// A clip without frames.
    #[error("the clip has no frames")]
    NoFrames,
    /// Fewer frames than a patch spans.
    #[error("the clip has {frames} frames to show, at least {least} are needed")]
    Short {
        /// Frames.
        frames: usize,
        /// Frames needed.
        least: usize,
    },
    /// Frames of different sizes.
    #[error("frame {frame} of the clip is {} x {}, its first one {} x {}", found.0, found.1, first.0, first.1)]
    Frames {
        /// Which frame.
        frame: usize,
        /// Its width and height.
        found: (usize, usize),
        /// Those of the first.
        first: (usize, usize),
    },
    /// A rate is needed to choose frames.
    #[error(
        "the processor takes {fps} frames of a second, and the clip does not say how many it has; give its `fps`"
    )]
    NoRate {
        /// Frames of a second that are taken.
        fps: f64,
    },
    /// A rate that is none.
    #[error("the clip has {fps} frames in a second, expected 0.001 to 1000000")]
    Rate {
        /// What was given.
        fps: f64,
    },
    /// More frames to take than there are.
    #[error("{wanted} frames are to be taken from a clip of {frames}")]
    Sampling {
        /// Frames to take.
        wanted: usize,
        /// Frames there are.
        frames: usize,
    },
}
