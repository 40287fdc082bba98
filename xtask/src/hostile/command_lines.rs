//! Options that are none, or out of their range, and outputs that nobody reads.

use super::case::{Case, Expect, Output, Seeds, accepted, either, refused, write};
use anyhow::Result;

/// What every stage takes.
const STAGES: [(&str, &str); 4] = [
    ("simclr-pretrain", ""),
    ("simclr-finetune", "--from scratch --labels 1"),
    ("simclr-distill", "--teacher {seeds}/finetuned --student self"),
    ("simclr-eval", "--checkpoint {seeds}/finetuned"),
];

/// Options of every stage with what is wrong, and what the message must name.
const OPTIONS: &[(&str, &str)] = &[
    ("--threads 0", "--threads"),
    ("--threads=-1", "--threads"),
    ("--threads many", "--threads"),
    ("--threads 100000", "--threads"),
    ("--threads 18446744073709551615", "--threads"),
    ("--ranks 0", "--ranks"),
    ("--ranks=-1", "--ranks"),
    ("--ranks 100000", "--ranks"),
    ("--device gpu", "--device"),
    ("--device cuda:x", "--device"),
    ("--device cuda:99999999999999999999", "--device"),
    ("--device cuda:9999", "--device"),
    ("--dtype f8", "--dtype"),
    ("--progress loud", "--progress"),
    ("--set", "--set"),
    ("--nonsense", "--nonsense"),
    ("--config nowhere.toml", "nowhere.toml|--config"),
    ("--extend --out {dir}/nothing", "--extend|--out"),
    ("--out /proc/nowhere", "/proc/nowhere|--out"),
    ("--out /dev/null", "/dev/null|--out"),
    ("--out {seeds}/hostile.toml", "hostile.toml|--out"),
];

