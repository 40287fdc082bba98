//! Pictures of the report as inline PNGs: augmented views, and test images with their nearest training images.

use crate::html::escape;
use crate::look;
use crate::thumbnail::{self, uri};
use anyhow::{Context, Result};
use serde::Deserialize;
use simclr_core::config::Config;
use simclr_core::disk;
use simclr_core::rng::{Purpose, Rng};
use simclr_core::run::layout;
use simclr_core::stages;
use simclr_data::{Dataset, ViewMaker};
use simclr_data_tools::sheet::contact_sheet;
use std::path::Path;

/// Training images whose views are shown, and views of each.
const EXAMPLES: usize = 6;
const VIEWS: usize = 10;

/// Side that small views are drawn at, at least.
const SIDE: usize = 64;

/// The pictures that could be drawn, or why not.
pub struct Pictures {
    views: Result<String>,
    neighbours: Result<String>,
}

/// An entry of `neighbours.json`.
#[derive(Deserialize)]
struct Query {
    query: usize,
    label: u32,
    neighbours: Vec<(usize, u32, f32)>,
}

impl Pictures {
    /// Draws what there is. The images may be gone since the run: the page then says so in their place.
    pub fn draw(config: &Config, run: &Path, data: &Result<Dataset>) -> Self {
        match data {
            Ok(data) => Self { views: views(config, data), neighbours: neighbours(data, run) },
            Err(error) => {
                let error = format!("{error:#}");
                Self { views: Err(anyhow::anyhow!(error.clone())), neighbours: Err(anyhow::anyhow!(error)) }
            }
        }
    }

    /// The two sections of the page.
    pub fn html(&self) -> String {
        let section = |title: &str, about: &str, body: &Result<String>| {
            let body = match body {
                Ok(html) => html.clone(),
                Err(error) => format!("<p class=\"note\">Not drawn: {}</p>", escape(&format!("{error:#}"))),
            };
            format!("<section><h2>{title}</h2>\n<p>{about}</p>\n{body}</section>\n")
        };
        section(
            "Augmented views",
            "What pretraining compares: each row holds random views of one image. Two views of the same image are to \
             be close, views of different images far apart.",
            &self.views,
        ) + &section(
            "Nearest neighbours",
            "Test images, and the training images that the pretrained encoder, which saw no label, finds most \
             similar. Framed in the accent colour where the class is the same.",
            &self.neighbours,
        )
    }
}

fn views(config: &Config, data: &Dataset) -> Result<String> {
    let size = config.data.image_size;
    let channels = data.train.channels();
    let maker = ViewMaker::contrastive(&config.augment, size)?;
    let mut tiles = Vec::new();
    let count = EXAMPLES.min(data.train.len());
    for example in 0..count {
        // Spread over the set, and not by a round number: classes may take turns in it.
        let index = example * (data.train.len() / count) + example.min(data.train.len() % count);
        let picture = data.train.get(index)?;
        for view in 0..VIEWS {
            let rng = Rng::stream(config.seed, Purpose::Test, &[index as u64, view as u64]);
            let mut tile = vec![0.0; size * size * channels];
            maker.view(picture.view(), &rng, &mut tile);
            tiles.push(tile);
        }
    }
    let scale = (SIDE / size).max(1);
    let png = contact_sheet(&tiles, size, channels, VIEWS, scale)?;
    Ok(format!("<img class=\"sheet\" alt=\"{count} images, {VIEWS} random views of each\" src=\"{}\">\n", uri(&png)))
}

fn neighbours(data: &Dataset, run: &Path) -> Result<String> {
    let path = run.join(stages::EVAL).join(layout::NEIGHBOURS);
    let text = disk::read_json(&path)?;
    let queries: Vec<Query> =
        serde_json::from_value(text).with_context(|| format!("{} holds no neighbours", path.display()))?;
    let shown = |q: Query| {
        let near = q.neighbours.into_iter();
        let near =
            near.map(|(index, label, similarity)| Ok((thumbnail::source(&data.train, index)?, label, similarity)));
        let (picture, label) = (thumbnail::source(&data.test, q.query)?, q.label);
        Ok(look::Query { picture, label, nearest: near.collect::<Result<_>>()? })
    };
    let shown = queries.into_iter().map(shown).collect::<Result<Vec<_>>>()?;
    Ok(look::gallery(&shown, &data.classes))
}
