//! Which sample a name in a list or a table means: by its path first, then by its file's name, then by its stem.

use crate::access::Source;
use crate::name::stable_name;
use std::collections::{HashMap, HashSet};
use std::ops::Range;

/// Samples that names may mean.
pub(crate) struct Place<'a> {
    pub source: &'a dyn Source,
    /// The folder that paths start in, below the dataset's: `train`.
    pub base: &'a str,
    /// Which samples of the source.
    pub range: Range<usize>,
}

/// A sample: which place, and its number there.
pub(crate) type At = (usize, usize);

/// What a name means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Meant {
    One(At),
    Nothing,
    /// Any of these.
    Several(Vec<At>),
}

/// A name as people write it: `\` for `/`, blanks around it.
pub(crate) fn tidied(name: &str) -> String {
    name.trim().replace('\\', "/")
}

/// Finds what names mean.
pub(crate) struct Matcher<'a> {
    places: &'a [Place<'a>],
    /// The samples of each stem that a name may have.
    of_stem: HashMap<&'a str, Vec<At>>,
    /// Folders that hold samples.
    folders: HashSet<&'a str>,
}

impl<'a> Matcher<'a> {
    /// For `names`, which are tidied, among the samples of `places`; of equals the first place has the sample.
    pub(crate) fn new(places: &'a [Place<'a>], names: impl Iterator<Item = &'a str>) -> Self {
        let stems = names.flat_map(|name| [file(name), stable_name(name)]);
        let mut of_stem: HashMap<&str, Vec<At>> = stems.map(|stem| (stem, Vec::new())).collect();
        let mut folders = HashSet::new();
        for (number, place) in places.iter().enumerate() {
            folders.extend(place.base.rsplit('/').next());
            for index in place.range.clone() {
                let path = place.source.path(index);
                folders.extend(path.and_then(|path| parents(path).next_back()));
                let Some(stem) = place.source.name(index).or(path.map(stable_name)) else { continue };
                if let Some(samples) = of_stem.get_mut(stem) {
                    samples.push((number, index));
                }
            }
        }
        Self { places, of_stem, folders }
    }

    /// What a tidied name means, which must be one of those that this is for.
    pub(crate) fn find(&self, name: &str) -> Meant {
        let same = |stem: &str| self.of_stem.get(stem).map(Vec::as_slice).unwrap_or_default();
        let (whole, stem) = (file(name), stable_name(name));
        let mut found: Vec<At> = same(whole).to_vec();
        // `v1.5` has no ending that could be left out.
        if whole != stem && has_ending(whole) {
            found.extend(same(stem));
        }
        let folders: Vec<&str> = parents(name).collect();
        if let Some(last) = folders.last() {
            let agreeing: Vec<(usize, At)> =
                found.iter().filter_map(|at| Some((self.agree(&folders, *at)?, *at))).collect();
            let most = agreeing.iter().map(|(common, _)| *common).max();
            // A path of another machine says nothing but the file's name; one whose folder is here says that it is not there.
            if most.is_some() || self.folders.contains(last) {
                found = agreeing.into_iter().filter(|(common, _)| Some(*common) == most).map(|(_, at)| at).collect();
            }
        }
        let level = |(place, index): At| {
            let source = self.places[place].source;
            let own = source.path(index).map(file);
            // The file's own name, or its stem, or its stem with another ending.
            if own == Some(whole) {
                0
            } else {
                1 + usize::from(source.name(index).or(own.map(stable_name)) != Some(whole))
            }
        };
        // Of equal names the one in the first place.
        let rank = |at: &At| (level(*at), at.0);
        let best = found.iter().map(rank).min();
        found.retain(|at| Some(rank(at)) == best);
        match found.as_slice() {
            [] => Meant::Nothing,
            [one] => Meant::One(*one),
            _ => Meant::Several(found),
        }
    }

    /// How many folders a name and a sample have in common, from the last one on; `None` where they differ.
    fn agree(&self, folders: &[&str], (place, index): At) -> Option<usize> {
        let Place { source, base, .. } = &self.places[place];
        let below: Vec<&str> = parents(source.path(index)?).collect();
        let own: Vec<&str> = parts(base).chain(below.iter().copied()).collect();
        let common = own.iter().rev().zip(folders.iter().rev()).take_while(|(a, b)| a == b).count();
        if common == folders.len() {
            return Some(common);
        }
        // All folders below the split agree; what stands before may be another machine's, but not another split's.
        let before = folders[folders.len() - 1 - common];
        let other =
            common == below.len() && !base.is_empty() && self.places.iter().any(|p| parts(p.base).any(|b| b == before));
        (common >= below.len() && !other).then_some(common)
    }

    /// Some of the samples that an ambiguous name may mean, for a message.
    pub(crate) fn shown(&self, several: &[At]) -> String {
        let places: Vec<String> =
            several.iter().map(|(place, index)| self.places[*place].source.place(*index)).collect();
        places[..places.len().min(4)].join(", ") + if places.len() > 4 { ", ..." } else { "" }
    }
}