/// Lines of single programs.
const LINES: &[(&str, &str, &str)] = &[
    (
        "simclr-eval",
        "embed --checkpoint {seeds}/finetuned --images {seeds}/pictures --device cpu --out x.csv --layer 99",
        "--layer",
    ),
    (
        "simclr-eval",
        "embed --checkpoint {seeds}/finetuned --images {seeds}/pictures --device cpu --out x.csv --layer -9223372036854775808",
        "--layer",
    ),
    (
        "simclr-eval",
        "embed --checkpoint {seeds}/finetuned --images {seeds}/pictures --device cpu --out x.csv --layer 9223372036854775807",
        "--layer",
    ),
    (
        "simclr-eval",
        "embed --checkpoint {seeds}/finetuned --images {seeds}/pictures --device cpu --out x.csv --batch 0",
        "--batch",
    ),
    (
        "simclr-eval",
        "embed --checkpoint {seeds}/finetuned --images {seeds}/pictures --device cpu --out x.csv --batch 18446744073709551615",
        "--batch",
    ),
    (
        "simclr-eval",
        "embed --checkpoint {seeds}/finetuned --images {seeds}/pictures --device cpu --out x.csv --image-size 0",
        "--image-size",
    ),
    (
        "simclr-eval",
        "embed --checkpoint {seeds}/finetuned --images {seeds}/pictures --device cpu --out x.csv --image-size 1000000000",
        "--image-size",
    ),
    (
        "simclr-eval",
        "embed --checkpoint {seeds}/finetuned --images {seeds}/pictures --device cpu --out x.csv --threads 100000",
        "--threads",
    ),
    ("simclr-eval", "embed --checkpoint {seeds}/finetuned --images {seeds}/pictures --device cpu --out x.txt", "x.txt"),
    (
        "simclr-eval",
        "embed --checkpoint {seeds}/finetuned --images {seeds}/pictures --device cpu --out /proc/x.csv",
        "/proc/x.csv",
    ),
    ("simclr-eval", "embed --checkpoint {seeds}/finetuned --images {dir}/nothing --device cpu --out x.csv", "nothing"),
    ("simclr-eval", "embed --checkpoint {seeds}/finetuned --images [ --device cpu --out x.csv", "["),
    ("simclr-eval", "embed --checkpoint {seeds}/finetuned --images - --device cpu --out x.csv", "standard input"),
    (
        "simclr-eval",
        "embed --checkpoint {seeds}/finetuned --images /dev/zero --device cpu --out x.csv --strict",
        "/dev/zero",
    ),
    ("simclr-eval", "embed --checkpoint {seeds}/finetuned --device cpu --out x.csv", "--images"),
    ("simclr-eval", "embed --checkpoint {seeds}/nothing --images {seeds}/pictures --device cpu --out x.csv", "nothing"),
    ("simclr-eval", "embed --checkpoint {seeds} --images {seeds}/pictures --device cpu --out x.csv", "seeds"),
    (
        "simclr-eval",
        "embed --checkpoint {seeds}/hostile.toml --images {seeds}/pictures --device cpu --out x.csv",
        "hostile.toml",
    ),
    ("simclr-eval", "embed --checkpoint hf:// --images {seeds}/pictures --device cpu --out x.csv", "hf://"),
    ("simclr-eval", "embed --checkpoint hf://a --images {seeds}/pictures --device cpu --out x.csv", "hf://a"),
    ("simclr-eval", "embed --checkpoint hf://../.. --images {seeds}/pictures --device cpu --out x.csv", "../.."),
    ("simclr-eval", "embed --checkpoint hf://a/b/c --images {seeds}/pictures --device cpu --out x.csv", "hf://"),
    ("simclr-eval", "embed --checkpoint hf://a/b@../../x --images {seeds}/pictures --device cpu --out x.csv", "hf://"),
    ("simclr-eval", "classify --checkpoint {seeds}/finetuned --images {seeds}/pictures --device cpu --top 0", "--top"),
    ("simclr-eval", "classify --checkpoint {seeds}/finetuned --images {seeds}/pictures --device cpu --top 5", "--top"),
    (
        "simclr-eval",
        "classify --checkpoint {seeds}/finetuned --images {seeds}/pictures --device cpu --top 18446744073709551616",
        "--top",
    ),
    (
        "simclr-eval",
        "classify --checkpoint {seeds}/finetuned --images {seeds}/pictures --device cpu --names nowhere.txt",
        "nowhere.txt",
    ),
    (
        "simclr-eval",
        "classify --checkpoint {seeds}/finetuned --images {seeds}/pictures --device cpu --names /dev/zero",
        "/dev/zero",
    ),
    (
        "simclr-eval",
        "classify --checkpoint {seeds}/finetuned --images {seeds}/pictures --device cpu --names {seeds}/hostile.toml",
        "hostile.toml",
    ),
    (
        "simclr-eval",
        "classify --checkpoint {seeds}/finetuned --images {seeds}/pictures --device cpu --names /dev/null",
        "/dev/null",
    ),
    ("simclr-eval", "publish {seeds}/finetuned --repo a --dry-run", "--repo"),
    ("simclr-eval", "publish {seeds}/finetuned --repo a/b/c --dry-run", "--repo"),
    ("simclr-eval", "publish {seeds}/finetuned --repo ../.. --dry-run", "--repo"),
    ("simclr-eval", "publish {seeds}/finetuned --repo / --dry-run", "--repo"),
    ("simclr-eval", "publish {seeds}/finetuned --dry-run", "--repo"),
    ("simclr-eval", "publish {dir}/nothing --repo a/b --dry-run", "nothing"),
    ("simclr-eval", "publish {seeds}/measured --repo a/b --dry-run", "measured"),
    ("simclr-eval", "inspect-data --config nowhere.toml", "nowhere.toml"),
    ("simclr-eval", "inspect-data --config {seeds}/hostile.toml --check=-1", "--check"),
    ("simclr-eval", "inspect-data --config {seeds}/hostile.toml --threads 0", "--threads"),
    ("simclr-eval", "inspect-data --config {seeds}/hostile.toml --threads 100000", "--threads"),
    ("simclr-eval", "plan --config {seeds}/hostile.toml", "--out|--run"),
    ("simclr-eval", "plan --config nowhere.toml --out x", "nowhere.toml"),
    ("simclr-eval", "plan --config {seeds}/idx --out x", "idx"),
    ("simclr-eval", "report --config {seeds}/hostile.toml --run {dir}/nothing", "nothing"),
    ("simclr-eval", "report --config nowhere.toml --run {dir}", "nowhere.toml"),
    ("simclr-eval", "review --config {seeds}/hostile.toml --run {dir}/nothing", "nothing"),
    ("simclr-eval", "estimate --config nowhere.toml --run x", "nowhere.toml"),
    ("simclr-eval", "estimate --config {seeds}/hostile.toml --run x --gpus 0", "--gpus"),
    ("simclr-eval", "estimate --config {seeds}/hostile.toml --run x --gpus 18446744073709551615", "--gpus"),
    ("simclr-eval", "nonsense", "nonsense"),
    ("simclr-eval", "--checkpoint {seeds}/nothing --config {seeds}/hostile.toml --device cpu --out x", "nothing"),
    ("simclr-pretrain", "--estimate --config {seeds}/hostile.toml --gpus 0", "--gpus"),
    ("simclr-pretrain", "--estimate --config {seeds}/hostile.toml --images 0", "--images"),
    ("simclr-pretrain", "--estimate --config {seeds}/hostile.toml --gpus 1000000000", "--gpus"),
    ("simclr-pretrain", "--config {seeds}/hostile.toml", "--out"),
    ("simclr-pretrain", "--out x", "--config"),
    ("simclr-pretrain", "--config {seeds}/hostile.toml --device cpu --out x --from {dir}/nothing", "nothing"),
    (
        "simclr-finetune",
        "--config {seeds}/hostile.toml --device cpu --out x --from {dir}/nothing --labels 1",
        "nothing",
    ),
    ("simclr-finetune", "--config {seeds}/hostile.toml --device cpu --out x --from scratch --labels -1", "--labels"),
    ("simclr-finetune", "--config {seeds}/hostile.toml --device cpu --out x --from scratch --labels 1e300", "--labels"),
    (
        "simclr-finetune",
        "--config {seeds}/hostile.toml --device cpu --out x --from scratch --labels 0-per-class",
        "--labels",
    ),
    (
        "simclr-finetune",
        "--config {seeds}/hostile.toml --device cpu --out x --from scratch --labels 99999999999999999999-per-class",
        "--labels",
    ),
    (
        "simclr-finetune",
        "--config {seeds}/hostile.toml --device cpu --out x --from scratch --labels 1 --subset=-1",
        "--subset",
    ),
    (
        "simclr-finetune",
        "--config {seeds}/hostile.toml --device cpu --out x --from scratch --labels 1 --subset 1e3",
        "--subset",
    ),
    (
        "simclr-distill",
        "--config {seeds}/hostile.toml --device cpu --out x --teacher {seeds}/pretrained --student nobody",
        "nobody",
    ),
    (
        "simclr-distill",
        "--config {seeds}/hostile.toml --device cpu --out x --teacher {dir}/nothing --student self",
        "nothing",
    ),
    ("simclr-import-tf", "{dir}/nothing --out x", "nothing"),
    ("simclr-import-tf", "{seeds}/hostile.toml --out x", "hostile.toml"),
    ("simclr-import-tf", "{seeds}/tf1/model.ckpt-250228", "--out"),
    ("simclr-import-tf", "{seeds}/tf1/model.ckpt-250228 --out {seeds}/hostile.toml", "hostile.toml"),
    ("simclr-import-tf", "{seeds}/tf1/model.ckpt-250228 --out /proc/nowhere", "/proc/nowhere"),
    ("simclr-import-torch", "{dir}/nothing --out x", "nothing"),
    ("simclr-import-torch", "{seeds}/hostile.toml --out x", "hostile.toml"),
    ("simclr-import-torch", "/dev/zero --out x", "/dev/zero"),
    ("simclr-import-torch", "{seeds}/finetuned --out x", "finetuned"),
];

