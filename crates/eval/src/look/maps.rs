//! Features in the plane: principal components, and t-SNE, which begins from them.

use anyhow::{Context, Result, ensure};
use bhtsne::tSNE;
use nalgebra::{DMatrix, SymmetricEigen};
use rayon::ThreadPoolBuilder;
use simclr_report::look::Map;

/// Images that t-SNE counts as neighbours of one, about.
const PERPLEXITY: usize = 30;
/// Its steps.
const STEPS: usize = 1000;
/// Fewer images have no map.
const FEWEST: usize = 8;
/// Spread of the places that t-SNE begins with: small beside what comes out, so that they are a hint.
const HINT: f64 = 1e-4;

/// The maps of features `[N, D]`, rows of unit length. Nothing is random, and no number of threads changes a bit.
///
/// # Errors
/// When a feature is no finite number.
pub fn maps(features: &[f32], dim: usize) -> Result<Vec<Map>> {
    ensure!(features.iter().all(|v| v.is_finite()), "the network gives features that are no finite numbers");
    let rows: Vec<&[f32]> = features.chunks_exact(dim.max(1)).collect();
    if rows.len() < FEWEST {
        return Ok(Vec::new());
    }
    let (plane, share) = components(&rows);
    let perplexity = PERPLEXITY.min((rows.len() - 1) / 3);
    let near = neighbours(&rows, &plane, perplexity)?;
    let single = |points: Vec<[f64; 2]>| points.into_iter().map(|p| p.map(|v| v as f32)).collect();
    Ok(vec![
        Map {
            title: format!("Two principal components, {:.0} % of the variance", 100.0 * share),
            points: single(plane),
        },
        Map { title: format!("t-SNE, perplexity {perplexity}"), points: near },
    ])
}

/// The two principal components of each row, and their share of the variance.
fn components(rows: &[&[f32]]) -> (Vec<[f64; 2]>, f64) {
    let (n, dim) = (rows.len(), rows[0].len());
    let mean = |j: usize| rows.iter().map(|row| f64::from(row[j])).sum::<f64>() / n as f64;
    let means: Vec<f64> = (0..dim).map(mean).collect();
    let centred = DMatrix::from_fn(n, dim, |i, j| f64::from(rows[i][j]) - means[j]);
    // Both products have the same eigenvalues; of the smaller one they are found sooner.
    let by_rows = n < dim;
    let product = if by_rows { &centred * centred.transpose() } else { centred.tr_mul(&centred) };
    let found = SymmetricEigen::new(product);
    let mut order: Vec<usize> = (0..found.eigenvalues.len()).collect();
    order.sort_by(|a, b| found.eigenvalues[*b].total_cmp(&found.eigenvalues[*a]));
    let axis = |which: usize| -> Vec<f64> {
        let Some(&at) = order.get(which) else { return vec![0.0; n] };
        let vector = found.eigenvectors.column(at);
        let mut places: Vec<f64> = match by_rows {
            true => vector.iter().map(|v| v * found.eigenvalues[at].max(0.0).sqrt()).collect(),
            false => (&centred * vector).iter().copied().collect(),
        };
        // Which way round is arbitrary: the farthest place lies on the positive side.
        let farthest = places.iter().copied().fold(0.0, |far: f64, v| if v.abs() > far.abs() { v } else { far });
        if farthest < 0.0 {
            places.iter_mut().for_each(|v| *v = -*v);
        }
        places
    };
    let (x, y) = (axis(0), axis(1));
    let all: f64 = found.eigenvalues.iter().map(|v| v.max(0.0)).sum();
    let two: f64 = order.iter().take(2).map(|i| found.eigenvalues[*i].max(0.0)).sum();
    (x.into_iter().zip(y).map(|(x, y)| [x, y]).collect(), if all > 0.0 { two / all } else { 0.0 })
}

/// t-SNE of the rows, from the places of `plane`.
fn neighbours(rows: &[&[f32]], plane: &[[f64; 2]], perplexity: usize) -> Result<Vec<[f32; 2]>> {
    let spread = (plane.iter().map(|p| p[0] * p[0]).sum::<f64>() / plane.len() as f64).sqrt().max(1e-12);
    let hint: Vec<f32> = plane.iter().flatten().map(|v| (v / spread * HINT) as f32).collect();
    let distance = |a: &&[f32], b: &&[f32]| a.iter().zip(*b).map(|(a, b)| (a - b) * (a - b)).sum::<f32>();
    // Its sums depend on the number of threads: it gets one.
    let pool = ThreadPoolBuilder::new().num_threads(1).build().context("starting a thread")?;
    let places = pool.install(|| {
        let mut tsne: tSNE<'_, f32, &[f32]> = tSNE::new(rows);
        tsne.perplexity(perplexity as f32).epochs(STEPS).initial_embedding(hint).exact(distance);
        tsne.embedding()
    });
    Ok(places.chunks_exact(2).map(|p| [p[0], p[1]]).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use simclr_core::rng::{Purpose, Rng};

    /// Three heaps of 20 points in 12 dimensions.
    fn heaps() -> Vec<f32> {
        let mut rng = Rng::stream(3, Purpose::Test, &[]);
        (0..60)
            .flat_map(|i| (0..12).map(|j| if j == i % 3 { 1.0 } else { 0.0 } + 0.1 * rng.normal()).collect::<Vec<_>>())
            .collect()
    }

    #[test]
    fn heaps_stay_together_on_every_number_of_threads() {
        let features = heaps();
        let on = |threads| {
            ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| maps(&features, 12).unwrap())
        };
        let found = on(1);
        assert_eq!(found, on(3));
        assert_eq!(found[1].title, "t-SNE, perplexity 19");
        for map in &found {
            for (i, point) in map.points.iter().enumerate() {
                let far = |other: &[f32; 2]| (other[0] - point[0]).powi(2) + (other[1] - point[1]).powi(2);
                let others = (0..60).filter(|j| *j != i);
                let nearest = others.min_by(|a, b| far(&map.points[*a]).total_cmp(&far(&map.points[*b])));
                assert_eq!(nearest.unwrap() % 3, i % 3, "{}: {i}", map.title);
            }
        }
    }

    #[test]
    fn components_are_those_of_the_largest_variance() {
        // 3 along one direction, 1 along another, nothing else; more rows than columns, and fewer.
        let of = |dim: usize| -> Vec<Vec<f32>> {
            let steps = (0..9).map(|i| [(i % 3) as f32 - 1.0, (i / 3) as f32 - 1.0]);
            steps
                .map(|[a, b]| {
                    let mut row = vec![7.0; dim];
                    row[1] += 3.0 * a;
                    row[2] += b;
                    row
                })
                .collect()
        };
        for dim in [4, 40] {
            let made = of(dim);
            let rows: Vec<&[f32]> = made.iter().map(Vec::as_slice).collect();
            let (plane, share) = components(&rows);
            assert!((share - 1.0).abs() < 1e-9);
            let sizes = [0, 1].map(|axis| plane.iter().map(|p| p[axis] * p[axis]).sum::<f64>());
            assert!((sizes[0] - 54.0).abs() < 1e-6 && (sizes[1] - 6.0).abs() < 1e-6, "{dim}: {sizes:?}");
        }
    }

    #[test]
    fn images_without_any_difference_and_very_few_are_no_mistake() {
        assert!(maps(&[1.0; 40], 4).unwrap().iter().all(|map| map.points.iter().flatten().all(|v| v.is_finite())));
        assert_eq!(maps(&[1.0; 8], 4).unwrap(), []);
        assert!(maps(&[f32::NAN; 40], 4).is_err());
    }
}