fn file(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn parts(path: &str) -> impl DoubleEndedIterator<Item = &str> {
    path.split('/').filter(|part| !["", ".", ".."].contains(part))
}

/// The folders of a path.
fn parents(path: &str) -> impl DoubleEndedIterator<Item = &str> {
    parts(path.rsplit_once('/').map_or("", |(folders, _)| folders))
}

/// Whether a file's name ends like one: in two to five letters and digits, not all of them digits.
fn has_ending(file: &str) -> bool {
    file.rsplit_once('.').is_some_and(|(_, end)| {
        (2..=5).contains(&end.len())
            && end.bytes().all(|b| b.is_ascii_alphanumeric())
            && end.bytes().any(|b| b.is_ascii_alphabetic())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Stored;
    use anyhow::Result;

    struct Paths(Vec<&'static str>);
    impl Source for Paths {
        fn len(&self) -> usize {
            self.0.len()
        }
        fn label(&self, _: usize) -> Option<u32> {
            None
        }
        fn name(&self, index: usize) -> Option<&str> {
            Some(stable_name(self.0[index]))
        }
        fn path(&self, index: usize) -> Option<&str> {
            Some(self.0[index])
        }
        fn place(&self, index: usize) -> String {
            self.0[index].into()
        }
        fn read(&self, _: usize) -> Result<Stored<'_>> {
            Ok(Stored::File(Vec::new()))
        }
    }

    /// What each of `names` means among `splits`, each with its folder: `split:index`, `-` or `a|b`.
    fn found(splits: &[(&str, &[&'static str])], names: &str) -> String {
        let sources: Vec<Paths> = splits.iter().map(|(_, paths)| Paths(paths.to_vec())).collect();
        let places: Vec<Place<'_>> = sources
            .iter()
            .zip(splits)
            .map(|(source, (base, _))| Place { source, base, range: 0..source.len() })
            .collect();
        let matcher = Matcher::new(&places, names.split(' '));
        let text = |name: &str| match matcher.find(name) {
            Meant::One((place, index)) => format!("{place}:{index}"),
            Meant::Nothing => "-".into(),
            Meant::Several(several) => matcher.shown(&several).replace(", ", "|"),
        };
        names.split(' ').map(text).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_path_means_that_path() {
        let train: &[&str] = &["cat/1.png", "dog/1.png", "dog/2.png", "x/dog/3.png", "y/dog/3.png"];
        let names = "cat/1.png dog/1.png train/dog/1 data/train/cat/1.png cat/2.png 1.png 2 dog/3.png x/dog/3.png \
            /home/me/2.png bird/1.png cat/9.png";
        let expected =
            "0:0 0:1 0:1 0:0 - cat/1.png|dog/1.png 0:2 x/dog/3.png|y/dog/3.png 0:3 0:2 cat/1.png|dog/1.png -";
        assert_eq!(found(&[("train", train)], names), expected);
    }

    #[test]
    fn the_file_goes_before_the_stem_and_the_first_place_before_the_others() {
        let flat: &[&str] = &["a.jpg", "a.png", "v1.png", "v1.5.png", "b.png", "n01440764_7_n01440764.JPEG"];
        let names = "a.png a b.JPEG v1.5 v1 v2.5 n01440764_7.JPEG pictures/b.png";
        assert_eq!(found(&[("", flat)], names), "0:1 a.jpg|a.png 0:4 0:3 0:2 - 0:5 0:4");
        let splits: &[(&str, &[&'static str])] = &[("train", &["1.png", "2.png"]), ("test", &["1.png", "3.png"])];
        assert_eq!(found(splits, "1.png test/1.png train/1 3 test/2.png"), "0:0 1:0 0:0 1:1 -");
    }
}
