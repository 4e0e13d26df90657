//! How the bytes of a kind of file are taken apart to be mutated.

/// The kind of a file, as far as mutations go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// JSON: values are replaced, removed, moved and nested, numbers and names made strange.
    Json,
    /// A Jinja template: its words are shuffled, and those that loop and multiply put in.
    Template,
    /// The length of a header, the header as JSON, and values behind it.
    Safetensors,
    /// A picture: bytes, most of them near the start, the checksums of PNG made right again half of the time.
    Picture,
    /// A recording: bytes, most of them near the start, the checksums of Ogg made right again half of the time.
    Recording,
    /// Lines of text: bytes, behind one that chooses.
    Lines,
    /// Bytes, taken for JSON where they are.
    Any,
}

impl Format {
    /// How many bytes before the file choose what stands around it.
    pub(crate) fn chooses(self, seed: &[u8]) -> usize {
        match self {
            // A finding and a journal begin as such files do; whatever is chosen from is below 32.
            Self::Any | Self::Safetensors => {
                usize::from(seed.first().is_some_and(|byte| *byte < 32) && !starts(seed))
            }
            Self::Json | Self::Template | Self::Picture | Self::Recording | Self::Lines => 1,
        }
    }
}

/// Whether bytes begin with the length of a header of JSON.
fn starts(bytes: &[u8]) -> bool {
    bytes.get(8) == Some(&b'{')
}
