//! Which classes are mistaken for which: a table of counts, or of many classes the pairs that are mistaken most often.

use crate::html::{escape, scroll};
use std::fmt::Write;

/// Classes of the largest table; beyond, pairs are listed.
const TABLE: usize = 30;
/// Such pairs.
const PAIRS: usize = 20;

/// What is shown of so many classes, in a sentence.
pub fn about(classes: usize) -> &'static str {
    if classes <= TABLE {
        "Each row holds the pictures of one class, each column what they were taken for."
    } else {
        "The pairs of classes that are mistaken most often:"
    }
}

/// The table; `confusion` holds (class, predicted class, how many), where there are any.
pub fn html(classes: &[String], confusion: &[(u32, u32, usize)]) -> String {
    if classes.len() <= TABLE { table(classes, confusion) } else { pairs(classes, confusion) }
}

fn table(classes: &[String], confusion: &[(u32, u32, usize)]) -> String {
    let n = classes.len();
    let mut counts = vec![0; n * n];
    for &(class, guess, count) in confusion {
        if let Some(cell) = counts.get_mut(class as usize * n + guess as usize) {
            *cell = count;
        }
    }
    let mut out = String::from(
        "<table class=\"confusion\"><caption><span>Rows: the class; columns: what it was taken for; numbers of \
         pictures</span></caption>\n<thead><tr><td></td>",
    );
    classes.iter().for_each(|class| {
        let _ = write!(out, "<th scope=\"col\" class=\"up\"><span>{}</span></th>", escape(class));
    });
    out += "</tr></thead>\n<tbody>\n";
    for (own, (class, row)) in classes.iter().zip(counts.chunks(n)).enumerate() {
        let all = row.iter().sum::<usize>().max(1) as f64;
        let _ = write!(out, "<tr><th scope=\"row\">{}</th>", escape(class));
        for (guess, count) in row.iter().enumerate() {
            let share = *count as f64 / all;
            let kind = if guess == own { "right" } else { "wrong" };
            let strong = if share > 0.55 { " strong" } else { "" };
            let text = if *count > 0 { count.to_string() } else { String::new() };
            let tip = format!("{} taken for {}: {count}, {:.1} %", class, classes[guess], 100.0 * share);
            let _ = write!(
                out,
                "<td class=\"{kind}{strong}\" style=\"--share:{:.0}%\" title=\"{}\">{text}</td>",
                100.0 * share,
                escape(&tip)
            );
        }
        out += "</tr>\n";
    }
    scroll("Confusion matrix", &(out + "</tbody></table>"))
}

fn pairs(classes: &[String], confusion: &[(u32, u32, usize)]) -> String {
    let mut all = vec![0usize; classes.len()];
    for (class, _, count) in confusion {
        if let Some(all) = all.get_mut(*class as usize) {
            *all += count;
        }
    }
    let name = |class: u32| classes.get(class as usize).map_or("?".into(), |name| escape(name));
    let mut wrong: Vec<_> = confusion.iter().filter(|(class, guess, _)| class != guess).collect();
    wrong.sort_by_key(|(class, guess, count)| (std::cmp::Reverse(*count), *class, *guess));
    let mut out = String::from(
        "<table class=\"results\"><thead><tr><th>Class</th><th>taken for</th><th>Pictures</th>\
         <th>of its own</th></tr></thead>\n<tbody>\n",
    );
    for (class, guess, count) in wrong.into_iter().take(PAIRS) {
        let all = all.get(*class as usize).map_or(1, |all| (*all).max(1));
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{count}</td><td>{:.1} %</td></tr>",
            name(*class),
            name(*guess),
            100.0 * *count as f64 / all as f64
        );
    }
    scroll("Mistakes", &(out + "</tbody></table>"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_the_class_and_a_column_the_guess() {
        let classes = ["cat", "dog"].map(String::from);
        let html = html(&classes, &[(0, 0, 3), (0, 1, 1), (1, 1, 2)]);
        assert!(html.contains("title=\"cat taken for dog: 1, 25.0 %\">1</td>"), "{html}");
        assert!(html.contains("class=\"right strong\" style=\"--share:75%\""), "{html}");
    }

    #[test]
    fn of_many_classes_the_worst_pairs_are_listed() {
        let classes: Vec<String> = (0..100).map(|i| format!("class-{i}")).collect();
        let html = html(&classes, &[(5, 5, 30), (5, 6, 10), (7, 8, 1), (7, 7, 1)]);
        let rows: Vec<&str> = html.split("<tr>").skip(2).collect();
        assert!(rows[0].starts_with("<td>class-5</td><td>class-6</td><td>10</td><td>25.0 %</td>"), "{html}");
        assert_eq!(rows.len(), 2, "what is right is no mistake");
    }
}
