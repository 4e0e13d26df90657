//! Weights on their way into a model: by canonical name, on a device, with everything that does not fit reported.

use std::collections::{BTreeMap, BTreeSet};

use burn::tensor::{AllocationProperty, Bytes, DType, Device, Tensor, TensorData};

use super::error::{CheckpointError, Misfit};
use super::layout::{self, KNOWN_BUFFERS, Layout};
use super::{Checkpoint, Dtype, nearest};
use crate::error::ZooError;

/// Whatever a model can take its weights from: a checkpoint, or an initialiser.
pub trait WeightSource {
    /// The tensor called `name`, whose shape must be `shape`.
    ///
    /// # Errors
    ///
    /// There is no such tensor, or it has another shape; the error names both.
    fn take<const D: usize>(&mut self, name: &str, shape: [usize; D]) -> Result<Tensor<D>, ZooError>;

    /// Whether there is a tensor called `name` (as with tied embeddings, where the head may be absent).
    fn has(&self, name: &str) -> bool;

    /// Whether names and shapes are compared, and what is taken stands for weights that are not read: nothing should depend on
    /// its numbers, nor be computed of it but through [`WeightSource::made`].
    fn compares(&self) -> bool {
        false
    }

    /// What `make` makes of a tensor that was taken, with the shape `to`.
    fn made<const D: usize, const E: usize>(
        &self,
        taken: Tensor<D>,
        to: [usize; E],
        make: impl FnOnce(Tensor<D>) -> Tensor<E>,
    ) -> Tensor<E> {
        debug_assert!(!self.compares(), "a source that compares has its own");
        let _ = to;
        make(taken)
    }
}

/// Reads a [`Checkpoint`] for a model.
///
/// [`Weights::build`] is the usual way: it runs the constructor of the model twice, first to compare names and shapes, without
/// reading a tensor, and reports together all that is wrong; then to take the weights. Taking tensors directly is possible
/// too; then the first that does not fit is an error.
///
/// # Memory
///
/// On a CPU device, `f32` weights of a mapped file are not copied at all. Everything else is read and converted piece by
/// piece: beyond the weights on the device there are a few MiB, on a device with memory of its own one tensor.
#[derive(Debug)]
#[must_use = "call `build`, or `finish` after taking tensors"]
pub struct Weights<'a> {
    checkpoint: &'a Checkpoint,
    device: Device,
    dtype: DType,
    /// Canonical name to name in the file.
    names: BTreeMap<String, &'a str>,
    collision: Option<CheckpointError>,
    ignored: Vec<String>,
    taken: BTreeSet<String>,
    faults: Misfit,
    /// Whether names and shapes are compared, with tensors that take no memory.
    comparing: bool,
}

impl<'a> Weights<'a> {
    /// All tensors of `checkpoint` under their own names, to be put on `device` as `f32`.
    pub fn new(checkpoint: &'a Checkpoint, device: &Device) -> Self {
        let weights = Self {
            checkpoint,
            device: device.clone(),
            dtype: DType::F32,
            names: BTreeMap::new(),
            collision: None,
            ignored: KNOWN_BUFFERS.iter().map(|&pattern| pattern.to_owned()).collect(),
            taken: BTreeSet::new(),
            faults: Misfit { checkpoint: checkpoint.origin().to_owned(), ..Misfit::default() },
            comparing: false,
        };
        weights.rename(str::to_owned)
    }

    /// Names tensors as `layout` says.
    pub fn layout(self, layout: Layout) -> Self {
        self.rename(|name| layout.canonical(name))
    }

    /// Names tensors by a function from the name in the file to the canonical one.
    pub fn rename(mut self, canonical: impl Fn(&str) -> String) -> Self {
        self.names.clear();
        self.collision = None;
        for file_name in self.checkpoint.names() {
            let name = canonical(file_name);
            if let Some(other) = self.names.insert(name.clone(), file_name) {
                self.collision.get_or_insert(CheckpointError::Collision {
                    checkpoint: self.checkpoint.origin().to_owned(),
                    name,
                    first: other.to_owned(),
                    second: file_name.to_owned(),
                });
            }
        }
        self
    }

    /// Converts to another floating type on the way to the device.
    pub fn dtype(mut self, dtype: DType) -> Self {
        self.dtype = dtype;
        self
    }

    /// Tensors that need not be used, besides [`KNOWN_BUFFERS`]: canonical names, in which `*` is any run of characters.
    pub fn ignore(mut self, patterns: &[&str]) -> Self {
        self.ignored.extend(patterns.iter().map(|&pattern| pattern.to_owned()));
        self
    }

