//! Writing tensors of a pass to a safetensors file, one at a time.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;

use anyhow::Result;
use mmlens::core::{AnyTensor, HookError};
use mmlens::files::{Target, write_tensors};
use safetensors::{Dtype, View};

/// One tensor of the file.
pub(crate) enum Held {
    /// Numbers on a device.
    Floats(AnyTensor),
    /// Token ids and their shape.
    Ids(Vec<u32>, Vec<usize>),
}

impl Held {
    /// One list of ids for each row, all of one length.
    pub(crate) fn rows(rows: &[Vec<u32>]) -> Self {
        Self::Ids(rows.concat(), vec![rows.len(), rows.first().map_or(0, Vec::len)])
    }

    pub(crate) fn shape(&self) -> Vec<usize> {
        match self {
            Self::Floats(x) => x.dims(),
            Self::Ids(_, shape) => shape.clone(),
        }
    }

    /// As safetensors and PyTorch call it.
    pub(crate) fn dtype(&self) -> Dtype {
        match self {
            Self::Floats(_) => Dtype::F32,
            Self::Ids(..) => Dtype::I64,
        }
    }
}

/// Writes a safetensors file, whole or not at all.
///
/// # Memory
/// One tensor at a time is brought to the host.
pub(crate) fn write(target: &Target, tensors: &BTreeMap<String, Held>, about: &str) -> Result<()> {
    let fault = RefCell::new(None);
    let views = tensors.iter().map(|(name, held)| (name, Lazy { held, shape: held.shape(), fault: &fault }));
    let about = [("about".to_owned(), about.to_owned())].into();
    let said = |fault: &RefCell<Option<HookError>>| {
        fault.borrow_mut().take().map_or(Ok(()), |f| Err(io::Error::other(f)))
    };
    Ok(target.write(|file| write_tensors(file, views, &about).and_then(|()| said(&fault)))?)
}

/// A tensor that is read from its device when it is written.
struct Lazy<'a> {
    held: &'a Held,
    shape: Vec<usize>,
    fault: &'a RefCell<Option<HookError>>,
}

impl View for Lazy<'_> {
    fn dtype(&self) -> Dtype {
        self.held.dtype()
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned(match self.held {
            Held::Ids(ids, _) => ids.iter().flat_map(|id| i64::from(*id).to_le_bytes()).collect(),
            Held::Floats(x) => match x.to_values() {
                Ok(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
                Err(error) => {
                    self.fault.borrow_mut().get_or_insert(error);
                    vec![0; self.data_len()]
                }
            },
        })
    }

    fn data_len(&self) -> usize {
        let each = if matches!(self.held, Held::Ids(..)) { 8 } else { 4 };
        self.shape.iter().product::<usize>() * each
    }
}
