//! The stages of the method, in one table: what each is called, which program runs it, where a plan puts it, and what is
//! reported of it.
//!
//! A new stage is a crate with a program and an entry here. This file uses the standard library alone: `cargo xtask`, which
//! links none of our crates, includes it.

use std::fmt;

/// The baseline of step two: the same network from scratch.
pub const SUPERVISED: &str = "supervised";
/// Step one.
pub const PRETRAIN: &str = "pretrain";
/// What measures the features of step one.
pub const EVAL: &str = "eval";
/// Step two.
pub const FINETUNE: &str = "finetune";
/// Step three.
pub const DISTILL: &str = "distill";

/// The program that also plans experiments, writes their reports and publishes checkpoints.
pub const TOOL: &str = "simclr-eval";
/// What an experiment calls the network of step two, as a row of the results and as a teacher.
pub const FINETUNED: &str = "finetuned";
/// The student that has its teacher's network.
const SELF: &str = "self";

/// One stage.
#[derive(Debug, PartialEq)]
pub struct Stage {
    /// In manifests and results, and the name of its table in an experiment.
    pub name: &'static str,
    /// Its program, and the package of the same name.
    pub program: &'static str,
    /// What a list of jobs calls it; `{student}` stands for the student's name.
    pub title: &'static str,
    /// What a plan runs it once for.
    pub each: Each,
    /// Its options in a plan, but for those of every stage and the label set.
    pub args: &'static [Arg],
    /// What it computes.
    pub work: Work,
    /// The accuracies that it measures.
    pub rows: &'static [Row],
    /// What its curves of loss and of accuracy are called.
    pub curves: [&'static str; 2],
    /// What a model card says of its checkpoint, behind "A ResNet-50, "; `{labels}` stands for how many labels,
    /// `{data}` for the dataset, `{method}` for SimCLRv2.
    pub summary: &'static str,
}

/// What a stage is run once for. A *label set* is a subset of the labels, of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Each {
    /// The experiment.
    Experiment,
    /// A label set.
    LabelSet,
    /// A student on a label set.
    Student,
}

/// A word of a command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arg {
    /// The word itself.
    Word(&'static str),
    /// The run of another stage that is run once for the experiment.
    Run(&'static str),
    /// The run of the student's teacher on the same label set.
    Teacher,
    /// The student's name.
    Student,
}

/// What a stage computes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Work {
    /// It trains on so many views of each image, by the key `training` of its table, and leaves a checkpoint.
    Train {
        /// Views of an image in a batch.
        views: f64,
    },
    /// It measures another stage's checkpoint.
    Measure,
}

/// An accuracy that a stage measures: a row of an experiment's results.
#[derive(Debug, PartialEq)]
pub struct Row {
    /// The key of `result.json` that holds `top1` and `top5`; empty where they stand at its root: the accuracy of the
    /// stage's own checkpoint.
    pub key: &'static str,
    /// In `results.json`.
    pub name: &'static str,
    /// For people.
    pub title: &'static str,
}

const CURVES: [&str; 2] = ["loss", "test top-1"];

/// Every stage, in the order of a plan. Neighbours that are run for each label set take turns: all of them on one set, then
/// all on the next.
pub static STAGES: &[Stage] = &[
    Stage {
        name: SUPERVISED,
        program: "simclr-finetune",
        title: "supervised from scratch",
        each: Each::LabelSet,
        args: &[Arg::Word("--from"), Arg::Word("scratch")],
        work: Work::Train { views: 1.0 },
        rows: &[Row { key: "", name: "supervised", title: "Supervised from scratch" }],
        curves: CURVES,
        summary: "trained on {labels} of {data} from scratch: the baseline that {method} is compared with",
    },
    Stage {
        name: PRETRAIN,
        program: "simclr-pretrain",
        title: "pretraining",
        each: Each::Experiment,
        args: &[],
        work: Work::Train { views: 2.0 },
        rows: &[],
        // The accuracy is that of a head that reads the features and does not shape them.
        curves: ["contrastive loss", "test top-1 of the online head"],
        summary: "pretrained on {data} without labels: step one of {method}",
    },
    Stage {
        name: EVAL,
        program: TOOL,
        title: "linear probe and nearest neighbours",
        each: Each::Experiment,
        args: &[Arg::Word("--checkpoint"), Arg::Run(PRETRAIN), Arg::Word("--linear"), Arg::Word("--knn")],
        work: Work::Measure,
        rows: &[
            Row { key: "linear", name: "linear-eval", title: "Linear probe" },
            Row { key: "knn", name: "knn", title: "Nearest neighbours" },
        ],
        curves: ["loss of the linear probe", "test top-1 of the linear probe"],
        summary: "",
    },
    Stage {
        name: FINETUNE,
        program: "simclr-finetune",
        title: "fine-tuned",
        each: Each::LabelSet,
        args: &[Arg::Word("--from"), Arg::Run(PRETRAIN)],
        work: Work::Train { views: 1.0 },
        rows: &[Row { key: "", name: FINETUNED, title: "Pretrained, fine-tuned" }],
        curves: CURVES,
        summary: "fine-tuned on {labels} of {data} from the checkpoint named below: step two of {method}",
    },
    Stage {
        name: DISTILL,
        program: "simclr-distill",
        title: "student `{student}`",
        each: Each::Student,
        args: &[Arg::Word("--teacher"), Arg::Teacher, Arg::Word("--student"), Arg::Student],
        work: Work::Train { views: 1.0 },
        rows: &[Row { key: "", name: "distilled", title: "Distilled" }],
        curves: CURVES,
        summary: "distilled on {data} from the teacher named below: step three of {method}",
    },
];

