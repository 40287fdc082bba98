//! `data.limit`: which of many samples are used, as many of each class as of any other.

use super::chosen::lots_by_class;
use crate::access::Source;

/// What lots are drawn for.
const PURPOSE: &str = "data.limit";

/// `limit` samples, ascending: those without a label in proportion, and of those with one as many of each class as of any
/// other, as far as it has them. A smaller limit takes some of what a larger one takes; with the samples stays the choice.
pub(crate) fn limited(source: &dyn Source, classes: usize, limit: usize) -> Vec<u32> {
    if limit >= source.len() {
        return (0..source.len() as u32).collect();
    }
    let mut of = lots_by_class(source, classes, PURPOSE);
    let bare = of.pop().unwrap_or_default();
    let unlabeled = (limit as f64 * bare.len() as f64 / source.len() as f64).round() as usize;
    let sizes: Vec<usize> = of.iter().map(Vec::len).collect();
    let shares = shares(&sizes, limit - unlabeled);
    let labeled = of.iter().zip(shares).flat_map(|(members, share)| &members[..share]);
    let mut samples: Vec<u32> = labeled.chain(&bare[..unlabeled]).map(|(_, sample)| *sample).collect();
    samples.sort_unstable();
    samples
}

/// How many of each class make `count`, at most its size: all the same, and what is over for the first ones.
fn shares(sizes: &[usize], count: usize) -> Vec<usize> {
    // The most that every class gives, where it has as many.
    let given = |level: usize| sizes.iter().map(|size| (*size).min(level)).sum::<usize>();
    let most = sizes.iter().copied().max().unwrap_or(0);
    let (mut level, mut above) = (0, most + 1);
    while above - level > 1 {
        let middle = level.midpoint(above);
        *(if given(middle) <= count { &mut level } else { &mut above }) = middle;
    }
    let mut left = count - given(level);
    let share = |size: &usize| {
        let more = usize::from(*size > level && left > 0);
        left -= more;
        (*size).min(level) + more
    };
    sizes.iter().map(share).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Stored;
    use anyhow::Result;

    /// Sorted by class; the last ones have no label.
    struct Sorted(Vec<usize>, Vec<String>);
    impl Source for Sorted {
        fn len(&self) -> usize {
            self.0.iter().sum()
        }
        fn label(&self, index: usize) -> Option<u32> {
            let mut end = 0;
            let class = self.0.iter().position(|size| {
                end += size;
                index < end
            })?;
            (class + 1 < self.0.len()).then_some(class as u32)
        }
        fn name(&self, index: usize) -> Option<&str> {
            Some(&self.1[index])
        }
        fn read(&self, _: usize) -> Result<Stored<'_>> {
            Ok(Stored::File(Vec::new()))
        }
    }

    fn sorted(sizes: &[usize]) -> Sorted {
        Sorted(sizes.to_vec(), (0..sizes.iter().sum()).map(|i| format!("picture {i}")).collect())
    }

    fn counts(source: &Sorted, limit: usize) -> Vec<usize> {
        let (classes, mut counts) = (source.0.len() - 1, vec![0; source.0.len()]);
        let samples = limited(source, classes, limit);
        samples.iter().for_each(|s| counts[source.label(*s as usize).map_or(classes, |l| l as usize)] += 1);
        assert!(samples.is_sorted_by(|a, b| a < b));
        counts
    }

    #[test]
    fn each_class_has_its_share() {
        assert_eq!(counts(&sorted(&[50, 50, 50, 0]), 50), [17, 17, 16, 0]);
        assert_eq!(counts(&sorted(&[50, 50, 50, 150]), 60), [10, 10, 10, 30]);
        assert_eq!(counts(&sorted(&[100, 3, 40, 0]), 63), [30, 3, 30, 0], "a small class gives what it has");
        assert_eq!(counts(&sorted(&[2, 2, 0]), 9), [2, 2, 0]);
        assert_eq!(counts(&sorted(&[5, 5, 5, 0]), 2), [1, 1, 0, 0]);
        assert_eq!(counts(&sorted(&[100]), 7), [7], "without labels, any");
    }

    #[test]
    fn smaller_limits_lie_within_larger_ones_and_are_no_first_ones() {
        let source = sorted(&[40, 25, 60, 80]);
        let mut last: Vec<u32> = Vec::new();
        for limit in 1..=205 {
            let samples = limited(&source, 3, limit);
            assert_eq!(samples.len(), limit);
            assert!(last.iter().all(|sample| samples.contains(sample)), "{limit}");
            last = samples;
        }
        let first = limited(&source, 3, 4);
        assert_ne!(first, [0, 40, 65, 125], "random, and not the first of each");
    }
}
