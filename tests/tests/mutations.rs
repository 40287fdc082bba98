//! Own parsers on damaged input: an error or a result, and no panic. These are the targets of `fuzz/`, on seeded mutations.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../../fuzz/bodies.rs"]
mod bodies;

use simclr_core::rng::{Purpose, Rng};
use simclr_data::parse_list;
use simclr_data::source::parquet;

/// Changes, repeats, drops and inserts a few bytes.
fn mutate(bytes: &mut Vec<u8>, rng: &mut Rng) {
    for _ in 0..=rng.below(4) {
        let at = rng.below(bytes.len().max(1)).min(bytes.len());
        match rng.below(5) {
            0 if at < bytes.len() => bytes[at] = rng.next_u64() as u8,
            1 if at < bytes.len() => bytes[at] ^= 1 << rng.below(8),
            2 => bytes.insert(at, b"{}.*0129-+\xff\0\n"[rng.below(13)]),
            3 => bytes.truncate(at),
            _ => bytes.extend_from_within(at..(at + 7).min(bytes.len())),
        }
    }
}

/// Runs `parse` on mutations of `seeds`; tells how many of them it took.
fn accepted(seeds: &[&[u8]], rounds: usize, parse: impl Fn(&[u8]) -> bool) -> usize {
    let mut rng = Rng::stream(seeds.len() as u64, Purpose::Test, &[rounds as u64]);
    assert!(seeds.iter().all(|seed| parse(seed)), "a seed itself is not taken");
    let once = |round: usize| {
        let mut bytes = seeds[round % seeds.len()].to_vec();
        mutate(&mut bytes, &mut rng);
        parse(&bytes)
    };
    (0..rounds).map(once).filter(|taken| *taken).count()
}

/// Mutations reach both the errors and what comes after them.
fn both(taken: usize, rounds: usize) {
    assert!(taken > 0 && taken < rounds, "{taken} of {rounds} were taken");
}

/// How many mutations of its seeds each target sees: as many as take a second or two.
const ROUNDS: [(&str, usize); 11] = [
    ("idx", 20_000),
    ("cifar", 300),
    ("stl10", 5000),
    ("lists", 20_000),
    ("patterns", 20_000),
    ("labels", 20_000),
    ("pictures", 16_000),
    ("config", 2000),
    ("checkpoint", 300),
    ("tensorflow", 300),
    ("tar", 400),
];

fn mutated(names: &[&str]) {
    for name in names {
        let (_, body, seeds) = bodies::named(name).unwrap();
        let (seeds, rounds) = (seeds(), ROUNDS.iter().find(|(own, _)| own == name).unwrap().1);
        let all: Vec<&[u8]> = seeds.iter().map(Vec::as_slice).collect();
        let each = rounds / all.len();
        for seed in all {
            let taken = accepted(&[seed], each, body);
            // Each seed by itself reaches what is taken and what is not; checksums of TensorFlow let hardly anything pass.
            if *name == "tensorflow" { assert!(taken < each) } else { both(taken, each) }
        }
    }
}

#[test]
fn every_target_is_here() {
    let names: Vec<&str> = bodies::TARGETS.iter().map(|target| target.0).collect();
    assert_eq!(names, ROUNDS.map(|(name, _)| name));
}

#[test]
fn pictures() {
    mutated(&["pictures"]);
}

#[test]
fn images_in_memory() {
    mutated(&["idx", "cifar", "stl10"]);
}

#[test]
fn lists_patterns_and_labels() {
    let list = b"n01440764_10026.JPEG\nn01440764_10027.JPEG\r\n\n  val/x_n01440764.png";
    assert_eq!(parse_list(list).unwrap(), ["n01440764_10026.JPEG", "n01440764_10027.JPEG", "val/x_n01440764.png"]);
    assert!(parse_list(b"").is_err() && parse_list(b"\n \n").is_err());
    mutated(&["lists", "patterns", "labels"]);
}

#[test]
fn names_of_classes() {
    let names: &[u8] = br#"{"info": {"features": {"label": {"names": ["a", "b"]}}}}"#;
    let parse =
        |bytes: &[u8]| std::str::from_utf8(bytes).is_ok_and(|t| parquet::parse_class_names(t, "label").is_some());
    both(accepted(&[names], 20_000, parse), 20_000);
}

#[test]
fn experiments() {
    mutated(&["config"]);
}

#[test]
fn checkpoints() {
    mutated(&["checkpoint", "tensorflow"]);
}

#[test]
fn shards() {
    mutated(&["tar"]);
}
