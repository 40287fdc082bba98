//! Which of cuDNN's engines compute each convolution: chosen once, and kept for a run that goes on.
//!
//! Engines differ in the order of their sums, so a run that is resumed must use those that it began with. What has been
//! chosen in this process is [`export`]ed as text beside a saved state, and [`import`]ed before the run goes on.

#![cfg_attr(not(feature = "cuda"), allow(dead_code, reason = "only a GPU chooses engines"))]

use candle_core::{Error, Result};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How the engine of a convolution that has none yet is chosen, among the deterministic ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choosing {
    /// The first one that cuDNN proposes: the same in every process on the same GPU with the same cuDNN.
    Heuristic,
    /// The fastest of those that it proposes, measured on the convolution's own numbers. Another process may choose others
    /// unless it imports the choices.
    Timed,
    /// The first one of cuDNN's interface before graphs.
    Legacy,
}

/// The environment's variable that names one of them, over what a program asks for.
const VARIABLE: &str = "SIMCLR_CUDNN";

impl FromStr for Choosing {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "heuristic" => Ok(Self::Heuristic),
            "timed" => Ok(Self::Timed),
            "legacy" => Ok(Self::Legacy),
            _ => Err(Error::Msg(format!("{VARIABLE}={text}: must be heuristic, timed or legacy"))),
        }
    }
}

/// What computes a convolution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// An algorithm of cuDNN's interface before graphs, with its math type.
    Legacy { algorithm: u32, math: u32 },
    /// An engine for graphs by its index, with kinds and values of its knobs.
    Graph { engine: i64, knobs: Vec<(u32, i64)> },
    /// None at once: the images go in so many parts.
    Parts(usize),
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Legacy { algorithm, math } => write!(f, "legacy {algorithm} {math}"),
            Self::Graph { engine, knobs } => {
                write!(f, "graph {engine}")?;
                knobs.iter().try_for_each(|(kind, value)| write!(f, " {kind}:{value}"))
            }
            Self::Parts(parts) => write!(f, "parts {parts}"),
        }
    }
}

impl FromStr for Choice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut words = text.split_whitespace();
        let mut read = || -> Option<Self> {
            let choice = match words.next()? {
                "legacy" => Self::Legacy { algorithm: words.next()?.parse().ok()?, math: words.next()?.parse().ok()? },
                "parts" => Self::Parts(words.next()?.parse().ok().filter(|parts| *parts > 1)?),
                "graph" => {
                    let engine = words.next()?.parse().ok()?;
                    let knob = |word: &str| {
                        let (kind, value) = word.split_once(':')?;
                        Some((kind.parse().ok()?, value.parse().ok()?))
                    };
                    Self::Graph { engine, knobs: words.by_ref().map(knob).collect::<Option<_>>()? }
                }
                _ => return None,
            };
            words.next().is_none().then_some(choice)
        };
        read().ok_or_else(|| Error::Msg(format!("{text:?} names no engine of cuDNN's")))
    }
}

/// How long an engine takes for one of a convolution's products.
#[derive(Clone, Debug)]
pub struct EngineTime {
    /// Forward, or which gradient.
    pub product: &'static str,
    /// The engine, as a choice of it is written.
    pub engine: String,
    /// Whether it is one of graphs, and not of the interface before them.
    pub graph: bool,
    /// Milliseconds.
    pub ms: f32,
    /// Bytes of workspace.
    pub workspace: usize,
}

/// What is chosen for which convolution, in this process.
struct Table {
    choosing: Choosing,
    chosen: BTreeMap<String, Choice>,
}

static TABLE: Mutex<Table> = Mutex::new(Table { choosing: Choosing::Heuristic, chosen: BTreeMap::new() });

fn table() -> MutexGuard<'static, Table> {
    TABLE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
thread_local! {
    /// What a test asks for, on its thread alone.
    pub(crate) static TESTED: std::cell::Cell<Option<Choosing>> = const { std::cell::Cell::new(None) };
}

/// From now on, engines are chosen so, unless the environment's `SIMCLR_CUDNN` says otherwise. What is chosen stays.
pub fn choose_by(choosing: Choosing) {
    table().choosing = choosing;
}

/// How engines are chosen.
///
/// # Errors
/// When the environment names no way.
pub(crate) fn choosing() -> Result<Choosing> {
    #[cfg(test)]
    if let Some(tested) = TESTED.get() {
        return Ok(tested);
    }
    match std::env::var(VARIABLE) {
        Ok(text) if !text.is_empty() => text.parse(),
        _ => Ok(table().choosing),
    }
}

