//! Texts that somebody else wrote, made fit to print: short, and without control characters.

use std::fmt::{Display, Write};

/// Most characters of one value in a message.
const VALUE: usize = 80;
/// Most characters of a message.
pub const MESSAGE: usize = 2000;
/// Room for what says that something was left out.
const NOTE: usize = 60;

/// A value as a message shows it: at most 80 characters or so, and how many there were where that is not all. Control
/// characters are escaped.
pub fn short(value: &dyn Display) -> String {
    let text = printable(&value.to_string());
    let count = text.chars().count();
    if count <= VALUE {
        return text;
    }
    let head: String = text.chars().take(VALUE - 8).collect();
    format!("{head}... ({count} characters)")
}

/// A whole message as it is printed: at most [`MESSAGE`] characters, of which the middle is left out where there are more.
/// Control characters but newlines are escaped.
pub fn message(text: &str) -> String {
    cut(&text.split('\n').map(printable).collect::<Vec<_>>().join("\n"))
}

/// As [`message`], on one line: newlines become spaces.
pub fn line(text: &str) -> String {
    cut(&text.lines().map(|line| printable(line.trim())).collect::<Vec<_>>().join(" "))
}

fn cut(text: &str) -> String {
    let count = text.chars().count();
    if count <= MESSAGE {
        return text.to_string();
    }
    // What is wrong stands at the beginning, what to do at the end.
    let (head, tail) = ((MESSAGE - NOTE) * 2 / 3, (MESSAGE - NOTE) / 3);
    let first: String = text.chars().take(head).collect();
    let last: String = text.chars().skip(count - tail).collect();
    format!("{first} ... ({} characters left out) ... {last}", count - head - tail)
}

/// `text` with its control characters escaped, those that change the direction of writing among them.
fn printable(text: &str) -> String {
    let hidden = |c: char| {
        c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(hidden) {
        return text.to_string();
    }
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        let _ = if hidden(c) { write!(out, "{}", c.escape_default()) } else { out.write_char(c) };
        out
    })
}

/// A message of somebody else's parser, each value that it quotes cut as [`short`] does.
pub fn quoted(text: &str) -> String {
    // What we say ourselves quotes examples, too, and no value that is long.
    if !["invalid type", "invalid value", "unknown variant", "unknown field"]
        .iter()
        .any(|start| text.starts_with(start))
    {
        return text.to_string();
    }
    // Serde quotes one value, in which there may be quotes: from the first to the last.
    ['"', '`'].into_iter().fold(text.to_string(), |text, quote| {
        let first = text.find(quote);
        // Valid names follow the unknown one, each in quotes of its own.
        let last = if quote == '`' { text.find("`, expected") } else { text.rfind(quote) };
        match (first, last) {
            (Some(first), Some(last)) if last > first => {
                format!("{}{}{}", &text[..=first], short(&&text[first + 1..last]), &text[last..])
            }
            _ => text,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_long_is_cut_and_counted() {
        assert_eq!(short(&"plain"), "plain");
        let long = short(&"x".repeat(10_000));
        assert!(long.len() < 100 && long.ends_with("x... (10000 characters)"), "{long}");
        let text = message(&format!("a beginning {} an end", "x".repeat(1_000_000)));
        assert!(text.chars().count() <= MESSAGE && text.starts_with("a beginning") && text.ends_with("an end"));
        assert!(text.contains("characters left out"));
        let quoted = quoted(&format!("invalid type: string \"{}\", expected usize", "y\\\"".repeat(1000)));
        assert!(quoted.len() < 150 && quoted.ends_with("characters)\", expected usize"), "{quoted}");
        let names = "unknown variant `a`, expected one of `b`, `c`";
        assert_eq!(super::quoted(names), names);
        assert!(super::quoted(&names.replace("`a`", &format!("`{}`", "a".repeat(500)))).contains("500 characters"));
    }

    #[test]
    fn nothing_moves_the_cursor() {
        assert_eq!(short(&"a\u{1b}[2Jb\r\0"), "a\\u{1b}[2Jb\\r\\u{0}");
        assert_eq!(message("one\ntwo\u{7}\u{202e}"), "one\ntwo\\u{7}\\u{202e}");
        assert_eq!(line("one\n  two\n"), "one two");
    }
}