    /// The canonical names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(String::as_str)
    }

    /// The shape of the tensor `name`, if there is one.
    #[must_use]
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.names.get(name).and_then(|file_name| self.checkpoint.info(file_name)).map(|info| info.shape)
    }

    /// Builds a model and checks that it uses the whole checkpoint. `make` is run twice; see [`WeightSource::compares`].
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Misfit`] with all that is missing, surplus or misshapen, before a weight is read;
    /// [`CheckpointError::NothingToDraw`]; else what `make` says.
    pub fn build<M>(mut self, make: impl Fn(&mut Self) -> Result<M, ZooError>) -> Result<M, ZooError> {
        self.comparing = true;
        make(&mut self)?;
        self.compared()?;
        self.redrawable()?;
        self.comparing = false;
        make(&mut self)
    }

    /// Checks that every tensor was used and that none was missing or misshapen.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Misfit`], or [`CheckpointError::Collision`].
    pub fn finish(mut self) -> Result<(), ZooError> {
        self.compared()
    }

    fn compared(&mut self) -> Result<(), ZooError> {
        if let Some(collision) = self.collision.take() {
            return Err(collision.into());
        }
        for (name, file_name) in &self.names {
            let known = self.ignored.iter().any(|pattern| layout::fits(pattern, name));
            if !known && !self.taken.contains(name) {
                let shape = self.checkpoint.info(file_name).map(|info| info.shape.to_vec());
                self.faults.surplus.push((name.clone(), shape.unwrap_or_default()));
            }
        }
        if self.faults.is_empty() {
            Ok(())
        } else {
            Err(CheckpointError::Misfit(Box::new(std::mem::take(&mut self.faults))).into())
        }
    }

    /// Every part whose weights are to be drawn anew must have some.
    fn redrawable(&self) -> Result<(), ZooError> {
        let names: Vec<&str> = self.names().collect();
        let empty = self.checkpoint.redraw.as_ref().map(|redraw| redraw.without_weights(&names));
        match empty.unwrap_or_default().first() {
            None => Ok(()),
            Some(part) => {
                let checkpoint = self.checkpoint.origin().to_owned();
                Err(CheckpointError::NothingToDraw { checkpoint, part: part.name() }.into())
            }
        }
    }

    /// A tensor of the file as host data: its own bytes where they can stay where they are, else a converted copy; or what was drawn in
    /// the place of its numbers.
    fn host(&self, name: &str, file_name: &str) -> Result<TensorData, CheckpointError> {
        let stored = self.checkpoint.stored(file_name)?;
        let names = || self.names.keys().map(String::as_str);
        if let Some(redraw) = self.checkpoint.redraw.as_ref().filter(|redraw| redraw.covers(name, names())) {
            let drawn = redraw.drawn(&self.checkpoint.floats(file_name)?);
            return Ok(TensorData::new(drawn, stored.shape.clone()));
        }
        let transfer = |problem: String| CheckpointError::Transfer { tensor: file_name.to_owned(), problem };
        let (same, align) = match (stored.dtype, self.dtype) {
            (Dtype::F32, DType::F32) => (true, 4),
            (Dtype::F16, DType::F16) | (Dtype::BF16, DType::BF16) => (true, 2),
            _ => (false, 1),
        };
        if same
            && cfg!(target_endian = "little")
            && let Some(bytes) = self.checkpoint.files[stored.file].lasting(&stored.range)
            && bytes.as_ptr().addr().is_multiple_of(align)
        {
            let bytes = Bytes::from_shared(bytes, AllocationProperty::File);
            return TensorData::try_from_bytes(bytes, stored.shape.clone(), self.dtype)
                .map_err(|e| transfer(e.to_string()));
        }
        Ok(TensorData::new(self.checkpoint.floats(file_name)?, stored.shape.clone()))
    }

    /// A tensor of a shape that takes no memory, as long as nothing is computed of it. Of more numbers than can be counted there
    /// is none: then what was found so far is the error.
    fn stand_in<const D: usize>(&mut self, shape: [usize; D]) -> Result<Tensor<D>, ZooError> {
        match shape.iter().try_fold(1_usize, |count, len| count.checked_mul(*len)) {
            Some(count) if count < usize::MAX / size_of::<f32>() => Ok(self.nothing(shape)),
            _ => Err(CheckpointError::Misfit(Box::new(std::mem::take(&mut self.faults))).into()),
        }
    }

    fn nothing<const D: usize>(&self, shape: [usize; D]) -> Tensor<D> {
        Tensor::<D>::zeros([1; D], (&self.device, self.dtype)).expand(shape)
    }
}

