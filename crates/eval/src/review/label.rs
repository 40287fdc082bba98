//! Which pictures to label next: such as stand for many others while labels are few, doubtful ones once there are more.
//!
//! With few labels a classifier's doubts mean little, and choosing by them does worse than chance; what helps is a
//! typical picture of each part of the data that has no label yet (TypiClust, Hacohen et al. 2022, on self-supervised
//! features). With more labels the doubtful ones teach more, and the best is to go from one to the other (TCM, Doucet et
//! al. 2024). Here the change is gradual: `trust`, how far the classifier's doubts count, grows with the labels a class.
//!
//! Features of labeled and unlabeled pictures fall into as many clusters as there will be labels. Clusters are served as
//! parliaments share out seats: by weight, the pictures in it or, as trust grows, their doubts, over the labels that it has,
//! to a power above one at first, so that few parts are served twice before others had their turn. Within a cluster the picture with the best mix of
//! typicality (near to its neighbours) and doubt is taken.

use super::clusters::{clusters, unit_rows};
use crate::knn::Gallery;
use anyhow::{Result, ensure};

/// Most clusters.
const MOST_CLUSTERS: usize = 500;
/// A smaller cluster is no part of the data that others would profit from; it comes last.
const LEAST: usize = 5;
/// Pictures of a cluster on average, at least.
const MEAN: usize = 10;
/// The power of the labels that a cluster has, while doubts do not count and once they do.
const POWER: (f64, f64) = (2.0, 0.25);
/// Neighbours that typicality is measured on.
const NEIGHBOURS: usize = 20;
/// Labels a class at which doubt and typicality count alike.
const EVEN: f64 = 10.0;

/// Pictures without a label, and what is known of them.
pub struct Pool<'a> {
    /// Features `[N, D]` of the pictures to choose from, row-major, of any length.
    pub features: &'a [f32],
    /// Their width D.
    pub dim: usize,
    /// How doubtful each of them is, in 0..=1 (see [`doubt`]).
    pub doubt: &'a [f32],
    /// Features `[M, D]` of the labeled pictures.
    pub labeled: &'a [f32],
    /// Classes of the classifier.
    pub classes: usize,
}

/// How doubtful a picture is: 0 where one class has all the probability, 1 where the first two have the same.
pub fn doubt(probabilities: &[f64]) -> f32 {
    let (mut first, mut second) = (0.0, 0.0);
    for p in probabilities {
        if *p > first {
            (first, second) = (*p, first);
        } else if *p > second {
            second = *p;
        }
    }
    (1.0 - (first - second)).clamp(0.0, 1.0) as f32
}

/// A part of the data.
#[derive(Default)]
struct Part {
    /// Its pictures to choose from, the best first.
    members: Vec<usize>,
    /// How many of them were taken.
    taken: usize,
    /// Labels in it, those to come included.
    labels: usize,
    weight: f64,
    small: bool,
}

impl Pool<'_> {
    /// Indices of the `count` pictures to label next, or of all where there are fewer, the most useful first; a pure
    /// function of the pool and the seed. Time grows with N (N / clusters) D, memory with N D.
    ///
    /// # Errors
    /// When lengths do not fit one another, or memory is short.
    pub fn next_to_label(&self, count: usize, seed: u64) -> Result<Vec<usize>> {
        let (n, dim) = (self.doubt.len(), self.dim);
        ensure!(dim > 0 && self.features.len() == n * dim, "a row of features for each picture");
        ensure!(self.labeled.len().is_multiple_of(dim), "features of labeled pictures of another width");
        let (count, labels) = (count.min(n), self.labeled.len() / dim);
        if count == 0 {
            return Ok(Vec::new());
        }
        let trust = labels as f64 / (labels as f64 + EVEN * self.classes.max(1) as f64);
        let of_one = |i: usize| 1.0 - trust + trust * f64::from(self.doubt[i]);
        let rows = unit_rows(&[self.features, self.labeled].concat(), dim);
        let number = (labels + count).min(MOST_CLUSTERS).min((n + labels).div_ceil(MEAN));
        let of = clusters(&rows, dim, number, seed)?;
        let mut parts: Vec<Part> = (0..number).map(|_| Part::default()).collect();
        let mut all: Vec<Vec<usize>> = vec![Vec::new(); number];
        for (i, cluster) in of.iter().enumerate() {
            all[*cluster].push(i);
            let part = &mut parts[*cluster];
            if i < n {
                part.members.push(i);
                part.weight += of_one(i);
            } else {
                part.labels += 1;
            }
        }
        for (part, all) in parts.iter_mut().zip(&all) {
            part.small = all.len() < LEAST;
            if !part.members.is_empty() {
                self.sort(part, all, &rows, trust)?;
            }
        }
        let power = POWER.0 + trust * (POWER.1 - POWER.0);
        let mut chosen = Vec::with_capacity(count);
        while chosen.len() < count {
            let open = parts.iter_mut().filter(|part| part.taken < part.members.len());
            let share = |part: &Part| part.weight / libm::pow((part.labels + 1) as f64, power);
            // Of equal ones the first: `max_by` would give the last.
            let next = open.reduce(|best, part| {
                let better = (!part.small, share(part)) > (!best.small, share(best));
                if better { part } else { best }
            });
            let Some(part) = next else { break };
            chosen.push(part.members[part.taken]);
            part.weight -= of_one(part.members[part.taken]);
            part.taken += 1;
            part.labels += 1;
        }
        Ok(chosen)
    }

    /// Sorts the members of a cluster by use; `all` are its pictures, the labeled ones included.
    fn sort(&self, part: &mut Part, all: &[usize], rows: &[f32], trust: f64) -> Result<()> {
        let dim = self.dim;
        let take =
            |of: &[usize]| -> Vec<f32> { of.iter().flat_map(|i| rows[i * dim..][..dim].iter().copied()).collect() };
        let unused = vec![0; all.len()];
        let gallery = Gallery::new(&take(all), &unused)?;
        let near = gallery.nearest(&take(&part.members), NEIGHBOURS + 1)?;
        let typical: Vec<f64> = near
            .iter()
            .zip(&part.members)
            .map(|(near, own)| {
                let others: Vec<f64> =
                    near.iter().filter(|(i, _)| all[*i] != *own).take(NEIGHBOURS).map(|(_, s)| f64::from(*s)).collect();
                others.iter().sum::<f64>() / others.len().max(1) as f64
            })
            .collect();
        let doubts: Vec<f64> = part.members.iter().map(|i| f64::from(self.doubt[*i])).collect();
        let (typical, doubts) = (ranks(&typical), ranks(&doubts));
        let use_of: Vec<f64> = typical.iter().zip(&doubts).map(|(t, d)| (1.0 - trust) * t + trust * d).collect();
        let mut order: Vec<usize> = (0..use_of.len()).collect();
        order.sort_by(|a, b| use_of[*b].total_cmp(&use_of[*a]));
        part.members = order.into_iter().map(|i| part.members[i]).collect();
        Ok(())
    }
}

