//! The jobs of a whole experiment, in order: what each runs, where it writes, and about how much work it is.

mod load;
#[cfg(test)]
mod tests;

use anyhow::{Context, Result, bail};
pub use load::Load;
use serde::{Serialize, Serializer};
use simclr_core::config::{Config, LabelAmount, ModelConfig, TrainingConfig};
use simclr_core::disk;
use simclr_core::run::layout::{self, RECIPE};
use simclr_core::stages::{self, Arg, Each, FINETUNED, Method, STAGES, Stage, Work};
use std::path::{Path, PathBuf};

/// Classes of a dataset whose number only its files tell, for estimates of work.
const CLASSES: usize = 10;

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
    /// What it computes.
    #[serde(skip)]
    pub load: Load,
    /// The row of the results that its own checkpoint fills; pretraining fills none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row: Option<Row>,
    /// What it is a run of.
    #[serde(skip)]
    pub stage: &'static Stage,
}

/// What a training job's accuracy is reported as.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// `supervised`, `finetuned` or `distilled-NAME`.
    #[serde(rename = "name", serialize_with = "by_name")]
    pub method: Method,
    /// How many labels.
    pub labels: LabelAmount,
    /// Which subset of so many.
    pub subset: usize,
}

/// A method as its name in the results.
///
/// # Errors
/// Those of the serializer.
pub fn by_name<S: Serializer>(method: &Method, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(method)
}

/// The jobs of `config` below the folder `out`, in the order of the table of stages: first the baselines, then
/// pretraining and the encoder's evaluation, then for each amount of labels and each subset the fine-tuned network and its
/// students, teachers before students.
///
/// # Errors
/// When there is no such dataset or transform, students teach one another in a circle, or an override for an amount of labels is not
/// valid.
pub fn jobs(config: &Config, out: &Path) -> Result<Vec<Job>> {
    jobs_of(STAGES, config, out, None)
}

/// The same for so many training and test images of so many classes, wherever they are.
///
/// # Errors
/// As [`jobs`].
pub fn jobs_on(config: &Config, out: &Path, counts: (usize, usize, usize)) -> Result<Vec<Job>> {
    jobs_of(STAGES, config, out, Some(counts))
}

fn jobs_of(
    stages: &'static [Stage],
    config: &Config,
    out: &Path,
    counts: Option<(usize, usize, usize)>,
) -> Result<Vec<Job>> {
    // The loader has the true numbers; an estimate of work does with those of the table.
    simclr_data::check(config)?;
    let data = simclr_data::source::find(&config.data)?;
    let (train, test) = counted(out).unwrap_or((data.train.estimate(), data.test.estimate()));
    let (train, test, classes) = counts.unwrap_or((train, test, data.classes.unwrap_or(CLASSES)));
    let train = config.data.limit.map_or(train, |limit| limit.min(train));
    let plan = Planner { config, out, train, test, classes };
    let students = students_in_order(config)?;
    let mut jobs = Vec::new();
    let once = |stage: &Stage| stage.each == Each::Experiment;
    for neighbours in stages.chunk_by(|a, b| once(a) == once(b)) {
        let neighbours = || neighbours.iter().filter(|stage| runs(config, stage));
        if neighbours().all(once) {
            let whole = neighbours().map(|stage| plan.once(stage));
            jobs.extend(whole.collect::<Result<Vec<_>>>()?);
            continue;
        }
        for set in plan.label_sets() {
            for stage in neighbours() {
                if stage.each == Each::LabelSet {
                    jobs.push(plan.labeled(stage, set, None)?);
                } else {
                    let each = students.iter().map(|student| plan.labeled(stage, set, Some(student)));
                    jobs.extend(each.collect::<Result<Vec<_>>>()?);
                }
            }
        }
    }
    Ok(jobs)
}

