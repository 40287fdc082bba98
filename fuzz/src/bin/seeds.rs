//! Writes what fuzzing starts from: `seeds DIR` makes a folder for each target, and prints the targets' names.

#[path = "../../bodies.rs"]
mod bodies;

use std::path::Path;

fn main() -> std::io::Result<()> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| "corpus".into());
    for (name, body, seeds) in &bodies::TARGETS {
        let own = Path::new(&folder).join(name);
        std::fs::create_dir_all(&own)?;
        for (i, seed) in seeds().iter().enumerate() {
            assert!(body(seed), "seed {i} of {name} itself is not taken");
            std::fs::write(own.join(format!("seed-{i}")), seed)?;
        }
        println!("{name}");
    }
    Ok(())
}
