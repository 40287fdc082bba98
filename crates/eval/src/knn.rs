//! Weighted k-nearest-neighbour classification on features (Wu et al. 2018).

use anyhow::{Result, ensure};
use candle_core::{Device, Tensor};
use rayon::prelude::*;
use serde::Serialize;
use simclr_model::{Accuracy, Hits};
use simclr_ops::{Group, Tape, Value, linear};

/// Queries of one matrix product.
const QUERIES: usize = 256;

/// Features of labeled images: rows of unit length.
pub struct Gallery<'a> {
    rows: Value,
    labels: &'a [u32],
    dim: usize,
}

/// The most similar gallery images of one query.
#[derive(Clone, Debug, Serialize)]
pub struct Neighbours {
    /// Index of the query image.
    pub query: usize,
    /// Its class.
    pub label: u32,
    /// (gallery index, class, cosine similarity), most similar first.
    pub neighbours: Vec<(usize, u32, f32)>,
}

/// Rows `[N, D]` scaled to unit length.
fn unit(features: &[f32], dim: usize) -> Result<Tensor> {
    let mut rows = features.to_vec();
    rows.par_chunks_mut(dim).for_each(|row| {
        let norm = row.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt().max(1e-12) as f32;
        row.iter_mut().for_each(|v| *v /= norm);
    });
    Ok(Tensor::from_vec(rows, (features.len() / dim, dim), &Device::Cpu)?)
}

impl<'a> Gallery<'a> {
    /// Takes features `[N, D]` and a label each.
    ///
    /// # Errors
    /// When their numbers differ or there are none.
    pub fn new(features: &[f32], labels: &'a [u32]) -> Result<Self> {
        ensure!(
            !labels.is_empty() && features.len().is_multiple_of(labels.len()),
            "features and labels differ in number"
        );
        let dim = features.len() / labels.len();
        Ok(Self { rows: Value::constant(unit(features, dim)?), labels, dim })
    }

    /// For each query the `k` most similar gallery rows as (index, similarity), most similar first.
    ///
    /// # Errors
    /// When the queries' width differs from the gallery's.
    pub fn nearest(&self, queries: &[f32], k: usize) -> Result<Vec<Vec<(usize, f32)>>> {
        let k = k.min(self.labels.len());
        let mut all = Vec::new();
        for chunk in queries.chunks(QUERIES * self.dim) {
            // Not candle's product, whose sums depend on the processor. The second factor is copied: the smaller one.
            let queries = Value::constant(unit(chunk, self.dim)?);
            let similar = linear(&Tape::inference(), &self.rows, &queries, None)?;
            let similar = similar.tensor().t()?.flatten_all()?.to_vec1::<f32>()?;
            all.par_extend(similar.par_chunks(self.labels.len()).map(|row| {
                let mut order: Vec<usize> = (0..row.len()).collect();
                // Ties go to the smaller index, so that the result does not depend on the selection's inner order.
                let by = |a: &usize, b: &usize| row[*b].total_cmp(&row[*a]).then(a.cmp(b));
                if k < order.len() {
                    order.select_nth_unstable_by(k, by);
                    order.truncate(k);
                }
                order.sort_unstable_by(by);
                order.into_iter().map(|i| (i, row[i])).collect::<Vec<_>>()
            }));
        }
        Ok(all)
    }

    /// Accuracy of a vote among the `k` nearest, each weighing exp(similarity / temperature). Each rank of `group` looks for the
    /// neighbours of its part of the queries; the accuracy is that of all.
    ///
    /// # Errors
    /// When the queries' width differs from the gallery's, or a rank has ended.
    pub fn accuracy(
        &self,
        (queries, labels): (&[f32], &[u32]),
        classes: usize,
        (k, temperature): (usize, f64),
        group: &Group,
    ) -> Result<Accuracy> {
        let own = group.part(labels.len());
        let (queries, labels) = (&queries[own.start * self.dim..own.end * self.dim], &labels[own]);
        let votes = self.votes(queries, classes, (k, temperature))?;
        Ok(Hits::of(&votes, classes, labels).of_all_ranks(group)?.accuracy())
    }

    /// The votes `[N, classes]` of the `k` nearest of each query.
    ///
    /// # Errors
    /// When the queries' width differs from the gallery's.
    pub fn votes(&self, queries: &[f32], classes: usize, (k, temperature): (usize, f64)) -> Result<Vec<f32>> {
        let near = self.nearest(queries, k)?;
        let votes = near.into_iter().flat_map(|near| {
            let mut votes = vec![0.0f32; classes];
            for (i, similarity) in near {
                // Relative to 1, the largest similarity there is: no overflow at low temperatures.
                votes[self.labels[i] as usize] += libm::exp((f64::from(similarity) - 1.0) / temperature) as f32;
            }
            votes
        });
        Ok(votes.collect())
    }

    /// The `k` nearest of some queries, by the row that they have among features.
    ///
    /// # Errors
    /// As [`Gallery::accuracy`].
    pub fn show(&self, queries: &[f32], labels: &[u32], chosen: &[usize], k: usize) -> Result<Vec<Neighbours>> {
        let rows: Vec<f32> =
            chosen.iter().flat_map(|i| queries[i * self.dim..(i + 1) * self.dim].iter().copied()).collect();
        let near = self.nearest(&rows, k)?;
        let named = |near: Vec<(usize, f32)>| near.into_iter().map(|(i, s)| (i, self.labels[i], s)).collect();
        Ok(chosen
            .iter()
            .zip(near)
            .map(|(&query, near)| Neighbours { query, label: labels[query], neighbours: named(near) })
            .collect())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn votes_are_weighted_by_similarity() {
        // One near neighbour of class 1 against two far ones of class 0.
        let gallery = [1.0, 0.0, 0.0, 1.0, 0.0, 2.0];
        let g = Gallery::new(&gallery, &[1, 0, 0]).unwrap();
        let query = [5.0, 1.0];
        let top1 = |temperature| g.accuracy((&query, &[1]), 2, (3, temperature), &Group::default()).unwrap().top1;
        assert_eq!(top1(0.1), 1.0);
        assert_eq!(top1(100.0), 0.0, "near equal weights: the majority wins");
        let shown = g.show(&query, &[1], &[0], 2).unwrap();
        assert_eq!(shown[0].neighbours[0].0, 0);
        assert_eq!(shown[0].neighbours[1].0, 1, "ties go to the smaller index");
    }
}
