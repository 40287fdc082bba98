//! The choices: image size, network, lengths and rates, a pure function of the pictures, the time and the machine's speed.

use serde::{Deserialize, Serialize};

/// What the pictures are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pictures {
    /// Training pictures.
    pub train: usize,
    /// Those of them that have a label.
    pub labeled: usize,
    /// Pictures to measure on.
    pub test: usize,
    /// Classes.
    pub classes: usize,
    /// Middle one of the shorter sides, pixels.
    pub side: usize,
    /// 1 where all that were looked at are gray, else 3 or what the experiment says.
    pub channels: usize,
}

/// A network at an image size: one step of the ladder of costs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rung {
    /// Side of the views, pixels.
    pub size: usize,
    /// Depth of the ResNet.
    pub depth: usize,
    /// Its width.
    pub width: f64,
}

/// How the time that is left beside the labeled stages and measuring is shared: pretraining, and the two students.
const SHARES: [f64; 3] = [0.64, 0.18, 0.18];
/// The least share of all time that is left for them.
const LEAST: f64 = 0.4;
/// How often each stage measures; a training of four stages, and the evaluation of two.
const MEASURED: f64 = 12.0;

/// Networks from small to large: depth and width.
const NETWORKS: [(usize, f64); 5] = [(18, 0.25), (18, 0.5), (18, 1.0), (50, 1.0), (50, 2.0)];
/// The largest images whose network keeps their full resolution in its first group.
const FINE: usize = 64;
/// Image sizes whose network begins by a quarter of the resolution: at these that costs what the fine ones cost at a
/// quarter.
const COARSE: [usize; 4] = [96, 128, 160, 224];
/// Pictures that pretraining sees in all, at best; how often each, at least and at most.
const SEEN: f64 = 1e6;
const EPOCHS: (f64, f64) = (20.0, 200.0);
/// Time that is left over lengthens pretraining by so much at most.
const STRETCH: f64 = 4.0;
/// The batch of pretraining, at most, and one of so many pictures at most: a picture must not meet itself.
const BATCH: usize = 128;
const BATCH_SHARE: usize = 2;
/// The batch of the labeled stages; the fewest steps of the others.
const LABELED_BATCH: usize = 32;
const LEAST_STEPS: f64 = 20.0;
/// Steps of the baseline beside those of fine-tuning.
const SCRATCH: f64 = 3.0;
/// A step of one view in units of one of two; a forward pass in units of a step of one view.
const VIEW: f64 = 0.5;
const FORWARD: f64 = 1.0 / 3.0;

impl Rung {
    /// Work of a step on one picture, up to a common factor.
    pub fn cost(self) -> f64 {
        let side = if self.coarse() { self.size as f64 / 4.0 } else { self.size as f64 };
        let blocks = if self.depth == 18 { 8.0 } else { 16.0 };
        side * side * (0.5 + blocks * (self.width * self.width + 0.2 * self.width))
    }

    /// Whether its network begins by a quarter of the resolution.
    pub fn coarse(self) -> bool {
        self.size > FINE
    }
}

/// The rungs for pictures of this side, from the cheapest to the dearest.
pub fn ladder(side: usize) -> Vec<Rung> {
    let sizes = match side {
        0..=32 => vec![side.max(8)],
        33..56 => vec![32],
        56..96 => vec![32, FINE],
        _ => COARSE.into_iter().filter(|size| *size <= side).collect(),
    };
    let networks = |size: usize| NETWORKS.map(|(depth, width)| Rung { size, depth, width });
    let mut rungs: Vec<Rung> = sizes.into_iter().flat_map(networks).collect();
    rungs.sort_by(|a, b| a.cost().total_cmp(&b.cost()));
    rungs
}

/// How fast the machine is, measured on one rung.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Speed {
    /// What was measured.
    pub rung: Rung,
    /// Pictures of two views each that pretraining learns from in a second.
    pub images_per_s: f64,
}

impl Speed {
    /// The same of another rung, if all work were equally fast.
    pub fn at(self, rung: Rung) -> f64 {
        self.images_per_s * self.rung.cost() / rung.cost()
    }
}

/// What was chosen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// Network and image size.
    pub rung: Rung,
    /// Width of the small student.
    pub small: f64,
    /// Pictures a step, of every stage that sees all pictures.
    pub batch: usize,
    /// Steps of pretraining, and of the two students.
    pub steps: [u64; 3],
    /// Steps of fine-tuning and of the baseline.
    pub labeled_steps: [u64; 2],
    /// Pictures a step of those.
    pub labeled_batch: usize,
    /// What was measured.
    pub speed: Speed,
    /// Seconds of each part, estimated: baseline, pretraining, fine-tuning, two students.
    pub seconds: [f64; 5],
}

/// How many pictures pretraining should see in all before a larger network is worth its time.
fn wanted(train: usize) -> f64 {
    let train = train.max(1) as f64;
    train * (SEEN / train).clamp(EPOCHS.0, EPOCHS.1)
}

/// The dearest rung on which pretraining sees enough within its share of `seconds`, else the cheapest.
pub fn rung(pictures: &Pictures, seconds: f64, speed: Speed) -> Rung {
    let ladder = ladder(pictures.side);
    let enough = |rung: &&Rung| {
        speed.at(**rung) * free_seconds(pictures, seconds, speed.at(**rung)) * SHARES[0] >= wanted(pictures.train)
    };
    *ladder.iter().rev().find(enough).unwrap_or(&ladder[0])
}

/// Seconds of one measurement on the pictures that are for it.
fn measuring(pictures: &Pictures, rate: f64) -> f64 {
    pictures.test as f64 * VIEW * FORWARD / rate
}

