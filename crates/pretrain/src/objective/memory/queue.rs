//! A queue of keys: the newest take the places of the oldest.

use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device, Tensor};
use std::collections::BTreeMap;

/// The names of its tensors in a state.
const KEYS: &str = "queue";
const PLACE: &str = "queue_place";

/// The last keys of all that entered, up to a number. They enter in the order of their rows, which is that of the whole batch on
/// any number of ranks: those of all first views, then those of all second ones. Of a batch that is larger than the queue the last
/// rows stay. In the beginning it is empty: it has no keys that no image has.
pub struct Queue {
    /// `[size, P]`, round and round; the first `filled` rows are keys. None where the size is 0.
    keys: Option<Tensor>,
    /// Where the next key enters.
    next: usize,
    filled: usize,
}

impl Queue {
    /// An empty one with room for `size` keys of width `width`.
    ///
    /// # Errors
    /// When memory is short.
    pub fn new((size, width): (usize, usize), device: &Device) -> Result<Self> {
        let keys = (size > 0).then(|| Tensor::zeros((size, width), DType::F32, device)).transpose()?;
        Ok(Self { keys, next: 0, filled: 0 })
    }

    /// Keys that it has room for.
    pub fn size(&self) -> usize {
        self.keys.as_ref().map_or(0, |keys| keys.dims()[0])
    }

    /// Keys that are in it.
    pub fn filled(&self) -> usize {
        self.filled
    }

    /// The keys that are in it, `[filled, P]`, where they stand; `None` where there are none.
    ///
    /// # Errors
    /// None in practice: the rows are there.
    pub fn keys(&self) -> Result<Option<Tensor>> {
        let Some(keys) = self.keys.as_ref().filter(|_| self.filled > 0) else { return Ok(None) };
        Ok(Some(keys.narrow(0, 0, self.filled)?))
    }

    /// Takes the rows of `keys` `[R, P]` in, one after another.
    ///
    /// # Errors
    /// When they are of another width.
    pub fn enter(&mut self, keys: &Tensor) -> Result<()> {
        let Some(own) = &self.keys else { return Ok(()) };
        let (size, rows) = (own.dim(0)?, keys.dim(0)?);
        // Rows that later ones of this batch would write over are passed by.
        let passed = rows.saturating_sub(size);
        let (start, count) = ((self.next + passed) % size, rows - passed);
        let until_end = count.min(size - start);
        for (row, place, count) in [(passed, start, until_end), (passed + until_end, 0, count - until_end)] {
            if count > 0 {
                own.slice_set(&keys.narrow(0, row, count)?, 0, place)?;
            }
        }
        self.next = (self.next + rows) % size;
        self.filled = size.min(self.filled + rows);
        Ok(())
    }

    /// Copies of its tensors, on the CPU.
    ///
    /// # Errors
    /// When memory is short.
    pub fn state(&self) -> Result<BTreeMap<String, Tensor>> {
        let Some(keys) = &self.keys else { return Ok(BTreeMap::new()) };
        let place = Tensor::new(&[self.next as u32, self.filled as u32], &Device::Cpu)?;
        Ok([(KEYS.into(), keys.to_device(&Device::Cpu)?.copy()?), (PLACE.into(), place)].into())
    }

    /// Takes over what [`Queue::state`] gave.
    ///
    /// # Errors
    /// When it is of a queue of another size or width. Nothing is changed then.
    pub fn restore(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()> {
        let (found, place) = (state.get(KEYS), state.get(PLACE));
        let shape = |keys: Option<&Tensor>| keys.map_or(vec![0], |keys| keys.dims().to_vec());
        ensure!(
            shape(found) == shape(self.keys.as_ref()),
            "it has the shape {:?}, and that of this experiment {:?}: set size and model.proj_dim as they were, or begin a run in \
             another folder",
            shape(found),
            shape(self.keys.as_ref())
        );
        let (Some(own), Some(found)) = (&self.keys, found) else { return Ok(()) };
        let place = place.and_then(|place| place.to_vec1::<u32>().ok()).unwrap_or_default();
        let [next, filled] = place[..] else { anyhow::bail!("it does not say where the next key enters") };
        let (next, filled, size) = (next as usize, filled as usize, own.dim(0)?);
        ensure!(
            filled == size && next < size || next == filled && filled < size,
            "a queue of {size} has no place {next} with {filled} keys in it"
        );
        own.slice_set(&found.to_device(own.device())?.contiguous()?, 0, 0).context("taking its keys over")?;
        (self.next, self.filled) = (next, filled);
        Ok(())
    }
}
