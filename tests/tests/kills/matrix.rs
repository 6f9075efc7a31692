//! The cells: who is killed, in which operation, at which step, at which point.
use std::fmt;

/// What goes on while somebody is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// A new database.
    Provision,
    /// Power off.
    Pause,
    /// Power on.
    Resume,
    /// A disconnect that leaves the databases as they are.
    Release,
    /// A disconnect that takes them away.
    Destroy,
    /// `terraform apply` from nothing.
    Apply,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Provision => "provision",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Release => "disconnect (release)",
            Self::Destroy => "disconnect (destroy)",
            Self::Apply => "apply",
        })
    }
}

/// How the victim is struck.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Strike {
    /// These failpoints are armed before the operation begins; the first must fire.
    Armed(Vec<String>),
    /// This failpoint is armed when the step begins.
    ArmedAtStep(String),
    /// Every process of this program is killed when the step begins.
    Program(&'static str),
    /// The stack itself is killed when the step begins, then started again.
    Stack,
    /// The database's postmaster is killed when the step begins, or as soon as there is one.
    Postmaster,
}

/// One cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// Who.
    pub victim: &'static str,
    /// In what.
    pub operation: Operation,
    /// When.
    pub step: &'static str,
    /// Where exactly.
    pub point: &'static str,
    /// How.
    pub strike: Strike,
}

impl Cell {
    /// How often an operation's usual time may pass again: a released agent that died before it answered is waited for.
    #[must_use]
    pub fn patience(&self) -> u32 {
        if self.victim == "agent" && self.step == "release_agent" && self.point == "command done" { 2 } else { 0 }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} × {} × {} × {}", self.victim, self.operation, self.step, self.point)
    }
}

/// A step and whether it asks the agent.
type Step = (&'static str, bool);

const PROVISION: [Step; 15] = [
    ("check_node_group_quota", false),
    ("ensure_node_group", false),
    ("verify_storage_class", false),
    ("verify_operator", false),
    ("ensure_backup_bucket", false),
    ("ensure_backup_role", false),
    ("ensure_secrets", true),
    ("apply_cluster", true),
    ("apply_pooler", true),
    ("apply_network_policy", true),
    ("await_node_group", false),
    ("await_healthy", false),
    ("apply_scheduled_backup", true),
    ("ensure_initial_database", true),
    ("read_connection", true),
];
const PAUSE: [Step; 10] = [
    ("enter_account", false),
    ("apply_scheduled_backup", true),
    ("await_backups", true),
    ("apply_pooler", true),
    ("archive_wal", true),
    ("record_volumes", false),
    ("hibernate_cluster", true),
    ("await_hibernated", false),
    ("verify_volumes", false),
    ("scale_node_group", false),
];
const RESUME: [Step; 6] = [
    ("scale_node_group", false),
    ("wake_cluster", true),
    ("await_healthy", false),
    ("verify_identity", false),
    ("apply_pooler", true),
    ("apply_scheduled_backup", true),
];
const RELEASE: [Step; 3] = [("read_databases", false), ("release_database", false), ("release_agent", true)];
const DESTROY: [Step; 4] = [("read_databases", false), ("begin_delete", false), ("await_gone", false), ("release_agent", true)];
/// When a postmaster is struck.
const POSTMASTER: [(Operation, &str); 5] = [
    (Operation::Provision, "await_healthy"),
    (Operation::Provision, "ensure_initial_database"),
    (Operation::Pause, "archive_wal"),
    (Operation::Resume, "await_healthy"),
    (Operation::Resume, "verify_identity"),
];

/// Every cell of the operations that the API drives.
pub fn cells() -> Vec<Cell> {
    let mut cells = of(&[(Operation::Provision, &PROVISION), (Operation::Pause, &PAUSE), (Operation::Resume, &RESUME)]);
    cells.extend(POSTMASTER.map(|(operation, step)| Cell { victim: "postgres", operation, step, point: "step begun", strike: Strike::Postmaster }));
    cells
}

/// Every cell of a disconnect.
pub fn leaving_cells() -> Vec<Cell> {
    of(&[(Operation::Release, &RELEASE), (Operation::Destroy, &DESTROY)])
}

fn of(operations: &[(Operation, &'static [Step])]) -> Vec<Cell> {
    let mut cells = Vec::new();
    for (operation, step, asks) in operations.iter().flat_map(|(operation, steps)| steps.iter().map(move |(step, asks)| (*operation, *step, *asks))) {
        let mut add = |victim, point, strike| cells.push(Cell { victim, operation, step, point, strike });
        add("worker", "intent recorded", Strike::Armed(vec![format!("worker.intent_recorded.{step}")]));
        add("worker", "effect done", Strike::Armed(vec![format!("worker.effect_done.{step}")]));
        add("sweep", "due, after the worker died", Strike::Armed(vec![format!("worker.effect_done.{step}"), "sweep.due.operation".to_owned()]));
        if asks {
            add("agent", "command received", Strike::Armed(vec![format!("agent.received.{step}")]));
            add("agent", "command done", Strike::Armed(vec![format!("agent.done.{step}")]));
            add("relay", "command due", Strike::Armed(vec![format!("relay.due.{step}")]));
            add("relay", "report in the queue", Strike::ArmedAtStep("relay.reported.report".to_owned()));
            add("reports", "report received", Strike::ArmedAtStep("reports.received.report".to_owned()));
            add("reports", "report recorded", Strike::ArmedAtStep("reports.recorded.report".to_owned()));
        }
        add("api", "step begun", Strike::Program("lambda-api"));
        add("kiven-local", "step begun", Strike::Stack);
    }
    cells
}

/// Every cell of Terraform: killed at each third of an apply.
pub fn terraform_cells() -> Vec<Cell> {
    let thirds = [("connect: hear_agent", "first third"), ("provision: ensure_secrets", "second third"), ("provision: await_healthy", "last third")];
    let victims = [("terraform", "terraform"), ("provider", "terraform-provider-kiven_v0.1.0")];
    let of = |(victim, program): (&'static str, &'static str)| {
        thirds.map(|(step, point)| Cell { victim, operation: Operation::Apply, step, point, strike: Strike::Program(program) })
    };
    victims.into_iter().flat_map(of).collect()
}

/// A few cells, the same for the same seed: one of each victim, then any others.
pub fn sample(cells: Vec<Cell>, seed: u64, count: usize) -> Vec<Cell> {
    let mut state = seed;
    let mut next = || {
        // SplitMix64: small, and the same everywhere.
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    };
    let mut shuffled: Vec<(u64, Cell)> = cells.into_iter().map(|cell| (next(), cell)).collect();
    shuffled.sort_by_key(|(place, _)| *place);
    let mut chosen: Vec<Cell> = Vec::new();
    let mut others: Vec<Cell> = Vec::new();
    for (_, cell) in shuffled {
        let known = chosen.iter().any(|one| one.victim == cell.victim);
        if known { others.push(cell) } else { chosen.push(cell) }
    }
    chosen.extend(others);
    chosen.truncate(count);
    chosen
}