/// What has been chosen for a convolution.
pub(crate) fn chosen(convolution: &str) -> Option<Choice> {
    table().chosen.get(convolution).cloned()
}

/// Keeps a choice; another thread's where it was faster. What counts comes back.
pub(crate) fn keep(convolution: String, choice: Choice) -> Choice {
    table().chosen.entry(convolution).or_insert(choice).clone()
}

/// Between a convolution and its choice, in text.
const BETWEEN: &str = " = ";

/// All choices, a line each: GPU and version of cuDNN, the convolution, and what computes it. Empty where there are none.
pub fn export() -> String {
    table().chosen.iter().map(|(convolution, choice)| format!("{convolution}{BETWEEN}{choice}\n")).collect()
}

/// Takes up choices that were [`export`]ed. What this process has chosen already stays; choices of another GPU or version of
/// cuDNN wait for them.
///
/// # Errors
/// When a line is none that [`export`] writes; nothing is taken up then.
pub fn import(text: &str) -> Result<()> {
    let line = |line: &str| {
        let (convolution, choice) = line
            .split_once(BETWEEN)
            .ok_or_else(|| Error::Msg(format!("{line:?} says for no convolution what computes it")))?;
        Ok((convolution.to_string(), choice.parse::<Choice>()?))
    };
    let lines: Vec<_> = text.lines().filter(|text| !text.trim().is_empty()).map(line).collect::<Result<_>>()?;
    let mut table = table();
    for (convolution, choice) in lines {
        table.chosen.entry(convolution).or_insert(choice);
    }
    Ok(())
}

/// How many convolutions are computed by what, for a log; none before the first.
pub fn summary() -> Option<String> {
    let table = table();
    let count = |kind: fn(&Choice) -> bool| table.chosen.values().filter(|choice| kind(choice)).count();
    let (graphs, legacy) =
        (count(|c| matches!(c, Choice::Graph { .. })), count(|c| matches!(c, Choice::Legacy { .. })));
    let parts = count(|c| matches!(c, Choice::Parts(_)));
    (graphs + legacy > 0).then(|| {
        format!("cuDNN: {graphs} convolutions by graphs, {legacy} by the interface before them, {parts} in parts")
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn choices_are_written_and_read() {
        let choices = [
            Choice::Legacy { algorithm: 1, math: 2 },
            Choice::Graph { engine: 62, knobs: vec![(2, 4), (17, -1)] },
            Choice::Graph { engine: 0, knobs: vec![] },
            Choice::Parts(3),
        ];
        for choice in choices {
            assert_eq!(choice.to_string().parse::<Choice>().unwrap(), choice);
        }
        for wrong in
            ["", "graph", "graph x", "graph 1 2", "graph 1 2:x", "legacy 1", "legacy 1 2 3", "parts 1", "tree 1"]
        {
            let message = wrong.parse::<Choice>().unwrap_err().to_string();
            assert!(message.contains("no engine"), "{message}");
        }
    }

    #[test]
    fn tables_are_taken_up_whole_or_not_at_all() {
        let (first, second) = ("no GPU, cuDNN 0: one of a test", "no GPU, cuDNN 0: another of a test");
        let wrong = format!("{first} = parts 2\n{second}: parts 2\n");
        let message = import(&wrong).unwrap_err().to_string();
        assert!(message.contains("says for no convolution"), "{message}");
        assert_eq!(chosen(first), None);
        import(&format!("{first} = parts 2\n\n{second} = graph 1 2:3\n")).unwrap();
        assert_eq!(chosen(first), Some(Choice::Parts(2)));
        // What is there stays.
        assert_eq!(keep(first.into(), Choice::Parts(5)), Choice::Parts(2));
        import(&format!("{first} = parts 7\n")).unwrap();
        for line in [format!("{first} = parts 2"), format!("{second} = graph 1 2:3")] {
            assert!(export().lines().any(|exported| exported == line), "{}", export());
        }
    }

    #[test]
    fn ways_to_choose_have_names() {
        for (name, way) in
            [("heuristic", Choosing::Heuristic), ("timed", Choosing::Timed), ("legacy", Choosing::Legacy)]
        {
            assert_eq!(name.parse::<Choosing>().unwrap(), way);
        }
        assert!("best".parse::<Choosing>().unwrap_err().to_string().contains("heuristic, timed or legacy"));
    }
}
