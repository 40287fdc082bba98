//! Labels that spread over a graph of nearest neighbours (Zhou et al. 2004, "Learning with Local and Global Consistency").

use crate::knn::Gallery;
use anyhow::{Result, ensure};
use rayon::prelude::*;

/// How labels spread.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    /// Nearest images that an image is joined with.
    pub neighbours: usize,
    /// Share of an image's scores that comes from its neighbours, in [0, 1); the rest is its own label.
    pub alpha: f64,
    /// The power of a similarity that weighs an edge (Iscen et al. 2019 have 3).
    pub power: i32,
    /// Rounds: after so many, `alpha` to that power is left of what is missing.
    pub rounds: usize,
}

/// Edges of the graph, row by row: (image, weight).
pub type Graph = Vec<Vec<(usize, f64)>>;

impl Spread {
    /// Scores `[N, classes]` of the images of a graph, where `known` is the class of those that have a label. Each class begins with
    /// the same mass, however many labels it has.
    ///
    /// # Errors
    /// When nothing is known.
    pub fn scores(&self, graph: &Graph, known: &[Option<u32>], classes: usize) -> Result<Vec<f64>> {
        let mut counts = vec![0usize; classes];
        known.iter().flatten().for_each(|class| counts[*class as usize] += 1);
        ensure!(counts.iter().any(|n| *n > 0), "no image has a label: there is nothing to spread");
        let mut own = vec![0.0; known.len() * classes];
        for (row, class) in known.iter().enumerate().filter_map(|(row, class)| Some((row, (*class)? as usize))) {
            own[row * classes + class] = 1.0 / counts[class] as f64;
        }
        let mut scores = own.clone();
        for _ in 0..self.rounds {
            let mut next = vec![0.0; scores.len()];
            next.par_chunks_mut(classes).enumerate().for_each(|(row, out)| {
                for (other, weight) in &graph[row] {
                    let from = &scores[other * classes..][..classes];
                    out.iter_mut().zip(from).for_each(|(sum, value)| *sum += weight * value);
                }
                let own = &own[row * classes..][..classes];
                out.iter_mut().zip(own).for_each(|(sum, own)| *sum = self.alpha * *sum + (1.0 - self.alpha) * own);
            });
            scores = next;
        }
        Ok(scores)
    }

    /// The graph of so many `images` whose `features` are `[N, D]`, with both directions of each edge, divided by the square roots of
    /// both images' sums.
    ///
    /// # Errors
    /// When numbers do not fit.
    pub fn graph(&self, features: &[f32], images: usize) -> Result<Graph> {
        let labels = vec![0u32; images];
        // The nearest is the image itself, or a copy of it.
        let near = Gallery::new(features, &labels)?.nearest(features, self.neighbours + 1)?;
        let mut graph: Graph = vec![Vec::new(); images];
        for (row, near) in near.into_iter().enumerate() {
            for (other, similarity) in near.into_iter().filter(|(other, _)| *other != row).take(self.neighbours) {
                let weight = f64::from(similarity).max(0.0).powi(self.power);
                graph[row].push((other, weight));
                graph[other].push((row, weight));
            }
        }
        let sums: Vec<f64> = graph.iter().map(|edges| edges.iter().map(|(_, weight)| weight).sum()).collect();
        // An image that is like no other keeps what it has.
        let scale = |row: usize| if sums[row] > 0.0 { 1.0 / sums[row].sqrt() } else { 0.0 };
        graph.par_iter_mut().enumerate().for_each(|(row, edges)| {
            // In one order, whatever order they came in.
            edges.sort_by_key(|(other, _)| *other);
            edges.iter_mut().for_each(|(other, weight)| *weight *= scale(row) * scale(*other));
        });
        Ok(graph)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const SPREAD: Spread = Spread { neighbours: 2, alpha: 0.9, power: 1, rounds: 200 };

    /// Two arcs of directions; a label at one end of each.
    fn arcs() -> (Vec<f32>, Vec<Option<u32>>) {
        let angles = (0..10).map(|i| 0.05 * i as f32).chain((0..10).map(|i| 1.5 + 0.05 * i as f32));
        let features = angles.flat_map(|angle| [libm::cosf(angle), libm::sinf(angle)]).collect();
        let mut known = vec![None; 20];
        (known[0], known[19]) = (Some(0), Some(1));
        (features, known)
    }

    #[test]
    fn a_label_reaches_the_far_end_of_its_arc() {
        let (features, known) = arcs();
        let scores = SPREAD.scores(&SPREAD.graph(&features, 20).unwrap(), &known, 2).unwrap();
        let class = |row: usize| usize::from(scores[2 * row + 1] > scores[2 * row]);
        assert_eq!((0..20).map(class).collect::<Vec<_>>(), [vec![0; 10], vec![1; 10]].concat());
    }

    #[test]
    fn the_scores_solve_the_equation() {
        let (features, known) = arcs();
        let graph = SPREAD.graph(&features, 20).unwrap();
        let scores = SPREAD.scores(&graph, &known, 2).unwrap();
        for (row, edges) in graph.iter().enumerate() {
            for class in 0..2 {
                let near: f64 = edges.iter().map(|(other, weight)| weight * scores[2 * other + class]).sum();
                let own = f64::from(u8::from(known[row] == Some(class as u32)));
                let expected = 0.9 * near + 0.1 * own;
                assert!((scores[2 * row + class] - expected).abs() < 1e-8, "{row}, {class}");
            }
            // Both directions of an edge weigh the same.
            for (other, weight) in edges {
                let back: f64 = graph[*other].iter().filter(|(to, _)| *to == row).map(|(_, w)| w).sum();
                let there: f64 = edges.iter().filter(|(to, _)| to == other).map(|(_, w)| w).sum();
                assert!((back - there).abs() < 1e-12 && *weight > 0.0);
            }
        }
    }

    #[test]
    fn without_a_label_nothing_spreads() {
        let (features, _) = arcs();
        let graph = SPREAD.graph(&features, 20).unwrap();
        assert!(SPREAD.scores(&graph, &[None; 20], 2).unwrap_err().to_string().contains("nothing to spread"));
    }
}
