//! Sections of the page on what a review found: predictions, what to label next, doubts, copies, outliers.

use crate::html::escape;
use crate::mistakes;
use crate::review::{Guess, Review, Shown, Split};
use crate::thumbnail;
use anyhow::{Result, bail};
use simclr_core::run::layout::{NEXT_TO_LABEL, PREDICTIONS};
use simclr_data::{Dataset, Pictures};
use std::fmt::Write;

/// Classes whose pictures are drawn; of more, those with the most pictures.
const DRAWERS: usize = 24;

/// All sections. Where the pictures are gone, or others than those that were reviewed, that is said in their place.
pub fn html(review: &Review, data: &Result<Dataset>) -> String {
    let mut out = gallery(review, data) + &next(review, data);
    if !review.doubtful.is_empty() {
        let about = "The first two classes are all but equally likely.";
        out += &section(
            "Most doubtful",
            about,
            &tiles(data, review.doubtful.iter().map(|guess| guessed(review, guess, 2))),
        );
    }
    if let Some(held) = &review.held_out {
        out += &mistakes::html(review, held);
    }
    out + &copies(review, data) + &outliers(review, data)
}

/// Where the pictures lie and what was passed over, as opening them tells; nothing for a dataset that is not of files.
pub fn found(data: &Result<Dataset>) -> String {
    let lines = data.as_ref().map_or_else(|_| Vec::new(), |data| data.found.lines());
    if lines.is_empty() {
        return String::new();
    }
    let items: String = lines.iter().map(|line| format!("<li>{}</li>\n", escape(line))).collect();
    section("What was found", "Where the pictures lie, and what became of the rest.", &format!("<ul>\n{items}</ul>\n"))
}

fn section(title: &str, about: &str, body: &str) -> String {
    format!("<section><h2>{title}</h2>\n<p>{about}</p>\n{body}</section>\n")
}

/// A picture and the words below it, each line escaped.
struct Tile<'a> {
    shown: &'a Shown,
    lines: Vec<String>,
}

fn guessed<'a>(review: &Review, guess: &'a Guess, count: usize) -> Tile<'a> {
    let line = |(class, probability): &(u32, f32)| {
        format!("<b>{}</b> {:.0} %", escape(review.class(*class)), 100.0 * probability)
    };
    Tile { shown: &guess.shown, lines: guess.best.iter().take(count).map(line).collect() }
}

fn tiles<'a>(data: &Result<Dataset>, tiles: impl Iterator<Item = Tile<'a>>) -> String {
    let mut out = String::from("<ul class=\"tiles\">\n");
    for Tile { shown, lines } in tiles {
        let file = escape(&shown.file);
        let image = match image(data, shown) {
            Ok(source) => format!("<img alt=\"\" loading=\"lazy\" src=\"{source}\">"),
            Err(error) => format!("<i class=\"gone\" title=\"{}\">not drawn</i>", escape(&format!("{error:#}"))),
        };
        let _ = write!(out, "<li>{image}");
        lines.iter().for_each(|line| {
            let _ = write!(out, "<span>{line}</span>");
        });
        let _ = writeln!(out, "<small title=\"{file}\"><bdi>{file}</bdi></small></li>");
    }
    out + "</ul>\n"
}

fn image(data: &Result<Dataset>, shown: &Shown) -> Result<String> {
    let data = match data {
        Ok(data) => data,
        Err(error) => bail!("{error:#}"),
    };
    let pictures: &Pictures = if shown.split == Split::Train { &data.train } else { &data.test };
    let index = shown.index as usize;
    // Places end in what tables call the picture, with the machine's own separators.
    let place = if index < pictures.len() { pictures.place(index).replace('\\', "/") } else { String::new() };
    if !place.ends_with(&shown.file) {
        bail!("the dataset is another one than that of the review")
    }
    thumbnail::source(pictures, index)
}

