//! x
fn main() {
    for _ in 0..3 {
        let t = std::time::Instant::now();
        let n = simclr_data::sources::textures::split(0, 10000).len();
        println!("textures {} /s on all", n as f64 / t.elapsed().as_secs_f64());
        for s in [32, 96, 224] {
            println!("{s} {}", simclr_data::bench::bench_augment(s, if s > 32 { 200 } else { 20000 }, 1).unwrap());
        }
    }
}
