//! The jobs of a whole experiment, in order: what each runs, where it writes, and about how much work it is.

use anyhow::{Context, Result, bail};
use serde::Serialize;
use simclr_core::config::{Config, ModelConfig, TrainingConfig};
use std::path::{Path, PathBuf};

/// One run of one stage binary.
#[derive(Clone, Debug, Serialize)]
pub struct Job {
    /// The folder below the run's, with `/` between parts: `labels-0.01/subset-0/finetuned`.
    pub id: String,
    /// For people: `fine-tuned, 1 % of labels`.
    pub title: String,
    /// The binary: `simclr-pretrain` and so on.
    pub program: String,
    /// Its arguments, but for those that every stage takes (`--config`, `--set`, `--device`, `--resume`, ...).
    pub args: Vec<String>,
    /// Where it writes.
    pub dir: PathBuf,
    /// Images processed x passes x relative cost of the network: only ratios mean something.
    pub cost: f64,
    /// The row of the results that it fills; pretraining fills none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row: Option<Row>,
}

/// What a training job's accuracy is reported as.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// `supervised`, `finetuned` or `distilled-NAME`.
    pub name: String,
    /// Label fraction in (0, 1].
    pub labels: f64,
    /// Which label subset of that fraction.
    pub subset: usize,
}

/// A percentage without needless digits: 0.01 gives `1 %`.
pub fn percent(fraction: f64) -> String {
    format!("{} %", (fraction * 1e6).round() / 1e4)
}

/// The jobs of `config` below the folder `out`: first the baselines, then pretraining and the encoder's evaluation,
/// then for each label fraction and subset the fine-tuned network and its students, teachers before students.
///
/// # Errors
/// When there is no such dataset or transform, students teach one another in a circle, or an override of a label fraction is not
/// valid.
pub fn jobs(config: &Config, out: &Path) -> Result<Vec<Job>> {
    // The loader has the true numbers; an estimate of work does with those of the table.
    simclr_data::check(config)?;
    let data = simclr_data::source::find(&config.data)?;
    let (train, test) = (data.train.estimate(), data.test.estimate());
    let train = config.data.limit.map_or(train, |limit| limit.min(train));
    let plan = Planner { config, out, train, test };
    let students = students_in_order(config)?;
    let mut jobs = Vec::new();
    for (labels, subset) in plan.label_sets() {
        jobs.push(plan.labeled("supervised", labels, subset)?);
    }
    jobs.push(plan.pretrain());
    jobs.push(plan.eval());
    for (labels, subset) in plan.label_sets() {
        jobs.push(plan.labeled("finetuned", labels, subset)?);
        for student in &students {
            jobs.push(plan.distill(student, labels, subset)?);
        }
    }
    Ok(jobs)
}

/// What the jobs of one plan are made from.
struct Planner<'a> {
    config: &'a Config,
    out: &'a Path,
    train: usize,
    test: usize,
}

impl Planner<'_> {
    /// All labels are one set, whatever the number of subsets.
    fn label_sets(&self) -> Vec<(f64, usize)> {
        let sets = |&f: &f64| (0..if f < 1.0 { self.config.reproduce.subsets } else { 1 }).map(move |i| (f, i));
        self.config.reproduce.labels.iter().flat_map(sets).collect()
    }

    fn path(&self, id: &str) -> String {
        self.out.join(id).to_string_lossy().into_owned()
    }

    fn job(&self, id: String, title: String, program: &str, args: Vec<String>, cost: f64) -> Job {
        let dir = self.out.join(&id);
        Job { id, title, program: program.into(), args, dir, cost, row: None }
    }

    fn labeled_job(&self, row: Row, title: &str, program: &str, args: Vec<String>, cost: f64) -> Job {
        let mut title = format!("{title}, {} of the labels", percent(row.labels));
        if self.config.reproduce.subsets > 1 && row.labels < 1.0 {
            title += &format!(", subset {}", row.subset);
        }
        let mut all = args;
        all.extend(["--labels".into(), row.labels.to_string(), "--subset".into(), row.subset.to_string()]);
        Job { row: Some(row.clone()), ..self.job(id(row.labels, row.subset, &row.name), title, program, all, cost) }
    }

    fn pretrain(&self) -> Job {
        let t = &self.config.pretrain.training;
        let cost = 2.0 * images(t, self.train) * network_cost(&self.config.model);
        self.job("pretrain".into(), "pretraining".into(), "simclr-pretrain", vec![], cost)
    }

    fn eval(&self) -> Job {
        let views = self.config.eval.linear.views.max(1);
        let cost = (views * self.train + self.test) as f64 * network_cost(&self.config.model) / 3.0;
        let args = vec!["--checkpoint".into(), self.path("pretrain"), "--linear".into(), "--knn".into()];
        self.job("eval".into(), "linear probe and nearest neighbours".into(), "simclr-eval", args, cost)
    }

    fn labeled(&self, name: &str, labels: f64, subset: usize) -> Result<Job> {
        let config = self.config.at_labels(labels)?;
        let (stage, title, from) = match name {
            "supervised" => (&config.supervised, "supervised from scratch", "scratch".to_string()),
            _ => (&config.finetune, "fine-tuned", self.path("pretrain")),
        };
        let examples = (self.train as f64 * labels) as usize;
        let cost =
            (images(&stage.training, examples) + self.checks(&stage.training, examples)) * network_cost(&config.model);
        let row = Row { name: name.into(), labels, subset };
        Ok(self.labeled_job(row, title, "simclr-finetune", vec!["--from".into(), from], cost))
    }

    fn distill(&self, student: &str, labels: f64, subset: usize) -> Result<Job> {
        let config = self.config.at_labels(labels)?;
        let stage = config.student(student)?;
        let teacher = match stage.teacher.as_str() {
            "finetuned" => "finetuned".to_string(),
            name => format!("distilled-{name}"),
        };
        let network = network_cost(&network_of(&config, student)?);
        let teaching = match stage.teacher.as_str() {
            "finetuned" => network_cost(&config.model),
            name => network_cost(&network_of(&config, name)?),
        };
        let seen = images(&stage.training, self.train);
        let cost = seen * (network + teaching / 3.0) + self.checks(&stage.training, self.train) * network;
        let args =
            vec!["--teacher".into(), self.path(&id(labels, subset, &teacher)), "--student".into(), student.into()];
        let row = Row { name: format!("distilled-{student}"), labels, subset };
        Ok(self.labeled_job(row, &format!("student `{student}`"), "simclr-distill", args, cost))
    }

    /// The test images that a stage looks at, in units of training images (a forward pass is a third of a step).
    fn checks(&self, t: &TrainingConfig, examples: usize) -> f64 {
        let steps = t.length.steps(examples, t.batch);
        let every = t.eval_every.map_or(steps, |d| d.steps(examples, t.batch)).max(1);
        (steps.div_ceil(every) as usize * self.test) as f64 / 3.0
    }
}

