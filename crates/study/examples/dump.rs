fn main() {
    let dir = std::path::PathBuf::from(std::env::args().nth(1).unwrap());
    let all: Vec<_> = simclr_study::testing::STUDIES.iter().map(|s| simclr_study::testing::outcome(s)).collect();
    for o in &all {
        std::fs::write(dir.join(simclr_study::page::file(o)), simclr_study::page::html(o, std::path::Path::new("none"), &[simclr_study::testing::look()]).unwrap()).unwrap();
    }
    std::fs::write(dir.join("index.html"), simclr_study::page::index(&all).unwrap()).unwrap();
}