/// Seconds of a stage on the labels, measuring apart.
fn on_labels(pictures: &Pictures, steps: u64, rate: f64) -> f64 {
    steps as f64 * labeled_batch(pictures) as f64 * VIEW / rate
}

/// What the labeled stages and measuring leave of the time, at a speed.
fn free_seconds(pictures: &Pictures, seconds: f64, rate: f64) -> f64 {
    let steps = labeled_steps(pictures, seconds, rate);
    let labeled: f64 = steps.into_iter().map(|steps| on_labels(pictures, steps, rate)).sum();
    (seconds - labeled - MEASURED * measuring(pictures, rate)).max(LEAST * seconds)
}

fn labeled_batch(pictures: &Pictures) -> usize {
    pictures.labeled.clamp(1, LABELED_BATCH)
}

/// All choices, with the speed that was measured on a rung.
pub fn choose(pictures: &Pictures, seconds: f64, speed: Speed) -> Choice {
    let (rung, rate) = (speed.rung, speed.images_per_s);
    // A power of two.
    let most = (pictures.train / BATCH_SHARE).max(2);
    let batch = (1 << most.ilog2()).min(BATCH).min(pictures.train);
    let small = rung.width / 2.0;
    let small_share = Rung { width: small, ..rung }.cost() / rung.cost();
    // Pictures a second: two views of pretraining; one of a student and its teacher's forward pass.
    let rates = [rate, rate / (VIEW * (1.0 + FORWARD)), rate / (VIEW * (small_share + FORWARD))];
    let longest = [wanted(pictures.train) * STRETCH, wanted(pictures.train), wanted(pictures.train)];
    let free = free_seconds(pictures, seconds, rate);
    let steps =
        [0, 1, 2].map(|i| ((rates[i] * free * SHARES[i]).min(longest[i]) / batch as f64).max(LEAST_STEPS) as u64);
    let labeled = labeled_steps(pictures, seconds, rate);
    let share = MEASURED / 5.0 * measuring(pictures, rate);
    let on_all = |i: usize| steps[i] as f64 * batch as f64 / rates[i] + share;
    Choice {
        rung,
        small,
        batch,
        steps,
        labeled_steps: labeled,
        labeled_batch: labeled_batch(pictures),
        speed,
        seconds: [
            on_labels(pictures, labeled[1], rate) + share,
            on_all(0),
            on_labels(pictures, labeled[0], rate) + share,
            on_all(1),
            on_all(2),
        ],
    }
}

/// Steps of fine-tuning and of the baseline, which has more to learn; fewer where they would take most of the time.
fn labeled_steps(pictures: &Pictures, seconds: f64, rate: f64) -> [u64; 2] {
    let labels = pictures.labeled.max(1) as f64;
    // From 100 labels to ten times as many the best length hardly doubles.
    let wished = (200.0 * (labels / 100.0).sqrt()).clamp(60.0, 5000.0);
    let cost = (1.0 + SCRATCH) * on_labels(pictures, wished as u64, rate);
    let tuned = (wished * ((1.0 - LEAST) * seconds / cost).min(1.0)).max(LEAST_STEPS);
    [tuned as u64, (SCRATCH * tuned) as u64]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pictures(train: usize, side: usize) -> Pictures {
        Pictures { train, labeled: 100.min(train), test: 0, classes: 10, side, channels: 3 }
    }

    fn speed(images_per_s: f64) -> Speed {
        Speed { rung: Rung { size: 32, depth: 18, width: 0.25 }, images_per_s }
    }

    #[test]
    fn small_pictures_are_never_enlarged() {
        for side in [8, 28, 32, 40, 64, 95, 96, 130, 500] {
            let ladder = ladder(side);
            assert!(ladder.iter().all(|rung| rung.size <= side), "{side}: {ladder:?}");
            assert!(ladder.windows(2).all(|pair| pair[0].cost() <= pair[1].cost()));
        }
        assert_eq!(ladder(4)[0].size, 8, "smaller ones leave a network nothing to see");
    }

    #[test]
    fn more_time_or_a_faster_machine_buys_a_larger_network() {
        let of = |train, side, hours: f64, rate| rung(&pictures(train, side), 3600.0 * hours, speed(rate));
        assert_eq!(of(5000, 28, 0.5, 400.0), Rung { size: 28, depth: 18, width: 0.25 }, "half an hour of two cores");
        let day = of(5000, 28, 24.0, 400.0);
        assert!(day.cost() > 8.0 * of(5000, 28, 0.5, 400.0).cost(), "{day:?}");
        let gpu = of(50_000, 300, 8.0, 100_000.0);
        assert_eq!((gpu.size, gpu.depth), (224, 50), "{gpu:?}");
        assert!(of(50_000, 300, 8.0, 400.0).cost() < gpu.cost());
    }

    #[test]
    fn the_plan_keeps_to_its_time_and_to_the_pictures() {
        for (train, hours) in [(8, 0.1), (60, 0.5), (5000, 0.5), (5000, 3.0), (200_000, 12.0)] {
            let pictures = pictures(train, 64);
            let seconds = 3600.0 * hours;
            let rung = rung(&pictures, seconds, speed(400.0));
            let choice = choose(&pictures, seconds, Speed { rung, images_per_s: speed(400.0).at(rung) });
            assert_eq!(choice.batch, [(8, 4), (60, 16)].iter().find(|(n, _)| *n == train).map_or(128, |(_, b)| *b));
            let total: f64 = choice.seconds.iter().sum();
            assert!(total < 1.2 * seconds + 60.0, "{train} pictures, {hours} h: {total} s of {choice:?}");
        }
    }
}