fn id(labels: f64, subset: usize, name: &str) -> String {
    format!("labels-{labels}/subset-{subset}/{name}")
}

/// The images that a stage trains on, each time that it sees one.
fn images(t: &TrainingConfig, examples: usize) -> f64 {
    t.length.steps(examples, t.batch) as f64 * t.batch as f64
}

/// A student without a network of its own has its teacher's.
fn network_of(config: &Config, student: &str) -> Result<ModelConfig> {
    let stage = config.student(student)?;
    match (&stage.model, stage.teacher.as_str()) {
        (Some(model), _) => Ok(model.clone()),
        (None, "finetuned") => Ok(config.model.clone()),
        (None, teacher) => network_of(config, teacher),
    }
}

/// Work of a training step on one image, up to a common factor. Every residual block of a family costs about the same,
/// because a halved resolution meets doubled channels; what is not convolution grows with the width alone.
fn network_cost(model: &ModelConfig) -> f64 {
    let blocks = match model.depth {
        18 => 8.0,
        34 | 50 => 16.0,
        101 => 33.0,
        152 => 50.0,
        _ => 66.0,
    };
    let kernels = if model.sk_ratio > 0.0 && model.depth >= 50 { 1.6 } else { 1.0 };
    0.5 + blocks * kernels * (model.width * model.width + 0.2 * model.width)
}

/// Names of the students, every teacher before its pupils.
fn students_in_order(config: &Config) -> Result<Vec<String>> {
    let mut order: Vec<String> = Vec::new();
    while order.len() < config.distill.len() {
        let ready = |teacher: &str| teacher == "finetuned" || order.iter().any(|done| done == teacher);
        let waiting: Vec<_> = config.distill.iter().filter(|(name, _)| !order.contains(name)).collect();
        match waiting.iter().find(|(_, student)| ready(&student.teacher)) {
            Some((name, _)) => order.push((*name).clone()),
            None => {
                let names: Vec<_> = waiting.iter().map(|(name, s)| format!("{name} from {}", s.teacher)).collect();
                bail!(
                    "distill.*.teacher: students teach one another in a circle ({}); one must learn from \"finetuned\"",
                    names.join(", ")
                )
            }
        }
    }
    Ok(order)
}

/// The plan as JSON, the way `simclr-eval plan` prints it.
///
/// # Errors
/// As [`jobs`].
pub fn json(config: &Config, out: &Path) -> Result<String> {
    serde_json::to_string_pretty(&jobs(config, out)?).context("writing the plan")
}

#[cfg(test)]
mod tests {
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
    fn all_labels_are_one_set() {
        let jobs = jobs(&config(&["reproduce.labels=[1.0]", "reproduce.subsets=3"]), Path::new("out")).unwrap();
        assert_eq!(jobs.iter().filter(|j| j.id.ends_with("/finetuned")).count(), 1);
        assert!(jobs.iter().any(|j| j.id == "labels-1/subset-0/finetuned"));
    }

    #[test]
    fn a_circle_of_teachers_is_an_error() {
        let circle = config(&["distill.self.teacher=small", "distill.self.temperature=1.0"]);
        let message = jobs(&circle, Path::new("out")).unwrap_err().to_string();
        assert!(message.contains("circle") && message.contains("self from small"), "{message}");
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
}
