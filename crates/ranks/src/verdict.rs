//! What is told where ranks have failed: one message, of the rank that failed first, or of all that made the same mistake.

/// The message, of what each rank has reported; `first` was heard first, and `place` is where it ran, such as ` on node-3`.
pub fn verdict(reports: &[Option<String>], first: usize, place: &str) -> String {
    let why = reports[first].clone().unwrap_or_default();
    let told = || reports.iter().flatten();
    // Those that are late have met it, too.
    if reports[0].is_some() && told().count() > 1 && told().all(|report| *report == why) {
        return why;
    }
    format!("rank {first} of {}{place}: {why}", reports.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_message_names_who_failed() {
        let told = |all: [&str; 4], first| {
            let reports = all.map(|text| (!text.is_empty()).then(|| text.to_string()));
            verdict(&reports, first, " on b")
        };
        assert_eq!(told(["", "", "no disk", ""], 2), "rank 2 of 4 on b: no disk");
        assert_eq!(told(["no key", "no key", "no key", "no key"], 3), "no key");
        assert_eq!(told(["no key", "no key", "", "no key"], 3), "no key");
        assert_eq!(told(["no disk", "", "", ""], 0), "rank 0 of 4 on b: no disk");
        assert_eq!(told(["", "no disk", "", "no disk"], 1), "rank 1 of 4 on b: no disk");
        assert_eq!(told(["come apart", "no disk", "", ""], 1), "rank 1 of 4 on b: no disk");
    }
}
