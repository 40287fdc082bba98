//! Recomputation and chunks lower the peak of memory, measured by the bench.
#![allow(clippy::unwrap_used, missing_docs)]

use std::process::Command;

/// Peak memory in MiB and the loss of some steps of a small ResNet-50.
fn step(more: &[&str]) -> (f64, f64) {
    let shape = "step --depth 50 --width 0.25 --image-size 32 --batch 64 --steps 1 --threads 2";
    let mut bench = Command::new(env!("CARGO_BIN_EXE_simclr-bench"));
    let output = bench.args(shape.split(' ')).args(more).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let line: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    (line["peak_rss_mib"].as_f64().unwrap(), line["loss"].as_f64().unwrap())
}

#[test]
fn less_memory_for_the_same_step() {
    let (kept, loss) = step(&[]);
    let (recomputed, same) = step(&["--recompute"]);
    assert_eq!(loss, same, "three steps gave the same bits");
    let (chunked, _) = step(&["--chunk", "16"]);
    assert!(recomputed < 0.7 * kept, "recomputed {recomputed} MiB, kept {kept} MiB");
    assert!(chunked < 0.7 * kept, "in chunks {chunked} MiB, at once {kept} MiB");
}
