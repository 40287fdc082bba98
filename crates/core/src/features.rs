//! What this binary was built with.

/// What to say where `what` is asked for, and this binary was built without the features for it.
pub fn lacking(what: &str, features: &[&str]) -> anyhow::Error {
    let (names, them) = match features {
        [one] => (format!("the feature {one}"), "it"),
        more => (format!("the features {}", more.join(" and ")), "them"),
    };
    anyhow::anyhow!("{what} needs {names}, and this binary was built without {them}: `cargo build` builds all in")
}

#[cfg(test)]
mod tests {
    use super::lacking;

    #[test]
    fn the_message_names_what_and_how() {
        let message = lacking("data.hub", &["hub", "parquet"]).to_string();
        assert!(message.contains("data.hub") && message.contains("hub and parquet") && message.contains("cargo build"));
    }
}