/// Training and test pictures as they were counted for an experiment of somebody's own pictures, or for one fold of it.
fn counted(out: &Path) -> Option<(usize, usize)> {
    let facts =
        [Some(out), out.parent()].into_iter().flatten().find_map(|dir| disk::read_json(&dir.join(RECIPE)).ok())?;
    let count = |name: &str| facts["pictures"][name].as_u64().map(|n| n as usize);
    Some((count("train")?, count("test")?))
}

/// Whether an experiment runs a stage: one that trains needs its table, one that measures what it measures, and labels.
fn runs(config: &Config, stage: &Stage) -> bool {
    match stage.work {
        Work::Train { .. } => config.has_table(stage.name),
        Work::Measure if config.reproduce.labels.is_empty() => false,
        Work::Measure => stage.measured().and_then(stages::named).is_none_or(|other| runs(config, other)),
    }
}

/// What the jobs of one plan are made from.
struct Planner<'a> {
    config: &'a Config,
    out: &'a Path,
    train: usize,
    test: usize,
    classes: usize,
}

impl Planner<'_> {
    /// Amounts, and the subsets of each. All labels are one set, whatever the number of subsets.
    fn label_sets(&self) -> Vec<(LabelAmount, usize)> {
        let sets = |&amount: &LabelAmount| {
            (0..if amount.is_all() { 1 } else { self.config.reproduce.subsets }).map(move |i| (amount, i))
        };
        self.config.reproduce.labels.iter().flat_map(sets).collect()
    }

    fn path(&self, id: &str) -> String {
        self.out.join(id).to_string_lossy().into_owned()
    }

    /// The run of a stage that is run once for the experiment.
    fn once(&self, stage: &'static Stage) -> Result<Job> {
        let (id, load) = (stage.folder(None), self.load_once(stage)?);
        Ok(Job {
            title: stage.title.into(),
            program: stage.program.into(),
            args: self.args(stage, |arg| bail!("{}: no {arg:?} of a stage that is run once", stage.name))?,
            dir: self.out.join(&id),
            cost: load.cost(),
            load,
            row: None,
            id,
            stage,
        })
    }

    /// The run of a stage on a label set, of one student where it has students.
    fn labeled(
        &self,
        stage: &'static Stage,
        (labels, subset): (LabelAmount, usize),
        student: Option<&String>,
    ) -> Result<Job> {
        let config = self.config.at_labels(labels)?;
        let mut title = stage.title.replace("{student}", student.map_or("", String::as_str));
        title += &format!(", {}", labels.words());
        if self.config.reproduce.subsets > 1 && !labels.is_all() {
            title += &format!(", subset {subset}");
        }
        let id = |folder: &str| format!("{}/{folder}", layout::label_set(labels, subset));
        let mut args = self.args(stage, |arg| {
            let student = student.with_context(|| format!("{}: {arg:?} of a stage without students", stage.name))?;
            Ok(match arg {
                Arg::Teacher => self.path(&id(&teacher_folder(&config.student(student)?.teacher)?)),
                _ => student.clone(),
            })
        })?;
        args.extend(["--labels".into(), labels.to_string(), "--subset".into(), subset.to_string()]);
        let id = id(&stage.folder(student.map(String::as_str)));
        let load = self.load_labeled(stage, &config, labels, student)?;
        let row = stage.own_row().map(|row| {
            let method = Method { stage, row, student: student.cloned() };
            Row { method, labels, subset }
        });
        Ok(Job {
            title,
            program: stage.program.into(),
            args,
            dir: self.out.join(&id),
            cost: load.cost(),
            load,
            row,
            id,
            stage,
        })
    }

    /// The arguments of a stage, where `of` knows what depends on the student.
    fn args(&self, stage: &Stage, of: impl Fn(Arg) -> Result<String>) -> Result<Vec<String>> {
        let word = |arg: &Arg| match *arg {
            Arg::Word(word) => Ok(word.into()),
            Arg::Run(other) => Ok(self.path(&stages::named(other).map_or(other.into(), |stage| stage.folder(None)))),
            arg => of(arg),
        };
        stage.args.iter().map(word).collect()
    }

    fn load_once(&self, stage: &Stage) -> Result<Load> {
        let (model, examples) = (self.config.model.clone(), self.train);
        Ok(match stage.work {
            // The whole training is so long that the test images beside it do not count.
            Work::Train { views } => {
                let training = Some(self.config.training(stage.name, None)?);
                Load { model, teacher: None, training, examples, views, looked_at: 0.0 }
            }
            Work::Measure => {
                let looked_at = (self.config.eval.linear.views.max(1) * self.train + self.test) as f64;
                Load { model, teacher: None, training: None, examples, views: 1.0, looked_at }
            }
        })
    }

    /// `config` is that of the amount of labels. A student sees all images, unless its table says otherwise.
    fn load_labeled(
        &self,
        stage: &Stage,
        config: &Config,
        labels: LabelAmount,
        student: Option<&String>,
    ) -> Result<Load> {
        let (model, examples) = (config.model.clone(), self.train);
        let Work::Train { views } = stage.work else {
            let looked_at = self.test as f64;
            return Ok(Load { model, teacher: None, training: None, examples, views: 1.0, looked_at });
        };
        let training = config.training(stage.name, student.map(String::as_str))?;
        let Some(student) = student else {
            let examples = labels.estimate(self.train, self.classes);
            let looked_at = self.checks(&training, examples);
            return Ok(Load { model, teacher: None, training: Some(training), examples, views, looked_at });
        };
        let teacher = match config.student(student)?.teacher.as_str() {
            FINETUNED => model,
            name => network_of(config, name)?,
        };
        let all = config.student(student)?.unlabeled;
        let examples = if all { examples } else { labels.estimate(self.train, self.classes) };
        let (model, looked_at) = (network_of(config, student)?, self.checks(&training, examples));
        Ok(Load { model, teacher: Some(teacher), training: Some(training), examples, views, looked_at })
    }

    /// The test images that a stage looks at.
    fn checks(&self, t: &TrainingConfig, examples: usize) -> f64 {
        let steps = t.length.steps(examples, t.batch);
        let every = t.eval_every.map_or(steps, |d| d.steps(examples, t.batch)).max(1);
        (steps.div_ceil(every) as usize * self.test) as f64
    }
}

