//! Which data set is read, and how.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::coco::Coco;
use super::llava::{Conversations, Questions};
use super::mme::Mme;
use super::own::{Map, Own};
use super::parquet::Parquet;
use super::pope::Pope;
use super::tsv::Tsv;
use super::valse::Valse;
use super::vqa::Vqa;
use crate::benchmark::{Item, ReadError, Shown};

/// A data set on disk: items by their number, each read when it is asked for. One after the other they are read in one go.
pub trait Items: Send + Sync {
    /// Items there are.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// An item by its number, from zero.
    ///
    /// # Errors
    /// [`ReadError`], with the line and the field that is wrong.
    fn item(&self, index: usize) -> Result<Item, ReadError>;
}

impl dyn Items + '_ {
    /// All items, one after the other; one is held at a time.
    pub fn iter(&self) -> impl Iterator<Item = Result<Item, ReadError>> + '_ {
        (0..self.len()).map(|index| self.item(index))
    }
}

macro_rules! readers {
    ($($reader:ident = $name:literal, $about:literal;)*) => {
        /// A layout of data sets.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Reader {
            $(#[doc = $about] $reader,)*
        }

        impl Reader {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$reader,)*];

            /// What it is called.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$reader => $name,)* }
            }

            /// What it reads.
            #[must_use]
            pub const fn about(self) -> &'static str {
                match self { $(Self::$reader => $about,)* }
            }
        }
    };
}

readers! {
    Pope = "pope", "POPE: lines of JSON with `question_id`, `image`, `text`, `label`";
    Vqa = "vqa", "VQA v2: a file of questions; the annotations beside it";
    CocoCaptions = "coco-captions", "COCO captions; instances may stand beside them";
    CocoInstances = "coco-instances", "COCO instances: what is in a picture, and where";
    Mme = "mme", "MME: a folder of tasks";
    Valse = "valse", "VALSE: an object of JSON with captions and foils";
    Tsv = "tsv", "VLMEvalKit: a table between tabs, pictures as base64 or paths";
    Llava = "llava", "LLaVA conversations: a list of JSON";
    LlavaQuestions = "llava-questions", "LLaVA questions: lines of JSON with `question_id`, `image`, `text`";
    Jsonl = "jsonl", "lines of JSON of one's own, with a map of their fields";
    Csv = "csv", "a table of one's own between commas, or between tabs if its name ends with .tsv, with a map of its columns";
    Parquet = "parquet", "a Parquet file of one's own, with a map of its columns";
}

impl fmt::Display for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that no reader has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no reader `{found}`; there are {}", Reader::ALL.iter().map(|reader| reader.name()).collect::<Vec<_>>().join(", "))]
pub struct UnknownReader {
    /// The name.
    pub found: String,
}

impl FromStr for Reader {
    type Err = UnknownReader;

    fn from_str(text: &str) -> Result<Self, UnknownReader> {
        let found = || UnknownReader { found: text.to_owned() };
        Self::ALL.iter().copied().find(|reader| reader.name() == text).ok_or_else(found)
    }
}

/// Where a data set lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its layout.
    pub reader: Reader,
    /// Its file; of MME its folder.
    pub data: PathBuf,
    /// The file that belongs to it: VQA's annotations, the instances beside COCO's captions.
    pub beside: Option<PathBuf>,
    /// The folder of its pictures; `None`: the folder of the file.
    pub images: Option<PathBuf>,
    /// Which column is what, in a file of one's own.
    pub map: Map,
}

impl Source {
    /// A file with nothing beside it.
    pub fn new(reader: Reader, data: impl Into<PathBuf>) -> Self {
        Self { reader, data: data.into(), beside: None, images: None, map: Map::default() }
    }

    /// Opens the data set: goes through its files once, to see where its records are.
    ///
    /// # Errors
    /// [`ReadError`] for a file that cannot be read, or is not of this layout; what is wrong within an item is told when it is read.
    ///
    /// # Memory
    /// One record, and less than half a byte for each (24 bytes for 64 of them); for VQA whose annotations are in another order than
    /// its questions, for COCO, and for tables that refer to pictures of other rows, 12 bytes for each besides; 4 for VALSE.
    pub fn open(&self) -> Result<Box<dyn Items>, ReadError> {
        let data = self.data.as_path();
        let folder = || data.parent().map(Path::to_owned).unwrap_or_default();
        let images = || self.images.clone().unwrap_or_else(folder);
        let own = matches!(self.reader, Reader::Jsonl | Reader::Csv | Reader::Parquet);
        if !own && self.map != Map::default() {
            return Err(self.wrong("a map of columns", "none: its columns are known"));
        }
        if !matches!(self.reader, Reader::Vqa | Reader::CocoCaptions)
            && let Some(beside) = &self.beside
        {
            return Err(self.wrong(&format!("{} beside it", beside.display()), "one file"));
        }
        let beside = self.beside.as_deref();
        Ok(match self.reader {
            Reader::Pope => Box::new(Pope::open(data, images())?),
            Reader::Vqa => Box::new(Vqa::open(data, beside, images())?),
            Reader::CocoCaptions => Box::new(Coco::open(Some(data), beside, images())?),
            Reader::CocoInstances => Box::new(Coco::open(None, Some(data), images())?),
            Reader::Mme => Box::new(Mme::open(data, self.images.clone())?),
            Reader::Valse => Box::new(Valse::open(data, images())?),
            Reader::Tsv => Box::new(Tsv::open(data, images())?),
            Reader::Llava => Box::new(Conversations::open(data, images())?),
            Reader::LlavaQuestions => Box::new(Questions::open(data, images())?),
            Reader::Jsonl => Box::new(Own::open(data, None, self.map.clone(), images())?),
            Reader::Csv => {
                let tabs = data.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("tsv"));
                let delimiter = if tabs { b'\t' } else { b',' };
                Box::new(Own::open(data, Some(delimiter), self.map.clone(), images())?)
            }
            Reader::Parquet => Box::new(Parquet::open(data, self.map.clone(), images())?),
        })
    }

    fn wrong(&self, found: &str, expected: &str) -> ReadError {
        let (found, expected) = (found.to_owned(), expected.to_owned());
        ReadError::Source { reader: self.reader.name(), found, expected }
    }
}

/// A picture that a data set names.
pub(super) fn picture(images: &Path, name: &str) -> Shown {
    Shown::File(images.join(name))
}
