//! Pages with tables between marks.

use anyhow::{Context, Result, bail};

/// Most bytes of a page.
pub const MOST: u64 = 4 << 20;
/// The line that ends a table.
const END: &str = "<!-- end -->";
/// Kinds of tables.
const KINDS: [&str; 4] = ["results", "studies", "speed", "gpu speed"];

/// The line that begins a table.
pub fn mark(kind: &str, name: &str) -> String {
    format!("<!-- {kind}: {name} -->")
}

/// Kind and name of a line that begins a table.
fn begins(line: &str) -> Option<(&str, &str)> {
    let (kind, name) = line.strip_prefix("<!-- ")?.strip_suffix(" -->")?.split_once(": ")?;
    KINDS.contains(&kind).then_some((kind, name))
}

enum Part<'a> {
    Line(&'a str),
    Table { mark: &'a str, kind: &'a str, name: &'a str },
}

/// A page, with its tables taken out.
pub struct Page<'a> {
    parts: Vec<Part<'a>>,
}

impl<'a> Page<'a> {
    /// Takes a page apart.
    ///
    /// # Errors
    /// When a table does not end, or an end has no table.
    pub fn read(text: &'a str) -> Result<Self> {
        let mut parts = Vec::new();
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            let Some((kind, name)) = begins(line) else {
                if line == END {
                    bail!("a line {END} ends no table");
                }
                parts.push(Part::Line(line));
                continue;
            };
            parts.push(Part::Table { mark: line, kind, name });
            loop {
                let inside =
                    lines.next().with_context(|| format!("the table after {line} does not end: {END} is missing"))?;
                if begins(inside).is_some() {
                    bail!("the table after {line} does not end before {inside}: {END} is missing");
                }
                if inside == END {
                    break;
                }
            }
        }
        Ok(Self { parts })
    }

    /// The page with these tables, by kind and name.
    ///
    /// # Errors
    /// When there is no such table.
    pub fn with(&self, table: impl Fn(&str, &str) -> Result<String>) -> Result<String> {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Line(line) => out += line,
                Part::Table { mark, kind, name } => {
                    let table = table(kind, name)?;
                    out += &format!("{mark}\n\n{}\n\n{END}", table.trim());
                }
            }
            out += "\n";
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_stands_between_marks_is_replaced_and_nothing_else() {
        let text = "# A\n<!-- a remark: kept -->\n<!-- results: one -->\n| old |\n<!-- end -->\nmore\n";
        let made = Page::read(text).unwrap().with(|kind, name| Ok(format!("{kind} of {name}\n"))).unwrap();
        assert_eq!(
            made,
            "# A\n<!-- a remark: kept -->\n<!-- results: one -->\n\nresults of one\n\n<!-- end -->\nmore\n"
        );
        assert_eq!(Page::read(&made).unwrap().with(|kind, name| Ok(format!("{kind} of {name}"))).unwrap(), made);
    }

    #[test]
    fn marks_come_in_pairs() {
        let fails = |text: &str| Page::read(text).err().unwrap().to_string();
        assert!(fails("<!-- results: one -->\n").contains("does not end"));
        assert!(fails("<!-- results: one -->\n<!-- speed: two -->\n<!-- end -->\n").contains("does not end before"));
        assert!(fails("<!-- end -->\n").contains("ends no table"));
    }
}