fn gallery(review: &Review, data: &Result<Dataset>) -> String {
    if review.gallery.is_empty() || review.unlabeled == 0 {
        return String::new();
    }
    let what = if review.pretended { "whose label was not used" } else { "without a label" };
    let mut about = format!(
        "What <b>{}</b>, which learned from {} labels, makes of the {} pictures {what}: of each class the surest. All of \
         them stand in <code>{PREDICTIONS}</code>.",
        escape(&review.title),
        review.labeled,
        review.unlabeled
    );
    if review.damaged > 0 {
        let _ = write!(about, " {} pictures cannot be decoded and are left out.", review.damaged);
    }
    let mut drawers: Vec<_> = review.gallery.iter().collect();
    let mut body = String::new();
    if drawers.len() > DRAWERS {
        drawers.sort_by_key(|drawer| std::cmp::Reverse(drawer.count));
        let rest = drawers.split_off(DRAWERS);
        let count: usize = rest.iter().map(|drawer| drawer.count).sum();
        let _ = write!(
            about,
            " Shown are the {DRAWERS} largest classes; {count} pictures are of the other {}.",
            rest.len()
        );
    }
    let none: Vec<String> =
        drawers.iter().filter(|drawer| drawer.count == 0).map(|drawer| escape(review.class(drawer.class))).collect();
    if !none.is_empty() {
        let _ = write!(about, " None was taken for: {}.", none.join(", "));
    }
    for drawer in drawers.into_iter().filter(|drawer| drawer.count > 0) {
        let name = escape(review.class(drawer.class));
        let _ = writeln!(body, "<h3>{name} <small>{}</small></h3>", drawer.count);
        body += &tiles(data, drawer.shown.iter().map(|guess| guessed(review, guess, 1)));
    }
    section("Pictures by predicted class", &about, &body)
}

fn next(review: &Review, data: &Result<Dataset>) -> String {
    if review.next.is_empty() {
        return String::new();
    }
    let mut about = format!(
        "The {} pictures whose labels would help most: typical of parts of the data that have few labels yet, and the more \
         labels there are, doubtful ones. <code>{NEXT_TO_LABEL}</code> lists them with an empty column for the label; filled \
         in, it is a table of labels.",
        review.next.len()
    );
    review.notes.iter().for_each(|note| {
        let _ = write!(about, " Of bounded memory: {}.", escape(note));
    });
    section("Label these next", &about, &tiles(data, review.next.iter().map(|guess| guessed(review, guess, 1))))
}

fn copies(review: &Review, data: &Result<Dataset>) -> String {
    let found = &review.duplicates;
    if found.groups == 0 {
        return String::new();
    }
    let mut about = format!("{} pictures, in {} groups, are all but the same.", found.pictures, found.groups);
    if found.leaks > 0 {
        let _ = write!(
            about,
            " <b>{} held-out pictures have a copy among those for training</b>: the accuracy that is measured on them is too \
             good.",
            found.leaks
        );
    }
    if found.disagree > 0 {
        let _ = write!(about, " In {} groups the labels are not the same.", found.disagree);
    }
    let mut body = String::from("<div class=\"groups\">\n");
    for group in &found.shown {
        let of = |shown| Tile { shown, lines: vec![set_of(shown).into()] };
        body += &tiles(data, group.iter().map(of));
    }
    section("Near duplicates", &about, &(body + "</div>\n"))
}

fn set_of(shown: &Shown) -> &'static str {
    if shown.split == Split::Train { "training" } else { "<b>held out</b>" }
}

fn outliers(review: &Review, data: &Result<Dataset>) -> String {
    if review.outliers.is_empty() {
        return String::new();
    }
    let about = "Pictures that are far even from those nearest to them, as the pretrained encoder sees them: rare things, \
                 or none that belong here. The number is the mean distance, 0 for a copy.";
    let tile = |(shown, distance): &'_ (Shown, f32)| format!("{} · {distance:.2}", set_of(shown));
    section(
        "Unlike all others",
        about,
        &tiles(data, review.outliers.iter().map(|entry| Tile { shown: &entry.0, lines: vec![tile(entry)] })),
    )
}
