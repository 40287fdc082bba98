//! Figures of merit.

/// How many rows of `logits` `[N, classes]` have their label among the `k` largest values. Of equal values the one
/// that stands first wins, and a row with a value that is not a number counts as wrong.
pub fn top_k(logits: &[f32], classes: usize, labels: &[u32], k: usize) -> usize {
    let hit = |(row, &label): (&[f32], &u32)| {
        let label = label as usize;
        let own = row[label];
        let before =
            row.iter().enumerate().filter(|&(j, v)| *v > own || (*v == own && j < label) || v.is_nan()).count();
        !own.is_nan() && before < k
    };
    logits.chunks_exact(classes).zip(labels).filter(|pair| hit(*pair)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_and_nan() {
        let logits = [0.1, 0.9, 0.5, 1.0, 1.0, 0.0, f32::NAN, 0.0, 0.0];
        assert_eq!(top_k(&logits, 3, &[1, 0, 0], 1), 2);
        assert_eq!(top_k(&logits, 3, &[2, 1, 1], 1), 0);
        assert_eq!(top_k(&logits, 3, &[2, 1, 0], 2), 2);
    }
}
