//! A tape of one of several ranks that compute a batch together.

use super::Tape;
use crate::collective::{Group, part};
use candle_core::{Result, Tensor, bail};

impl Tape {
    /// The same tape of one of several ranks, each of which has its [part](crate::collective::part) of a batch of `images` on a
    /// tape of its own: what an op finds over a batch it finds over the parts of all.
    pub fn among(self, group: &Group, images: usize) -> Self {
        Self { group: group.clone(), images, ..self }
    }

    /// A tape that records nothing, of the same rank: for a second network that sees the same batch.
    pub fn silent(&self) -> Self {
        Self::inference().among(&self.group, self.images)
    }

    /// The ranks that compute the batch.
    pub fn group(&self) -> &Group {
        &self.group
    }

    /// How many images of the batch each rank has, of which `own` are this one's.
    ///
    /// # Errors
    /// When `own` is not this rank's part.
    pub fn images(&self, own: usize) -> Result<Vec<usize>> {
        let (group, images) = (&self.group, self.images);
        if group.is_alone() {
            return Ok(vec![own]);
        }
        let counts: Vec<_> = (0..group.size()).map(|rank| part(images, rank, group.size()).len()).collect();
        match counts[group.rank()] == own {
            true => Ok(counts),
            false => bail!("{own} images on {group:?}, whose parts of {images} are {counts:?}"),
        }
    }

    /// Rows of this rank's `n` images, `[V n, ...]` view by view, together with those of all ranks: `[V N, ...]`, view by view,
    /// images in the order of ranks. All ranks get the same. No gradient flows through it.
    ///
    /// # Errors
    /// When the rows are not `views` of this rank's images, or a rank has ended.
    pub fn of_all_ranks(&self, own: &Tensor, views: usize) -> Result<Tensor> {
        if self.group.is_alone() {
            return Ok(own.clone());
        }
        let (rows, n) = (own.dim(0)?, own.dim(0)? / views);
        if n * views != rows {
            bail!("{rows} rows are no {views} views of images")
        }
        let counts = self.images(n)?;
        // By image, so that ranks of unequal parts follow one another; then by view again.
        let by_view = (0..views).map(|view| own.narrow(0, view * n, n)).collect::<Result<Vec<_>>>()?;
        let all = self.group.gather_rows(&Tensor::stack(&by_view, 1)?.contiguous()?, &counts)?;
        all.transpose(0, 1)?.contiguous()?.flatten(0, 1)
    }
}
