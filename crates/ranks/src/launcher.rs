//! Who started this process, and as which of how many: what the environment says.

use anyhow::{Context, Result, ensure};

/// What starts processes that compute together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Launcher {
    /// `mpirun` and `mpiexec`, of any MPI.
    Mpirun,
    /// Slurm's `srun`.
    Srun,
    /// What sets `RANK`, `WORLD_SIZE`, `MASTER_ADDR`, `MASTER_PORT`: `torchrun`, and those that are like it.
    Torchrun,
}

/// A process's place among those that were started with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Who started them.
    pub launcher: Launcher,
    /// Its number, below `size`.
    pub rank: usize,
    /// How many there are.
    pub size: usize,
    /// Its number among those on its machine, where that is said.
    pub local_rank: Option<usize>,
    /// Where rank 0 can be met by TCP, with [`Launcher::Torchrun`] alone.
    pub meeting: Option<Meeting>,
}

/// Where rank 0 listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meeting {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
}

impl Launcher {
    /// Its name, for messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mpirun => "mpirun",
            Self::Srun => "srun",
            Self::Torchrun => "torchrun",
        }
    }
}

/// Of each launcher, the variables of number and size, and that of the number on a machine. `srun` sets the size of the step;
/// a batch script that starts a program without it has `SLURM_PROCID` and `SLURM_NTASKS`, and is one process.
const VARIABLES: [(Launcher, &str, &str, &str); 4] = [
    (Launcher::Mpirun, "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"),
    (Launcher::Srun, "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"),
    (Launcher::Mpirun, "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID"),
    (Launcher::Torchrun, "RANK", "WORLD_SIZE", "LOCAL_RANK"),
];

impl Place {
    /// What this process's environment says; `None` where nothing starts several.
    ///
    /// # Errors
    /// When a variable holds no number, or they contradict one another.
    pub fn of_environment() -> Result<Option<Self>> {
        Self::of(|name| std::env::var(name).ok())
    }

    /// As [`Place::of_environment`], with the environment's variables from `variable`.
    ///
    /// # Errors
    /// As there.
    pub fn of(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>> {
        let number = |name: &str| -> Result<Option<usize>> {
            let Some(text) = variable(name) else { return Ok(None) };
            let number = text.trim().parse();
            number.map(Some).with_context(|| format!("{name}={text} in the environment: must be a whole number"))
        };
        for (launcher, rank, size, local) in VARIABLES {
            if variable(rank).is_none() || variable(size).is_none() {
                continue;
            }
            let meeting = match launcher {
                // RANK and WORLD_SIZE are common words: without an address nobody means us.
                Launcher::Torchrun if variable("MASTER_ADDR").is_none() => continue,
                Launcher::Torchrun => Some(Meeting::of(&variable)?),
                Launcher::Mpirun | Launcher::Srun => None,
            };
            let (Some(number_of), Some(count)) = (number(rank)?, number(size)?) else { continue };
            ensure!(
                number_of < count,
                "{rank}={number_of} and {size}={count} in the environment contradict one another"
            );
            let local_rank = number(local)?;
            return Ok((count > 1).then_some(Self { launcher, rank: number_of, size: count, local_rank, meeting }));
        }
        Ok(None)
    }
}

impl Meeting {
    /// `MASTER_ADDR` and `MASTER_PORT`; the port after that, where torchrun's agent listens at it.
    fn of(variable: &impl Fn(&str) -> Option<String>) -> Result<Self> {
        let host = variable("MASTER_ADDR").unwrap_or_default();
        let port = variable("MASTER_PORT").context("MASTER_ADDR is in the environment, and MASTER_PORT is missing")?;
        let number = port.trim().parse::<u16>().ok().filter(|port| (1..u16::MAX).contains(port));
        let number = number.with_context(|| format!("MASTER_PORT={port} in the environment: must be a port"))?;
        let taken = variable("TORCHELASTIC_USE_AGENT_STORE").is_some_and(|value| value == "True");
        Ok(Self { host, port: number + u16::from(taken) })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn place(line: &str) -> Result<Option<Place>> {
        let all: Vec<_> = line.split_whitespace().filter_map(|pair| pair.split_once('=')).collect();
        Place::of(|name| all.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string()))
    }

    #[test]
    fn launchers_are_known_by_their_variables() {
        let ompi = "OMPI_COMM_WORLD_RANK=2 OMPI_COMM_WORLD_SIZE=4 OMPI_COMM_WORLD_LOCAL_RANK=1 PMIX_RANK=2";
        let srun = "SLURM_PROCID=3 SLURM_STEP_NUM_TASKS=8 SLURM_LOCALID=3 SLURM_NTASKS=8";
        let torchrun = "RANK=1 WORLD_SIZE=2 LOCAL_RANK=1 MASTER_ADDR=node-1 MASTER_PORT=29500";
        for (line, launcher, rank, size, local_rank) in [
            (ompi, Launcher::Mpirun, 2, 4, Some(1)),
            ("PMI_RANK=0 PMI_SIZE=2", Launcher::Mpirun, 0, 2, None),
            (srun, Launcher::Srun, 3, 8, Some(3)),
            // PMI 2 under Slurm sets both; mpirun within a Slurm job, too.
            (&format!("{srun} PMI_RANK=3 PMI_SIZE=8"), Launcher::Srun, 3, 8, Some(3)),
            (&format!("{ompi} SLURM_PROCID=0 SLURM_STEP_NUM_TASKS=1"), Launcher::Mpirun, 2, 4, Some(1)),
            (torchrun, Launcher::Torchrun, 1, 2, Some(1)),
        ] {
            let found = place(line).unwrap().unwrap();
            assert_eq!((found.launcher, found.rank, found.size, found.local_rank), (launcher, rank, size, local_rank));
        }
        let meeting = |line: &str| place(line).unwrap().unwrap().meeting.unwrap();
        assert_eq!(meeting(torchrun), Meeting { host: "node-1".into(), port: 29500 });
        // The agent of torchrun holds the port itself.
        assert_eq!(meeting(&format!("{torchrun} TORCHELASTIC_USE_AGENT_STORE=True")).port, 29501);
    }

    #[test]
    fn one_process_is_none() {
        for line in [
            "",
            "OMPI_COMM_WORLD_RANK=0 OMPI_COMM_WORLD_SIZE=1",
            // A batch script that starts a program without srun.
            "SLURM_PROCID=0 SLURM_NTASKS=4 SLURM_LOCALID=0",
            "RANK=0 WORLD_SIZE=2",
            "RANK=3",
        ] {
            assert_eq!(place(line).unwrap(), None, "{line}");
        }
    }

    #[test]
    fn nonsense_is_named() {
        for (line, words) in [
            ("OMPI_COMM_WORLD_RANK=x OMPI_COMM_WORLD_SIZE=4", "OMPI_COMM_WORLD_RANK=x"),
            ("PMI_RANK=4 PMI_SIZE=4", "contradict"),
            ("RANK=0 WORLD_SIZE=2 MASTER_ADDR=a", "MASTER_PORT"),
            ("RANK=0 WORLD_SIZE=2 MASTER_ADDR=a MASTER_PORT=70000", "MASTER_PORT=70000"),
        ] {
            let message = place(line).unwrap_err().to_string();
            assert!(message.contains(words), "{message}");
        }
    }
}