/// The stage called `name`.
pub fn named(name: &str) -> Option<&'static Stage> {
    STAGES.iter().find(|stage| stage.name == name)
}

/// The programs of all stages, each once.
pub fn programs() -> Vec<&'static str> {
    let mut programs: Vec<_> = STAGES.iter().map(|stage| stage.program).collect();
    programs.sort_unstable();
    programs.dedup();
    programs
}

impl Stage {
    /// The row of its own checkpoint's accuracy; none where the checkpoint's classifier only watches.
    pub fn own_row(&self) -> Option<&'static Row> {
        self.rows.iter().find(|row| row.key.is_empty())
    }

    /// What its run is called: a folder of the experiment, or of a label set.
    pub fn folder(&self, student: Option<&str>) -> String {
        Method::join(self.own_row().map_or(self.name, |row| row.name), student)
    }

    /// The stage whose checkpoint it measures.
    pub fn measured(&self) -> Option<&'static str> {
        let mut runs = self.args.iter().filter_map(|arg| if let Arg::Run(stage) = arg { Some(*stage) } else { None });
        (self.work == Work::Measure).then(|| runs.next())?
    }
}

/// What a row of the results is about.
#[derive(Clone, Debug, PartialEq)]
pub struct Method {
    /// What measured it.
    pub stage: &'static Stage,
    /// Which of the accuracies that the stage measures.
    pub row: &'static Row,
    /// The student, of a stage that has students.
    pub student: Option<String>,
}

impl Method {
    /// All that an experiment's results hold of the checkpoint of `stage`: what it measured itself and what others
    /// measured of it.
    pub fn of(stage: &'static Stage, student: Option<&str>) -> Vec<Self> {
        let about = STAGES.iter().filter(|other| other.name == stage.name || other.measured() == Some(stage.name));
        let methods = about.flat_map(|stage| {
            stage.rows.iter().map(move |row| Self { stage, row, student: student.map(String::from) })
        });
        methods.collect()
    }

    /// For people: `Distilled: small`.
    pub fn title(&self) -> String {
        match self.student.as_deref() {
            None => self.row.title.into(),
            Some(SELF) => format!("{}: same network", self.row.title),
            Some(student) => format!("{}: {student}", self.row.title),
        }
    }

    fn join(name: &str, student: Option<&str>) -> String {
        student.map_or_else(|| name.into(), |student| format!("{name}-{student}"))
    }
}

/// The name in `results.json`: `finetuned`, `distilled-small`, `knn`.
impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Self::join(self.row.name, self.student.as_deref()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_different_and_lead_somewhere() {
        for names in [
            STAGES.iter().map(|stage| stage.name).collect::<Vec<_>>(),
            STAGES.iter().map(|stage| stage.folder(None)).map(|name| &*name.leak()).collect(),
            STAGES.iter().flat_map(|stage| stage.rows).map(|row| row.name).collect(),
        ] {
            assert!(names.iter().enumerate().all(|(i, name)| !names[..i].contains(name)), "{names:?}");
        }
        for arg in STAGES.iter().flat_map(|stage| stage.args) {
            // The path of a run for each label set would need to know which.
            let known = |name| named(name).is_some_and(|stage| stage.each == Each::Experiment);
            assert!(!matches!(arg, Arg::Run(name) if !known(name)), "{arg:?}");
        }
        let programs = programs();
        assert!(programs.is_sorted() && STAGES.iter().all(|stage| programs.contains(&stage.program)), "{programs:?}");
        assert!(programs.windows(2).all(|pair| pair[0] != pair[1]), "each once: {programs:?}");
    }

    #[test]
    fn rows_are_called_after_stage_and_student() {
        let of = |name: &str, student: Option<&str>| {
            let methods = Method::of(named(name).expect("a stage"), student);
            methods.iter().map(|m| (m.to_string(), m.title())).collect::<Vec<_>>()
        };
        let pair = |name: &str, title: &str| (name.to_string(), title.to_string());
        assert_eq!(of(PRETRAIN, None), [pair("linear-eval", "Linear probe"), pair("knn", "Nearest neighbours")]);
        assert_eq!(of(FINETUNE, None), [pair("finetuned", "Pretrained, fine-tuned")]);
        assert_eq!(of(DISTILL, Some("self")), [pair("distilled-self", "Distilled: same network")]);
        assert_eq!(of(DISTILL, Some("small")), [pair("distilled-small", "Distilled: small")]);
        let folder = |name: &str, student| named(name).map(|stage| stage.folder(student));
        assert_eq!(folder(EVAL, None).as_deref(), Some("eval"));
        assert_eq!(folder(DISTILL, Some("small")).as_deref(), Some("distilled-small"));
    }
}
