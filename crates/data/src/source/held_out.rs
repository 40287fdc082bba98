//! Which labeled pictures are held out to measure on, where there are no test pictures.
//!
//! A picture's place in the range of hashes follows from its own path (`set::chosen::lot`). By `data.held_out` it is held out where
//! that lies below the share, so that pictures that are added later move none. Only where a class would have none held out, or
//! none left, does it depend on the others of the class: then the one with the least hash is held out, or the one with the
//! largest left. By `data.fold` the pictures of a class are dealt to the parts in the order of their hashes, and the next class
//! goes on where one ended, so that parts differ by one picture at most in each class and in all.

use super::found::HeldOut;
use crate::access::Source;
use crate::set::lots_by_class;
use simclr_core::config::DataConfig;

/// What lots are drawn for.
const SHARE: &str = "data.held_out";
const FOLD: &str = "data.fold";

/// Samples that stay in training and samples that are held out, both ascending.
pub(crate) struct Parted {
    pub train: Vec<u32>,
    pub held_out: Vec<u32>,
}

/// Parts the samples of `source` as the configuration says, and what is to be told of that. Nothing where nothing is to be held
/// out, or no class has two labeled samples.
pub(crate) fn part(source: &dyn Source, classes: &[String], config: &DataConfig) -> Option<(Parted, HeldOut)> {
    let by = match config.fold {
        Some([part, parts]) => format!("data.fold = [{part}, {parts}]"),
        None => format!("data.held_out = {}", config.held_out),
    };
    if config.fold.is_none() && config.held_out <= 0.0 {
        return None;
    }
    let mut of = lots_by_class(source, classes.len(), if config.fold.is_some() { FOLD } else { SHARE });
    of.pop();
    let (mut held, mut about, mut dealt) = (vec![false; source.len()], HeldOut { by, ..HeldOut::default() }, 0);
    let mut per_class = Vec::new();
    for (class, members) in of.iter().enumerate().filter(|(_, members)| !members.is_empty()) {
        about.labeled += members.len();
        if members.len() == 1 {
            about.single.push(classes[class].clone());
            continue;
        }
        let chosen: Vec<u32> = match config.fold {
            Some([part, parts]) => {
                let own = members.iter().enumerate().filter(|(i, _)| (dealt + i) % parts == part);
                own.map(|(_, (_, sample))| *sample).collect()
            }
            None => {
                let below = members.partition_point(|(lot, _)| (*lot as f64) < config.held_out * u64::MAX as f64);
                members[..below.clamp(1, members.len() - 1)].iter().map(|(_, sample)| *sample).collect()
            }
        };
        dealt += members.len();
        per_class.push(chosen.len());
        chosen.into_iter().for_each(|sample| held[sample as usize] = true);
    }
    about.per_class = [per_class.iter().min(), per_class.iter().max()].map(|count| count.copied().unwrap_or(0));
    let (held_out, train): (Vec<u32>, Vec<u32>) = (0..source.len() as u32).partition(|i| held[*i as usize]);
    let name = |i: &u32| {
        let index = *i as usize;
        source.path(index).or(source.name(index)).map_or_else(|| source.place(index), String::from)
    };
    about.pictures = held_out.iter().map(name).collect();
    about.pictures.sort_unstable();
    (!held_out.is_empty()).then_some((Parted { train, held_out }, about))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::access::Stored;
    use anyhow::Result;
    use std::collections::BTreeSet;

    struct Named(Vec<(String, Option<u32>)>);
    impl Source for Named {
        fn len(&self) -> usize {
            self.0.len()
        }
        fn label(&self, index: usize) -> Option<u32> {
            self.0[index].1
        }
        fn path(&self, index: usize) -> Option<&str> {
            Some(&self.0[index].0)
        }
        fn read(&self, _: usize) -> Result<Stored<'_>> {
            Ok(Stored::File(Vec::new()))
        }
    }

    /// So many pictures of each class, and some without a label.
    fn named(sizes: &[usize], unlabeled: usize) -> Named {
        let of = |(class, size): (usize, &usize)| -> Vec<_> {
            (0..*size).map(|i| (format!("{class}/{i}.png"), Some(class as u32))).collect()
        };
        let bare = (0..unlabeled).map(|i| (format!("u/{i}.png"), None));
        Named(sizes.iter().enumerate().flat_map(of).chain(bare).collect())
    }

    fn config(held_out: f64, fold: Option<[usize; 2]>) -> DataConfig {
        DataConfig { held_out, fold, ..DataConfig::new("folder", 8) }
    }

    fn classes(count: usize) -> Vec<String> {
        (0..count).map(|class| class.to_string()).collect()
    }

    fn held(source: &Named, count: usize, config: &DataConfig) -> (BTreeSet<String>, HeldOut) {
        let (parted, about) = part(source, &classes(count), config).unwrap();
        assert_eq!(parted.train.len() + parted.held_out.len(), source.len());
        assert!(parted.held_out.iter().all(|i| source.label(*i as usize).is_some()), "labeled ones");
        assert!(parted.train.is_sorted() && !parted.train.iter().any(|i| parted.held_out.contains(i)));
        (about.pictures.iter().cloned().collect(), about)
    }

    #[test]
    fn a_share_of_each_class_and_never_all_of_it() {
        let source = named(&[1000, 200, 2, 1, 5, 0], 50);
        let (pictures, about) = held(&source, 6, &config(0.2, None));
        let of = |class: usize| pictures.iter().filter(|path| path.starts_with(&format!("{class}/"))).count();
        assert!((160..240).contains(&of(0)) && (20..60).contains(&of(1)), "{} and {}", of(0), of(1));
        assert_eq!((of(2), of(3)), (1, 0), "one of two, none of one");
        assert!((1..5).contains(&of(4)));
        assert_eq!((about.labeled, about.single, about.by), (1208, vec!["3".into()], "data.held_out = 0.2".into()));
        assert!(part(&source, &classes(6), &config(0.0, None)).is_none());
        assert!(part(&named(&[1, 1], 0), &classes(2), &config(0.5, None)).is_none(), "nothing can be spared");
        let (most, _) = held(&named(&[30], 0), 1, &config(0.999999, None));
        assert_eq!(most.len(), 29);
    }

    #[test]
    fn pictures_that_are_added_move_none() {
        let (few, _) = held(&named(&[40, 60], 0), 2, &config(0.2, None));
        let (many, _) = held(&named(&[400, 90, 30], 500), 3, &config(0.2, None));
        let old = |path: &&String| {
            let (class, file) = path.split_once('/').unwrap();
            let number: usize = file.trim_end_matches(".png").parse().unwrap();
            class != "2" && number < [40, 60][class.parse::<usize>().unwrap()]
        };
        assert_eq!(many.iter().filter(old).cloned().collect::<BTreeSet<_>>(), few);
        let (larger, _) = held(&named(&[40, 60], 0), 2, &config(0.4, None));
        assert!(few.is_subset(&larger), "a larger share holds out more");
        let mut moved = named(&[40, 60], 0);
        moved.0.reverse();
        moved.0.iter_mut().for_each(|(path, _)| *path = path.replace(".png", ".jpeg"));
        let (reversed, _) = held(&moved, 2, &config(0.2, None));
        assert_eq!(reversed.iter().map(|path| path.replace(".jpeg", ".png")).collect::<BTreeSet<_>>(), few);
    }

    #[test]
    fn folds_are_equal_disjoint_and_together_all() {
        let source = named(&[23, 11, 4, 1], 9);
        let parts: Vec<BTreeSet<String>> =
            (0..5).map(|part| held(&source, 4, &config(0.2, Some([part, 5]))).0).collect();
        assert_eq!(parts.iter().map(BTreeSet::len).sum::<usize>(), 38);
        assert_eq!(parts.iter().flatten().collect::<BTreeSet<_>>().len(), 38, "disjoint, and all but the single one");
        assert!(parts.iter().all(|part| [7, 8].contains(&part.len())), "equal");
        for class in 0..3 {
            let of = |part: &BTreeSet<String>| part.iter().filter(|p| p.starts_with(&format!("{class}/"))).count();
            let counts: Vec<usize> = parts.iter().map(of).collect();
            assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{counts:?}");
        }
        assert_eq!(parts[0].iter().filter(|p| p.starts_with("3/")).count(), 0, "a single picture is learned from");
    }
}