/// The place of each value among all, 0 for the least and 1 for the largest; equal ones share the first's.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let most = (values.len().max(2) - 1) as f64;
    values.iter().map(|v| sorted.partition_point(|other| other < v) as f64 / most).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use simclr_core::rng::{Purpose, Rng};

    const DIM: usize = 8;

    /// Pictures of blob `axis`, spread widely about it.
    fn blob(axis: usize, count: usize, rng: &mut Rng) -> Vec<f32> {
        let mut rows = Vec::new();
        for _ in 0..count {
            let mut row = [0.0f32; DIM];
            row.iter_mut().for_each(|v| *v = 0.1 * rng.normal());
            row[axis] += 1.0;
            rows.extend(row);
        }
        rows
    }

    #[test]
    fn parts_without_a_label_come_first() {
        let mut rng = Rng::stream(5, Purpose::Test, &[]);
        let sizes = [400, 60, 40, 30];
        let features: Vec<f32> = (0..4).flat_map(|axis| blob(axis, sizes[axis], &mut rng)).collect();
        let place = |i: usize| (0..4).find(|a| i < sizes[..=*a].iter().sum()).unwrap();
        let doubt = vec![0.5; 530];
        let labeled = blob(0, 3, &mut rng);
        let pool = Pool { features: &features, dim: DIM, doubt: &doubt, labeled: &labeled, classes: 4 };
        let chosen = pool.next_to_label(12, 3).unwrap();
        let places: std::collections::BTreeSet<usize> = chosen.iter().map(|i| place(*i)).collect();
        assert_eq!(places.len(), 4, "every part is reached by twelve: {chosen:?}");
        assert_eq!(chosen, pool.next_to_label(12, 3).unwrap());
        let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        assert_eq!(chosen, one.install(|| pool.next_to_label(12, 3)).unwrap(), "on any number of threads");
        let mut all = pool.next_to_label(1000, 3).unwrap();
        all.sort_unstable();
        assert_eq!(all, (0..530).collect::<Vec<_>>(), "each once");
        assert!(pool.next_to_label(0, 3).unwrap().is_empty());
    }

    #[test]
    fn doubt_decides_where_labels_are_many() {
        let mut rng = Rng::stream(6, Purpose::Test, &[]);
        let features: Vec<f32> = (0..2).flat_map(|axis| blob(axis, 100, &mut rng)).collect();
        let doubt: Vec<f32> = (0..200).map(|i| if i % 10 == 3 { 0.9 } else { 0.1 }).collect();
        let labeled: Vec<f32> = (0..2).flat_map(|axis| blob(axis, 400, &mut rng)).collect();
        let doubtful = |labeled: &[f32]| {
            let pool = Pool { features: &features, dim: DIM, doubt: &doubt, labeled, classes: 2 };
            pool.next_to_label(10, 0).unwrap().iter().filter(|i| **i % 10 == 3).count()
        };
        let (many, none) = (doubtful(&labeled), doubtful(&[]));
        assert!(many >= 7 && none <= 4, "{many} with many labels, {none} with none");
    }

    #[test]
    fn the_typical_one_of_a_part_comes_first() {
        // Nine alike and one aside.
        let features: Vec<f32> = (0..10).flat_map(|i| [1.0, if i == 4 { 0.5 } else { 0.001 * i as f32 }]).collect();
        let pool = Pool { features: &features, dim: 2, doubt: &[0.5; 10], labeled: &[], classes: 1 };
        let chosen = pool.next_to_label(1, 0).unwrap();
        assert!(chosen[0] != 4, "{chosen:?}");
        let wrong = Pool { features: &features[..19], ..pool };
        assert!(wrong.next_to_label(1, 0).is_err());
    }

    #[test]
    fn doubts_are_margins() {
        assert_eq!((doubt(&[0.5, 0.5, 0.0]), doubt(&[1.0, 0.0])), (1.0, 0.0));
        assert!((doubt(&[0.1, 0.6, 0.3]) - 0.7).abs() < 1e-6);
        assert_eq!(doubt(&[1.0]), 0.0);
        assert_eq!(ranks(&[2.0, 1.0, 2.0]), [0.5, 0.0, 0.5]);
    }
}
