//! What networks see: mistakes by class, maps of features, nearest neighbours.

use simclr_report::chart::scatter::Scatter;
use simclr_report::confusion;
use simclr_report::html::escape;
use simclr_report::look::{Judge, Look};
use std::fmt::Write;

/// All looks; that there are none, where there are none.
pub fn html(looks: &[Look]) -> String {
    if looks.is_empty() {
        return "<p class=\"note\">No network was looked at for this page: the runs are not on the machine that made it.</p>\n".into();
    }
    looks.iter().map(one).collect()
}

fn one(look: &Look) -> String {
    let shown = match look.images == look.of {
        true => format!("All {} test images", look.images),
        false => format!("{} of {} test images", look.images, look.of),
    };
    let judged = match look.judge {
        Judge::Classifier => "by its own classifier",
        Judge::Neighbours => "by a vote of the nearest training images, since it has no classifier",
    };
    let mut out = format!(
        "<h3>{}</h3>\n<p>{shown}, classified {judged}: {:.1} % are right. {}</p>\n{}",
        escape(&look.network),
        100.0 * look.top1,
        confusion::about(look.classes.len()),
        confusion::html(&look.classes, &look.confusion)
    );
    if !look.maps.is_empty() {
        let _ = writeln!(
            out,
            "<h3>Maps of the features</h3>\n<p>{} test images in the plane, each where the encoder's features put it. The axes have \
             no meaning; images that lie together look alike to the network.</p>\n<div class=\"charts\">",
            look.labels.len()
        );
        for map in &look.maps {
            let (title, points) = (map.title.as_str(), map.points.as_slice());
            out += &Scatter { title, points, labels: &look.labels, classes: &look.classes }.html();
        }
        out += "</div>\n";
    }
    if !look.gallery.is_empty() {
        let _ = write!(
            out,
            "<h3>Nearest neighbours</h3>\n<p>Test images, and of {} training images those whose features are most similar. Framed \
             where the class is the same.</p>\n{}",
            look.among,
            look.gallery()
        );
    }
    out
}