impl WeightSource for Weights<'_> {
    fn take<const D: usize>(&mut self, name: &str, shape: [usize; D]) -> Result<Tensor<D>, ZooError> {
        let Some(&file_name) = self.names.get(name) else {
            self.faults.missing.push((name.to_owned(), shape.to_vec()));
            if self.comparing {
                return self.stand_in(shape);
            }
            let error = CheckpointError::NoTensor {
                checkpoint: self.checkpoint.origin().to_owned(),
                tensor: name.to_owned(),
                nearest: nearest(name, self.names()),
            };
            return Err(error.into());
        };
        self.taken.insert(name.to_owned());
        let found = &self.checkpoint.stored(file_name)?.shape;
        // A number alone may be stored without any axis.
        let alone = found.is_empty() && shape.iter().eq(&[1]);
        if *found != shape && !alone {
            self.faults.misshapen.push((name.to_owned(), found.clone(), shape.to_vec()));
            if self.comparing {
                return self.stand_in(shape);
            }
            let error = CheckpointError::Shape {
                checkpoint: self.checkpoint.origin().to_owned(),
                tensor: name.to_owned(),
                found: found.clone(),
                expected: shape.to_vec(),
            };
            return Err(error.into());
        }
        if self.comparing {
            return self.stand_in(shape);
        }
        let mut data = self.host(name, file_name)?;
        if alone {
            let (bytes, _, dtype) = data.into_parts();
            data = TensorData::try_from_bytes(bytes, shape, dtype).map_err(|e| {
                CheckpointError::Transfer { tensor: file_name.to_owned(), problem: e.to_string() }
            })?;
        }
        Ok(Tensor::from_data(data, (&self.device, self.dtype)))
    }

    fn has(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }

    fn compares(&self) -> bool {
        self.comparing
    }

    fn made<const D: usize, const E: usize>(
        &self,
        taken: Tensor<D>,
        to: [usize; E],
        make: impl FnOnce(Tensor<D>) -> Tensor<E>,
    ) -> Tensor<E> {
        if self.comparing { self.nothing(to) } else { make(taken) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Access, HostTensor, SaveSettings, save_safetensors};
    use super::*;

    #[test]
    fn what_cannot_be_is_not_made_up() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("model.safetensors");
        let tensor = HostTensor::new("t", vec![1], vec![1.0]).unwrap();
        save_safetensors(&file, [("t".to_owned(), tensor)], &SaveSettings::new()).unwrap();
        let checkpoint = Checkpoint::open_with(&file, Access::Copied).unwrap();
        for side in [1 << 24, 1 << 40, usize::MAX] {
            let said = Weights::new(&checkpoint, &Device::default())
                .build(|weights| {
                    let all: Tensor<3> = weights.take("t", [side, side, 3])?;
                    weights.take::<1>("u", [side])?;
                    Ok(weights.made(all, [side], |all| all.reshape([side])))
                })
                .unwrap_err()
                .to_string();
            assert!(said.contains(&format!("`t` has [1], expected [{side}, {side}, 3]")), "{said}");
            // What cannot be counted ends the comparison.
            assert_eq!(said.contains("1 missing: `u`"), side == 1 << 24, "{said}");
        }
    }

    #[test]
    fn floats_of_a_mapped_file_stay_where_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("model.safetensors");
        let tensor = HostTensor::new("t", vec![2, 2], vec![1.0, 2.0, 3.0, 4.0]).unwrap();
        save_safetensors(&file, [("t".to_owned(), tensor)], &SaveSettings::new()).unwrap();
        for (access, stays) in [(Access::Mapped, true), (Access::Copied, false)] {
            let checkpoint = Checkpoint::open_with(&file, access).unwrap();
            let weights = Weights::new(&checkpoint, &Device::default());
            let data = weights.host("t", "t").unwrap();
            let mapped = checkpoint.files[0].lasting(&checkpoint.stored("t").unwrap().range);
            assert_eq!(mapped.is_some_and(|mapped| mapped.as_ptr() == data.as_bytes().as_ptr()), stays);
        }
    }

    /// With the checkpoint and the last tensor the mapping ends, and not before: no process keeps every file it ever opened.
    #[test]
    #[cfg(target_os = "linux")]
    fn a_mapping_ends_with_what_is_made_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mapped-once.safetensors");
        let tensor = HostTensor::new("t", vec![2, 2], vec![1.0, 2.0, 3.0, 4.0]).unwrap();
        save_safetensors(&file, [("t".to_owned(), tensor)], &SaveSettings::new()).unwrap();
        let maps = || std::fs::read_to_string("/proc/self/maps").unwrap().matches("mapped-once").count();
        let checkpoint = Checkpoint::open_with(&file, Access::Mapped).unwrap();
        let data = Weights::new(&checkpoint, &Device::default()).host("t", "t").unwrap();
        assert_eq!(maps(), 1);
        drop(checkpoint);
        assert_eq!((maps(), data.as_bytes().len()), (1, 16));
        let tensor = Tensor::<2>::from_data(data, &Device::default());
        assert_eq!(tensor.clone().into_data().try_to_vec::<f32>().unwrap(), [1.0, 2.0, 3.0, 4.0]);
        drop(tensor);
        assert_eq!(maps(), 0);
    }
}
