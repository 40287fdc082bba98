//! A study's file: what it asks, what varies, at which scales, and what the paper claims.

use crate::outcome::Published;
use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use simclr_core::config::{LabelAmount, read_table, typed};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use toml::Table;

/// A study at one of its scales.
#[derive(Clone, Debug)]
pub struct Study {
    /// Its name: the file's.
    pub name: String,
    /// `small`, `medium`, `paper`, or whatever the file has.
    pub scale: String,
    /// For people.
    pub title: String,
    /// What it asks.
    pub question: String,
    /// The base experiment's file.
    pub base: PathBuf,
    /// As the study names it.
    pub base_name: String,
    /// What changes of the base in all cells.
    pub set: Table,
    /// Each cell is run with each of these.
    pub seeds: Vec<u64>,
    /// What varies.
    pub axes: Vec<Axis>,
    /// Combinations that there are not: values of some axes.
    pub skip: Vec<Values>,
    /// What is measured: names of the results' methods.
    pub measure: Vec<String>,
    /// What the paper claims.
    pub claims: Vec<ClaimText>,
    /// What the paper measured.
    pub published: Vec<Published>,
    /// Training images, where the dataset need not be here for a plan.
    pub images: Option<usize>,
}

/// Names of values, by the name of their axis.
pub type Values = BTreeMap<String, String>;

/// What varies between cells.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Axis {
    /// `width`.
    pub name: String,
    /// For people.
    pub title: String,
    /// What it may be.
    pub values: Vec<Value>,
}

/// A value of an axis.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Value {
    /// Short; the cell is called after it.
    pub name: String,
    /// The keys of the base that it changes.
    #[serde(default)]
    pub set: Table,
    /// What is measured of its cells, where that is not all that the study measures.
    pub measure: Option<Vec<String>>,
}

/// A claim as a difference that should be above 0: all `plus` less all `minus`, seed by seed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClaimText {
    /// In words.
    pub text: String,
    /// The difference in words.
    pub difference: String,
    /// What is added.
    pub plus: Vec<Term>,
    /// What is subtracted.
    pub minus: Vec<Term>,
    /// The same difference in the paper, in points.
    pub published: Option<f64>,
}

/// An accuracy of the grid.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Term {
    /// Which cell; not needed where there is one.
    #[serde(default)]
    pub cell: Values,
    /// Which method.
    pub method: String,
    /// On how many labels.
    pub labels: LabelAmount,
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    title: String,
    question: String,
    measure: Vec<String>,
    #[serde(default)]
    axis: Vec<Axis>,
    #[serde(default)]
    skip: Vec<Values>,
    #[serde(default)]
    claim: Vec<ClaimText>,
    #[serde(default)]
    published: Vec<Published>,
    scale: BTreeMap<String, Scale>,
}

/// A scale; what it leaves out is that of the file.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Scale {
    base: PathBuf,
    seeds: Vec<u64>,
    #[serde(default)]
    set: Table,
    axis: Option<Vec<Axis>>,
    skip: Option<Vec<Values>>,
    claim: Option<Vec<ClaimText>>,
    measure: Option<Vec<String>>,
    images: Option<usize>,
}

impl Study {
    /// Reads the file `path` for one of its scales.
    ///
    /// # Errors
    /// When the file is missing or not a study's, has no such scale, or names what there is not.
    pub fn load(path: &Path, scale: &str) -> Result<Self> {
        let table = read_table(path, &[]).context("reading the study")?;
        let written: Written = typed(table).with_context(|| format!("in {}", path.display()))?;
        let known: Vec<_> = written.scale.keys().map(String::as_str).collect();
        let chosen = written.scale.get(scale).cloned();
        let chosen =
            chosen.with_context(|| format!("{}: no scale \"{scale}\"; it has {}", path.display(), known.join(", ")))?;
        let name = path.file_stem().and_then(|name| name.to_str()).context("a study's file needs a name")?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let study = Self {
            name: name.into(),
            scale: scale.into(),
            title: written.title,
            question: written.question,
            base_name: chosen.base.file_name().map_or(String::new(), |name| name.to_string_lossy().into()),
            base: folder.join(&chosen.base),
            set: chosen.set,
            seeds: chosen.seeds,
            axes: chosen.axis.unwrap_or(written.axis),
            skip: chosen.skip.unwrap_or(written.skip),
            measure: chosen.measure.unwrap_or(written.measure),
            claims: chosen.claim.unwrap_or(written.claim),
            published: written.published,
            images: chosen.images,
        };
        study.check().with_context(|| format!("in {}, scale \"{scale}\"", path.display()))?;
        Ok(study)
    }

    /// Whether names are names, each once, and whether what refers to an axis or a cell finds it.
    pub(crate) fn check(&self) -> Result<()> {
        ensure!(!self.seeds.is_empty(), "seeds = []: at least one is needed, and three for an interval");
        ensure!(!self.measure.is_empty(), "measure = []: name a method, such as \"finetuned\"");
        once("seeds", self.seeds.iter().map(u64::to_string))?;
        once("axes", self.axes.iter().map(|axis| axis.name.clone()))?;
        for axis in &self.axes {
            ensure!(!axis.values.is_empty(), "the axis \"{}\" has no values", axis.name);
            once(&format!("the axis \"{}\"", axis.name), axis.values.iter().map(|value| value.name.clone()))?;
            for Value { name, measure, .. } in &axis.values {
                let fits = |c: char| c.is_ascii_alphanumeric() || "._+".contains(c);
                ensure!(
                    !name.is_empty() && name.chars().all(fits),
                    "the axis \"{}\" has a value \"{name}\": a folder is called after it; use letters, digits, `.`, `_` and `+`",
                    axis.name
                );
                let more = measure.iter().flatten().find(|method| !self.measure.contains(method));
                let more = more.map_or("", String::as_str);
                ensure!(more.is_empty(), "the value \"{name}\" measures \"{more}\", which is not in measure");
            }
        }
        self.skip.iter().try_for_each(|values| self.known(values).context("skip"))?;
        for claim in &self.claims {
            let at = || format!("the claim \"{}\"", claim.text);
            for term in claim.plus.iter().chain(&claim.minus) {
                self.known(&term.cell).with_context(at)?;
                let measured = self.measure.contains(&term.method);
                ensure!(measured, "{}: \"{}\" is not in measure = {:?}", at(), term.method, self.measure);
            }
        }
        Ok(())
    }

    /// Whether axes have these values.
    fn known(&self, values: &Values) -> Result<()> {
        for (name, value) in values {
            let axis = self.axes.iter().find(|axis| axis.name == *name);
            let axis = axis.with_context(|| format!("there is no axis \"{name}\""))?;
            let known: Vec<_> = axis.values.iter().map(|value| value.name.as_str()).collect();
            ensure!(
                known.contains(&value.as_str()),
                "the axis \"{name}\" has no \"{value}\", but {}",
                known.join(", ")
            );
        }
        Ok(())
    }
}

fn once(what: &str, names: impl Iterator<Item = String>) -> Result<()> {
    let mut names: Vec<_> = names.collect();
    names.sort();
    let twice = names.windows(2).find(|pair| pair[0] == pair[1]);
    ensure!(twice.is_none(), "{what}: \"{}\" stands twice", twice.map_or("", |pair| &pair[0]));
    Ok(())
}