/// The folder of a teacher in its label set.
fn teacher_folder(teacher: &str) -> Result<String> {
    let (name, student) =
        if teacher == FINETUNED { (stages::FINETUNE, None) } else { (stages::DISTILL, Some(teacher)) };
    Ok(stages::named(name).with_context(|| format!("the table of stages lacks {name}"))?.folder(student))
}

/// A student without a network of its own has its teacher's.
fn network_of(config: &Config, student: &str) -> Result<ModelConfig> {
    let stage = config.student(student)?;
    match (&stage.model, stage.teacher.as_str()) {
        (Some(model), _) => Ok(model.clone()),
        (None, FINETUNED) => Ok(config.model.clone()),
        (None, teacher) => network_of(config, teacher),
    }
}

/// Names of the students, every teacher before its pupils.
fn students_in_order(config: &Config) -> Result<Vec<String>> {
    let mut order: Vec<String> = Vec::new();
    while order.len() < config.distill.len() {
        let ready = |teacher: &str| teacher == FINETUNED || order.iter().any(|done| done == teacher);
        let waiting: Vec<_> = config.distill.iter().filter(|(name, _)| !order.contains(name)).collect();
        match waiting.iter().find(|(_, student)| ready(&student.teacher)) {
            Some((name, _)) => order.push((*name).clone()),
            None => {
                let names: Vec<_> = waiting.iter().map(|(name, s)| format!("{name} from {}", s.teacher)).collect();
                bail!(
                    "distill.*.teacher: students teach one another in a circle ({}); one must learn from \"{FINETUNED}\"",
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
