//! The two splits of a dataset of files: labeled by a table, given the same classes, and parted where there is one only.

use super::classes::unite;
use super::dataset::Dataset;
use super::files::Files;
use super::found::{Found, Place, some};
use super::locate::{Split, select};
use super::{held_out, table};
use crate::access::Source;
use crate::image::Images;
use crate::set::{Chosen, Pictures};
use anyhow::{Context, Result, ensure};
use simclr_core::config::DataConfig;
use std::sync::Arc;

/// The dataset whose splits are among the shards `names`; `open` opens some of them.
///
/// # Errors
/// When files are missing or malformed, or the classes of the splits do not fit.
pub(crate) fn of_shards(
    names: &[String],
    config: &DataConfig,
    open: &dyn Fn(&[String]) -> Result<Files>,
) -> Result<Dataset> {
    ensure!(
        config.unlabeled.is_none(),
        "data.unlabeled is a folder, for data.dataset = \"folder\": samples of shards that have \
                                         no label are unlabeled"
    );
    let train = select(names, config.train.as_deref(), Split::Train)?;
    let test = select(names, config.test.as_deref(), Split::Test)?;
    let mut found = Found::default();
    let mut opened = |split, names: &[String], key: &str, stated: bool| -> Result<Files> {
        let files = open(names)?;
        let why = if stated { key.into() } else { "by usual names".into() };
        let at = if names.len() == 1 { names[0].clone() } else { format!("{} files, {}", names.len(), some(names)) };
        found.places.push(Place { split, at, pictures: files.len(), why });
        Ok(files)
    };
    let train = opened("train", &train, "data.train", config.train.is_some()).context("training images")?;
    let test = match test.is_empty() {
        true => None,
        false => Some(opened("test", &test, "data.test", config.test.is_some()).context("test images")?),
    };
    of_files(train, test, found, config)
}

/// The dataset of two splits; the second may be missing.
///
/// # Errors
/// When the table of labels cannot be used, or the classes of the splits do not fit.
pub(crate) fn of_files(
    mut train: Files,
    mut test: Option<Files>,
    mut found: Found,
    config: &DataConfig,
) -> Result<Dataset> {
    if let Some(file) = &config.labels {
        found.table = Some(table::label(&mut train, test.as_mut(), config, file)?);
    }
    let splits = [Some(&mut train), test.as_mut()].into_iter().flatten();
    let classes = unite(splits.map(|files| (&mut files.labels, &files.classes)).collect())
        .with_context(|| format!("data.dataset = \"{}\"", config.dataset))?;
    if let Some(bare) = test.take_if(|test| test.labeled() == 0 && config.test.is_none() && train.labeled() > 0) {
        found.notes.push(format!(
            "none of the {} test pictures has a label: they are left out; data.unlabeled would have them learned from",
            bare.len()
        ));
    }
    notes(&train, test.as_ref(), &classes, &mut found);
    if test.is_some() && config.held_out != DataConfig::new("folder", 1).held_out {
        found.notes.push(format!("data.held_out = {} has no effect: there are test pictures", config.held_out));
    }
    let train: Arc<dyn Source> = Arc::new(train);
    let pictures = |source: Arc<dyn Source>| Pictures::new(source, config.file_channels(), config);
    let of = |samples: Vec<u32>| pictures(Arc::new(Chosen::new(train.clone(), samples)));
    let nothing = Images { height: 1, width: 1, channels: config.file_channels(), data: vec![], labels: vec![] };
    if let Some([part, parts]) = config.fold {
        let fold = format!("data.fold = [{part}, {parts}] is for labeled pictures without a test split");
        ensure!(!classes.is_empty(), "{fold}: none has a label");
        ensure!(test.is_none(), "{fold}: there are test pictures, too; put them with the others");
    }
    let (train, test) = match test {
        Some(test) => (pictures(train), pictures(Arc::new(test))),
        None => match held_out::part(train.as_ref(), &classes, config) {
            Some((parted, about)) => {
                found.held_out = Some(about);
                (of(parted.train), of(parted.held_out))
            }
            None => (pictures(train), nothing.into()),
        },
    };
    Ok(Dataset { name: config.dataset.clone(), classes, train, test, found })
}

/// What a person should know of the labels.
fn notes(train: &Files, test: Option<&Files>, classes: &[String], found: &mut Found) {
    let labeled = train.labeled();
    if classes.is_empty() {
        return;
    }
    if labeled < train.len() {
        found.notes.push(format!("{} of {} training pictures have no label", train.len() - labeled, train.len()));
    }
    if let Some(test) = test.filter(|test| test.labeled() < test.len()) {
        let bare = test.len() - test.labeled();
        found
            .notes
            .push(format!("{bare} of {} test pictures have no label, and nothing is measured on them", test.len()));
    }
    for (split, files) in [("training", Some(train)), ("test", test)] {
        let Some(files) = files.filter(|files| files.labeled() > 0) else { continue };
        let mut seen = vec![false; classes.len()];
        files.labels.iter().flatten().for_each(|label| seen[*label as usize] = true);
        let missing: Vec<&String> =
            classes.iter().zip(&seen).filter(|(_, seen)| !**seen).map(|(name, _)| name).collect();
        if !missing.is_empty() {
            let (count, some) = (missing.len(), some(&missing));
            found.notes.push(format!("{count} of {} classes have no {split} picture: {some}", classes.len()));
        }
    }
    match classes {
        [one] => found.notes.push(format!(
            "all labels are of one class, {one}: there is nothing to tell apart; is data.dir one folder too high?"
        )),
        _ if labeled > 50 && 2 * classes.len() > labeled => found.notes.push(format!(
            "there are {} classes, such as {}, for {labeled} labeled training pictures: do the labels tell classes?",
            classes.len(),
            some(classes)
        )),
        _ => {}
    }
}
