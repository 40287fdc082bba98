//! How many threads a rank gets where several share the cores of a machine.

use simclr_core::disk;
use std::collections::{HashMap, HashSet};

/// Most bytes of what the system tells in a file.
const SHORT: u64 = 1 << 20;

/// What a rank says of where it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seat {
    /// The machine's name.
    pub host: String,
    /// Numbers of the processors that it may use; none where the system does not tell.
    pub processors: Vec<usize>,
    /// How many threads it may keep busy: not more than processors, and less where a container is given less.
    pub threads: usize,
}

impl Seat {
    /// That of this process.
    pub fn here(host: String) -> Self {
        let status = disk::read_small_text("/proc/self/status".as_ref(), SHORT).unwrap_or_default();
        let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self { host, processors: list.map(numbers).unwrap_or_default(), threads }
    }

    /// As one message.
    pub fn to_bytes(&self) -> Vec<u8> {
        let processors: Vec<_> = self.processors.iter().map(usize::to_string).collect();
        format!("{}\n{}\n{}", self.host, self.threads, processors.join(",")).into_bytes()
    }

    /// From such a message; `None` where it is none.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let mut lines = text.split('\n');
        let (host, threads, list) = (lines.next()?, lines.next()?.parse().ok()?, lines.next()?);
        Some(Self { host: host.into(), processors: numbers(list), threads })
    }
}

/// A list such as `0-3,8`.
fn numbers(list: &str) -> Vec<usize> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.trim().parse::<usize>().ok()?..=last.trim().parse().ok()?)
    };
    list.split(',').filter_map(range).flatten().collect()
}

/// The number of `rank` among those on its machine, and how many those are.
pub fn on_machine(seats: &[Seat], rank: usize) -> (usize, usize) {
    let here = |seat: &&Seat| seat.host == seats[rank].host;
    (seats[..rank].iter().filter(here).count(), seats.iter().filter(here).count())
}

/// How many threads `rank` computes with: its share of each processor that it may use, among the ranks that may use it, too.
pub fn share(seats: &[Seat], rank: usize) -> usize {
    let own = &seats[rank];
    let here = || seats.iter().filter(|seat| seat.host == own.host);
    if own.processors.is_empty() {
        return (own.threads / here().count().max(1)).max(1);
    }
    let mut users: HashMap<usize, usize> = HashMap::new();
    here().flat_map(|seat| &seat.processors).for_each(|processor| *users.entry(*processor).or_default() += 1);
    let share: f64 = own.processors.iter().filter_map(|p| users.get(p)).map(|users| 1.0 / *users as f64).sum();
    // Of a container's share of the machine, the same part.
    let given = own.threads as f64 / own.processors.len() as f64;
    ((share * given.min(1.0) + 1e-9).floor() as usize).max(1)
}

/// How many processors the ranks of `rank`'s machine may use, all together, where that is less than half of those that there
/// are: `of`, numbers of processors. `mpirun` binds two ranks to one core each unless it is told otherwise.
pub fn idle(seats: &[Seat], rank: usize, of: &[usize]) -> Option<usize> {
    let here = seats.iter().filter(|seat| seat.host == seats[rank].host);
    let used: HashSet<usize> = here.flat_map(|seat| seat.processors.iter().copied()).collect();
    (!used.is_empty() && 2 * used.len() < of.len()).then_some(used.len())
}

/// The processors that this machine, or container, has.
pub fn all() -> Vec<usize> {
    let files = ["/sys/fs/cgroup/cpuset.cpus.effective", "/sys/devices/system/cpu/online"];
    let lists = files
        .iter()
        .filter_map(|file| disk::read_small_text(file.as_ref(), SHORT).ok())
        .map(|list| numbers(list.trim()));
    lists.min_by_key(Vec::len).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn seat(host: &str, list: &str) -> Seat {
        let processors = numbers(list);
        Seat { host: host.into(), threads: processors.len().max(1), processors }
    }

    #[test]
    fn ranks_that_share_all_cores_take_their_share() {
        let shared = vec![seat("a", "0-7"); 4];
        assert_eq!(share(&shared, 3), 2);
        // Bound to cores, or to halves of the machine, two ranks a half.
        let bound: Vec<_> = (0..4).map(|rank| seat("a", &format!("{}-{}", 2 * rank, 2 * rank + 1))).collect();
        assert_eq!(share(&bound, 1), 2);
        let halves: Vec<_> = ["0-3", "4-7", "0-3", "4-7"].map(|list| seat("a", list)).into();
        assert_eq!((0..4).map(|rank| share(&halves, rank)).collect::<Vec<_>>(), [2; 4]);
        // Another machine takes nothing; more ranks than cores have one thread each.
        let two = [seat("a", "0-7"), seat("b", "0-7"), seat("b", "0-7")];
        assert_eq!((share(&two, 0), share(&two, 1)), (8, 4));
        assert_eq!(share(&vec![seat("a", "0-1"); 4], 0), 1);
        // A container that may use half the time of its eight processors.
        let limited = vec![Seat { threads: 4, ..seat("a", "0-7") }; 2];
        assert_eq!(share(&limited, 0), 2);
        let untold = vec![Seat { threads: 6, ..seat("a", "") }; 3];
        assert_eq!(share(&untold, 0), 2);
    }

    #[test]
    fn processors_that_nobody_may_use_are_found() {
        let seats = [seat("a", "0"), seat("a", "1"), seat("b", "0-7")];
        let eight: Vec<_> = (0..8).collect();
        assert_eq!((idle(&seats, 1, &eight), idle(&seats, 2, &eight)), (Some(2), None));
        assert_eq!(idle(&seats, 0, &eight[..4]), None);
        assert_eq!(idle(&[seat("a", "")], 0, &eight), None);
        assert!(!cfg!(target_os = "linux") || !all().is_empty());
    }

    #[test]
    fn ranks_of_a_machine_are_counted_there() {
        let seats = ["a", "b", "a", "b", "b"].map(|host| seat(host, "0"));
        assert_eq!(
            (0..5).map(|rank| on_machine(&seats, rank)).collect::<Vec<_>>(),
            [(0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
        );
    }

    #[test]
    fn seats_pass_as_messages() {
        let here = Seat::here("node".into());
        assert_eq!(Seat::from_bytes(&here.to_bytes()), Some(here.clone()));
        assert!(here.threads > 0 && (!cfg!(target_os = "linux") || !here.processors.is_empty()), "{here:?}");
        assert_eq!(numbers("0-2,5, 7-8"), [0, 1, 2, 5, 7, 8]);
        assert_eq!(Seat::from_bytes(b"half"), None);
    }
}
