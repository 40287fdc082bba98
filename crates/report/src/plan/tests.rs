//! Which jobs a config asks for, in which order, with which arguments.
#![allow(clippy::unwrap_used)]

use super::*;

fn config(set: &[&str]) -> Config {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/cifar10.toml");
    Config::load(&path, &set.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap()
}

fn ids(jobs: &[Job]) -> Vec<&str> {
    jobs.iter().map(|j| j.id.as_str()).collect()
}

#[test]
fn teachers_come_before_their_students() {
    let jobs = jobs(&config(&["reproduce.labels=[0.1]", "reproduce.subsets=2"]), Path::new("out")).unwrap();
    let expected = "labels-0.1/subset-0/supervised labels-0.1/subset-1/supervised pretrain eval \
        labels-0.1/subset-0/finetuned labels-0.1/subset-0/distilled-self labels-0.1/subset-0/distilled-small \
        labels-0.1/subset-1/finetuned labels-0.1/subset-1/distilled-self labels-0.1/subset-1/distilled-small";
    assert_eq!(ids(&jobs).join(" "), expected);
    let small = jobs.iter().find(|j| j.id.ends_with("subset-1/distilled-small")).unwrap();
    let args = "--teacher out/labels-0.1/subset-1/distilled-self --student small --labels 0.1 --subset 1";
    assert_eq!(small.args.join(" "), args);
    assert_eq!(small.program, "simclr-distill");
}

#[test]
fn without_labels_pretraining_alone_runs() {
    assert_eq!(ids(&jobs(&config(&["reproduce.labels=[]"]), Path::new("out")).unwrap()), ["pretrain"]);
}

#[test]
fn all_labels_are_one_set() {
    let jobs = jobs(&config(&["reproduce.labels=[1.0]", "reproduce.subsets=3"]), Path::new("out")).unwrap();
    assert_eq!(jobs.iter().filter(|j| j.id.ends_with("/finetuned")).count(), 1);
    assert!(jobs.iter().any(|j| j.id == "labels-1/subset-0/finetuned"));
}

#[test]
fn a_circle_of_teachers_is_an_error() {
    let mut circle = config(&[]);
    circle.distill.get_mut("self").unwrap().teacher = "small".into();
    let message = jobs(&circle, Path::new("out")).unwrap_err().to_string();
    assert!(message.contains("circle") && message.contains("self from small"), "{message}");
}

#[test]
fn a_new_stage_is_one_entry_of_the_table() {
    static WITH_ONE_MORE: [Stage; 2] = [
        Stage {
            name: "adapt",
            program: "simclr-adapt",
            title: "adapted",
            each: Each::LabelSet,
            args: &[Arg::Word("--from"), Arg::Run(stages::PRETRAIN)],
            work: Work::Train { views: 2.0 },
            rows: &[stages::Row { key: "", name: "adapted", title: "Adapted" }],
            curves: ["loss", "test top-1"],
            summary: "adapted to {labels} of {data}",
        },
        Stage {
            name: "weigh",
            program: "simclr-weigh",
            title: "weighing",
            each: Each::Experiment,
            args: &[],
            work: Work::Measure,
            rows: &[],
            curves: ["loss", "test top-1"],
            summary: "",
        },
    ];
    let mut config = config(&["reproduce.labels=[0.1]", "reproduce.subsets=1"]);
    let table = "training = { length = { steps = 10 }, batch = 8, learning_rate = 0.1 }";
    config.stage.insert("adapt".into(), table.parse().unwrap());
    let jobs = jobs_of(&WITH_ONE_MORE, &config, Path::new("out"), None).unwrap();
    assert_eq!(ids(&jobs), ["labels-0.1/subset-0/adapted", "weigh"]);
    assert_eq!((jobs[0].title.as_str(), jobs[0].program.as_str()), ("adapted, 10 % of the labels", "simclr-adapt"));
    assert_eq!(jobs[0].args.join(" "), "--from out/pretrain --labels 0.1 --subset 0");
    assert_eq!(jobs[0].row.as_ref().unwrap().method.to_string(), "adapted");
    assert!(jobs.iter().all(|job| job.cost > 0.0));
}

#[test]
fn images_are_those_of_the_table() {
    let cost = |set: &[&str]| {
        let jobs = jobs(&config(set), Path::new("out")).unwrap();
        jobs.iter().find(|j| j.id == "pretrain").unwrap().cost
    };
    for (name, ratio) in [("cifar100", 1.0), ("fashion-mnist", 1.2), ("stl10", 2.1), ("textures", 0.2)] {
        let got = cost(&[&format!("data.dataset=\"{name}\"")]) / cost(&[]);
        assert!((got / ratio - 1.0).abs() < 0.01, "{name}: {got} times the work of CIFAR-10, expected {ratio}");
    }
    let message = jobs(&config(&["data.dataset=\"cifar-10\""]), Path::new("out")).unwrap_err().to_string();
    assert!(message.contains("must be one of textures"), "{message}");
}

#[test]
fn cost_follows_the_length_and_the_network() {
    let cost = |set: &[&str], id: &str| {
        let jobs = jobs(&config(set), Path::new("out")).unwrap();
        jobs.iter().find(|j| j.id == id).unwrap().cost
    };
    let once = cost(&["pretrain.training.length={epochs=10}"], "pretrain");
    let twice = cost(&["pretrain.training.length={steps=1952}"], "pretrain");
    assert!((twice / once - 2.0).abs() < 1e-9, "{once} {twice}");
    let wide = cost(&["pretrain.training.length={epochs=10}", "model.width=2.0"], "pretrain");
    assert!(wide > 3.0 * once && wide < 4.5 * once, "{once} {wide}");
}
