//! The reference of all keys of an experiment: what each means, may be and is where it does not stand.

use anyhow::{Result, bail};
use simclr_core::cli::say;
use simclr_core::config::{Config, OptimizerConfig, Settings};
use simclr_core::fit::short;
use simclr_core::keys::{Choice, Kind, Row, Section, prose, rows, sections};
use simclr_data::view::TRANSFORMS;
use std::fmt::Write;

/// Options of `simclr-eval keys`.
#[derive(Clone, Debug, clap::Args)]
pub struct KeysArgs {
    /// Only keys that begin so, such as `pretrain` or `data.max_pixels`
    #[arg(value_name = "PREFIX", default_value = "")]
    pub prefix: String,

    /// Print docs/config.md
    #[arg(long, conflicts_with = "prefix")]
    pub markdown: bool,
}

/// Something that is chosen by name: the key that chooses it, a title, and what there is.
struct Offer {
    key: &'static str,
    title: &'static str,
    choices: Vec<Choice>,
}

fn offers() -> Vec<Offer> {
    let transforms = TRANSFORMS.iter().map(|info| Choice::new(info.name, (info.settings)())).collect();
    vec![
        Offer { key: "STAGE.training.optimizer", title: "Optimisers", choices: OptimizerConfig::choices() },
        Offer { key: "augment.transforms[]", title: "Transforms of views", choices: transforms },
        Offer {
            key: simclr_pretrain::objective::KEY,
            title: "Objectives of pretraining",
            choices: simclr_pretrain::objective::choices(),
        },
        Offer { key: "model.backbone", title: "Backbones", choices: simclr_model::backbones() },
    ]
}

/// Prints the reference, or the part of it that is asked for.
///
/// # Errors
/// When no key begins so.
pub fn print(args: &KeysArgs) -> Result<()> {
    if args.markdown {
        say(markdown().trim_end());
        return Ok(());
    }
    let mut all = rows(Config::table(), "");
    for Offer { key, choices, .. } in offers() {
        for Choice { name, table, .. } in choices {
            all.extend(rows(table, &format!("{key}={name}")));
        }
    }
    all.retain(|row| row.path.starts_with(&args.prefix));
    if all.is_empty() {
        bail!("no key begins with \"{}\": `simclr-eval keys` prints all", short(&args.prefix))
    }
    let each: Vec<String> = all.iter().map(terminal).collect();
    say(each.join("\n\n"));
    Ok(())
}

/// A key for a terminal: its path, what it may be and its default; below, what it means.
fn terminal(row: &Row) -> String {
    let mut text = format!("{}\n    {} [{}]", row.path, row.values(), row.default());
    let _ = write!(text, "\n    {}", meaning(row).replace('\n', "\n    "));
    if !row.key.source.is_empty() {
        let _ = write!(text, "\n    from {}", row.key.source);
    }
    text
}

/// What a key means, and each of its words, a line each.
fn meaning(row: &Row) -> String {
    let mut text = prose(row.key.meaning);
    if let Kind::Words(words) = row.kind {
        for word in words {
            let _ = write!(text, "\n`{}`: {}", word.word, prose(word.meaning));
        }
    }
    text
}

/// The whole reference as a page: docs/config.md.
pub fn markdown() -> String {
    let mut page = HEAD.to_string();
    for section in sections(Config::table(), "") {
        page += &of_section(&section);
    }
    for Offer { key, title, choices } in offers() {
        let _ = write!(
            page,
            "\n## {title}\n\nWhat `{key}` chooses by name; settings stand in a table with the name, such as `{{ name = \"{}\", ... \
             }}`.\n",
            choices.first().map_or("...", |choice| choice.name)
        );
        for Choice { name, meaning, table } in choices {
            let _ = write!(page, "\n### `{name}`\n\n{}\n", prose(meaning));
            page += &of_keys(&rows(table, ""));
        }
    }
    page
}

const HEAD: &str = "# Keys of an experiment

Every key of an experiment file, written by `simclr-eval keys --markdown` from the declarations that its checks read: what
lies outside its range is refused when the file is read, with the key's name. `simclr-eval keys PREFIX` prints the same on a
terminal, `--set KEY=VALUE` changes one key. A key without a default is required; its table may be left out unless it has one.

SimCLRv2 is Chen et al. 2020b (arXiv:2006.10029), Chen et al. 2020 is SimCLR (arXiv:2002.05709).
";

fn of_section(section: &Section) -> String {
    let title = match section.places.as_slice() {
        [place] if place.is_empty() => "The file".to_string(),
        places => places.iter().map(|place| format!("`{place}`")).collect::<Vec<_>>().join(", "),
    };
    let place = section.places.first().map_or("", String::as_str);
    let own: Vec<Row> = rows_of(section, place);
    format!("\n## {title}\n\n{}\n{}", prose(section.table.meaning), of_keys(&own))
}

/// The keys of a table itself: those of the tables in it have a section of their own.
fn rows_of(section: &Section, place: &str) -> Vec<Row> {
    let dot = if place.is_empty() { "" } else { "." };
    let keys = section.table.keys.iter();
    keys.map(|key| Row { path: format!("{place}{dot}{}", key.name), kind: (key.kind)(), key }).collect()
}

fn of_keys(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "\nIt has no settings of its own.\n".into();
    }
    let mut table = String::from("\n| key | values | default | meaning | source |\n|---|---|---|---|---|\n");
    for row in rows {
        let cell = |text: String| text.replace('|', "\\|").replace('\n', "<br>");
        let default = match row.default() {
            text if ["required", "not set"].contains(&text.as_str()) => text,
            text => format!("`{text}`"),
        };
        let values = match inner(&row.kind) {
            // An anchor would differ from page to page.
            true => format!("{}, see below", row.kind),
            false => row.values(),
        };
        let is_table = matches!(row.kind, Kind::Table(_) | Kind::Named(_));
        let default = if is_table && row.key.default.is_some() { "its defaults".into() } else { default };
        let (path, meaning) = (cell(row.path.clone()), cell(meaning(row)));
        let _ = writeln!(table, "| `{path}` | {} | {default} | {meaning} | {} |", cell(values), row.key.source);
    }
    table
}

/// Whether a value is a table with keys of its own, or holds such tables.
fn inner(kind: &Kind) -> bool {
    match kind {
        Kind::Table(_) | Kind::Named(_) => true,
        Kind::List(one) | Kind::Pair(one) => inner(one),
        Kind::Plain(_) | Kind::Words(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_every_key_and_every_choice() {
        let page = markdown();
        for key in [
            "`name`",
            "`data.max_pixels`",
            "`pretrain.training.batch`",
            "`distill.NAME.teacher`",
            "`beta_2`",
            "`sigma`",
        ] {
            assert!(page.contains(&format!("| {key} |")), "{key}");
        }
        for choice in ["`lars`", "`jitter`", "`nt-xent`", "`resnet`"] {
            assert!(page.contains(&format!("### {choice}")), "{choice}");
        }
        assert!(
            page.contains("1 to 1048576")
                && page.contains("0 to 1, above 0")
                && page.contains("`linear`: Times batch / 256")
        );
    }

    #[test]
    fn a_prefix_that_begins_no_key_is_named() {
        let args = KeysArgs { prefix: "pretran".into(), markdown: false };
        assert!(print(&args).is_err_and(|error| error.to_string().contains("no key begins with \"pretran\"")));
    }
}