/// Lines that print, with nobody to read them.
const PRINTED: &[(&str, &str)] = &[
    ("simclr-eval", "classify --checkpoint {seeds}/finetuned --images {seeds}/pictures --device cpu"),
    ("simclr-eval", "plan --config {seeds}/hostile.toml --out x"),
    ("simclr-eval", "estimate --config {seeds}/hostile.toml --run x"),
    ("simclr-eval", "publish {seeds}/finetuned --repo a/b --dry-run"),
    ("simclr-eval", "--checkpoint {seeds}/finetuned --config {seeds}/hostile.toml --device cpu --out x"),
    ("simclr-pretrain", "--config {seeds}/hostile.toml --device cpu --out x --progress json"),
    ("simclr-pretrain", "--estimate --config {seeds}/hostile.toml"),
    ("simclr-finetune", "--config {seeds}/hostile.toml --device cpu --out x --from scratch --labels 1 --progress json"),
    ("simclr-import-tf", "{seeds}/tf1/model.ckpt-250228 --out x"),
    ("simclr-eval", "--help"),
    ("simclr-pretrain", "--version"),
];

/// All cases.
///
/// # Errors
/// None so far.
pub fn cases(seeds: &Seeds) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for (program, own) in STAGES {
        let common = "--config {seeds}/hostile.toml --device cpu --out {dir}/out";
        for (option, part) in OPTIONS {
            // An option that is given again replaces nothing: it is given in the place of the common one.
            let taken = option.split(' ').find(|word| ["--config", "--device", "--out"].contains(word));
            let rest: Vec<&str> = common
                .split(' ')
                .collect::<Vec<_>>()
                .chunks(2)
                .filter(|pair| Some(pair[0]) != taken)
                .flatten()
                .copied()
                .collect();
            let line = format!("{} {option} {own}", rest.join(" "));
            cases.push(case(seeds, &format!("{program}-{option}"), program, refused(&[part]), line, Output::Kept));
        }
    }
    for (i, (program, line, part)) in LINES.iter().enumerate() {
        let short: Vec<&str> = line.split(' ').filter(|word| !word.starts_with("{seeds}")).collect();
        let name = format!("{i}-{program}-{}", short.join("-").replace("--device-cpu-", ""));
        cases.push(case(seeds, &name, program, refused(&[part]), line.to_string(), Output::Kept));
    }
    for (i, (program, line)) in PRINTED.iter().enumerate() {
        let name = format!("printed-{i}-{program}-{}", line.split(' ').next().unwrap_or_default());
        cases.push(case(seeds, &format!("{name}-control"), program, accepted(), line.to_string(), Output::Kept));
        // Whoever closes a pipe has seen enough; a full disk is an error where the output is the result.
        cases.push(case(seeds, &format!("{name}-closed"), program, either(&[""]), line.to_string(), Output::Closed));
        let expect =
            if line.starts_with("classify") { refused(&["standard output|stdout|output"]) } else { either(&[""]) };
        cases.push(case(seeds, &format!("{name}-full"), program, expect, line.to_string(), Output::Full));
    }
    Ok(cases)
}

fn case(seeds: &Seeds, name: &str, program: &'static str, expect: Expect, line: String, output: Output) -> Case {
    let seeds = seeds.path("");
    Case::new("command-line", name, program, expect, move |dir| {
        write(&dir.join("here.txt"), "")?;
        let line = line.replace("{seeds}", seeds.trim_end_matches('/')).replace("{dir}", &dir.display().to_string());
        Ok(super::case::words(&line))
    })
    .with_output(output)
}
