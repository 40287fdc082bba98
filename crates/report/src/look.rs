//! A look at a network through the test images, as it is handed from the program that computes to the page that shows.

use crate::html::{escape, scroll};
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use simclr_core::run::layout;
use simclr_core::{bounds, disk};
use std::fmt::Write;
use std::path::Path;

/// What says which class an image is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Judge {
    /// The network's own classifier.
    Classifier,
    /// A vote of the nearest training images, by its features: a network that has no classifier.
    Neighbours,
}

/// Test images in the plane, near one another where the network's features of them are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Map {
    /// How it was made, for people.
    pub title: String,
    /// Where each image lies.
    pub points: Vec<[f32; 2]>,
}

/// An image and those that the network finds most similar.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// A small PNG, as the source of an `<img>`.
    pub picture: String,
    /// Its class.
    pub label: u32,
    /// (picture, class, cosine similarity), most similar first.
    pub nearest: Vec<(String, u32, f32)>,
}

/// A look: the contents of `look.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Look {
    /// Which network, for people.
    pub network: String,
    /// Test images that it was shown.
    pub images: usize,
    /// Test images that there are.
    pub of: usize,
    /// Training images among which neighbours were looked for.
    pub among: usize,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// What classified them.
    pub judge: Judge,
    /// Share of them whose class was found.
    pub top1: f64,
    /// (class, predicted class, how many), where there are any.
    pub confusion: Vec<(u32, u32, usize)>,
    /// Classes of the images on the maps.
    pub labels: Vec<u32>,
    /// Maps of the same images.
    pub maps: Vec<Map>,
    /// Some test images with the nearest training images.
    pub gallery: Vec<Query>,
}

impl Look {
    /// That of a folder; `None` where there is none.
    ///
    /// # Errors
    /// When the file cannot be read, or is of another kind.
    pub fn read(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(layout::LOOK);
        if !path.is_file() {
            return Ok(None);
        }
        let look: Self = serde_json::from_value(disk::read_json_of(&path, bounds::TABLE)?)
            .with_context(|| format!("{} is no look at a network; make it again", path.display()))?;
        for map in &look.maps {
            ensure!(
                map.points.len() == look.labels.len(),
                "{}: the map {:?} has {} points and there are {} labels; make it again",
                path.display(),
                map.title,
                map.points.len(),
                look.labels.len()
            );
        }
        Ok(Some(look))
    }

    /// Its gallery, as a table of pictures.
    pub fn gallery(&self) -> String {
        gallery(&self.gallery, &self.classes)
    }
}

/// Queries, a row each, with their nearest images. A frame marks those of the query's class.
pub(crate) fn gallery(queries: &[Query], classes: &[String]) -> String {
    let class = |label: u32| classes.get(label as usize).map_or_else(|| format!("class {label}"), |c| escape(c));
    let mut out = String::from("<table class=\"pictures\"><tbody>\n");
    let picture = |source: &str, label: u32| {
        let name = class(label);
        format!("<img alt=\"{name}\" loading=\"lazy\" src=\"{}\"><span>{name}</span>", escape(source))
    };
    for query in queries {
        let _ = write!(out, "<tr><th scope=\"row\">{}</th>", picture(&query.picture, query.label));
        for (source, label, similarity) in &query.nearest {
            let same = if *label == query.label { " class=\"same\"" } else { "" };
            let _ = write!(out, "<td{same} title=\"similarity {similarity:.3}\">{}</td>", picture(source, *label));
        }
        out += "</tr>\n";
    }
    scroll("Nearest neighbours", &(out + "</tbody></table>"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn look() -> Look {
        Look {
            network: "n".into(),
            images: 2,
            of: 3,
            among: 9,
            classes: vec!["a<b".into(), "c".into()],
            judge: Judge::Classifier,
            top1: 0.5,
            confusion: vec![(0, 0, 1), (1, 0, 1)],
            labels: vec![0, 1],
            maps: vec![Map { title: "PCA".into(), points: vec![[0.0, 1.0], [2.0, 3.0]] }],
            gallery: vec![Query {
                picture: "data:image/png;base64,AA\"".into(),
                label: 0,
                nearest: vec![("data:x".into(), 0, 0.9), ("data:y".into(), 1, 0.5)],
            }],
        }
    }

    #[test]
    fn one_that_was_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Look::read(dir.path()).unwrap(), None);
        let mut made = look();
        disk::write_json(&dir.path().join(layout::LOOK), &serde_json::json!(made)).unwrap();
        assert_eq!(Look::read(dir.path()).unwrap(), Some(made.clone()));
        made.maps[0].points.pop();
        disk::write_json(&dir.path().join(layout::LOOK), &serde_json::json!(made)).unwrap();
        let error = format!("{:#}", Look::read(dir.path()).unwrap_err());
        assert!(error.contains("1 points and there are 2 labels"), "{error}");
    }

    #[test]
    fn pictures_of_the_same_class_are_framed_and_nothing_leaves_its_attribute() {
        let html = look().gallery();
        assert_eq!(html.matches("class=\"same\"").count(), 1);
        assert!(!html.contains("AA\"\"") && html.contains("AA&quot;\"") && html.contains("alt=\"a&lt;b\""), "{html}");
    }
}
