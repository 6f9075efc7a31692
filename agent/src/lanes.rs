//! Whose turn it is: commands of one database in their order, of different databases side by side, all of it bounded. Pure.
use kiven_model::DatabaseId;
use kiven_model::command::Command;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Most commands that run at once.
pub(crate) const RUNNING_MAX: usize = 16;
/// Most commands that run or wait; beyond it the stream is not read.
pub(crate) const ADMITTED_MAX: usize = 64;

/// A database, or `None` for the commands that are about no database. Readers have one of their own: they change nothing, and
/// somebody reads because something else takes long.
type Lane = (Option<DatabaseId>, bool);

fn lane(command: &Command) -> Lane {
    (command.database_id.clone(), command.body.is_for_a_reader())
}

/// Commands that run or wait.
#[derive(Default)]
pub(crate) struct Lanes {
    /// What waits in each lane. A lane is here from its first command's arrival to its last one's end.
    waiting: BTreeMap<Lane, VecDeque<Command>>,
    /// Lanes that have a command to run and none that runs, in the order in which they get a place.
    turns: VecDeque<Lane>,
    /// The ids of all that run or wait.
    ids: BTreeSet<String>,
    running: usize,
    closed: bool,
}

impl Lanes {
    /// Takes a command in. False for one that runs or waits already, whose one answer is still to come, and once closed.
    pub(crate) fn admit(&mut self, command: Command) -> bool {
        if self.closed || !self.ids.insert(command.id.clone()) {
            return false;
        }
        match self.waiting.entry(lane(&command)) {
            Entry::Occupied(mut lane) => lane.get_mut().push_back(command),
            Entry::Vacant(lane) => {
                self.turns.push_back(lane.key().clone());
                lane.insert(VecDeque::from([command]));
            }
        }
        true
    }

    /// Whether a command of this id runs or waits.
    pub(crate) fn knows(&self, id: &str) -> bool {
        self.ids.contains(id)
    }

    /// The next command to run, if there is one and a place for it. It runs until [`Lanes::ended`].
    pub(crate) fn next(&mut self) -> Option<Command> {
        if self.closed || self.running == RUNNING_MAX {
            return None;
        }
        let lane = self.turns.pop_front()?;
        let command = self.waiting.get_mut(&lane)?.pop_front()?;
        self.running += 1;
        Some(command)
    }

    /// A command that ran has ended; the next of its lane gets its turn after those that waited longer.
    pub(crate) fn ended(&mut self, command: &Command) {
        if !self.ids.remove(&command.id) {
            return;
        }
        self.running -= 1;
        let Entry::Occupied(lane) = self.waiting.entry(lane(command)) else { return };
        if lane.get().is_empty() {
            lane.remove();
        } else {
            self.turns.push_back(lane.key().clone());
        }
    }

    /// Nothing more is taken in or started; what waits is left to the next session of the next process.
    pub(crate) fn close(&mut self) {
        self.closed = true;
    }

    /// Whether the stream may be read. Always once closed: acknowledgements still come, commands are ignored.
    pub(crate) fn has_room(&self) -> bool {
        self.closed || self.ids.len() < ADMITTED_MAX
    }

    /// Whether nothing runs.
    pub(crate) fn is_idle(&self) -> bool {
        self.running == 0
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use jiff::Timestamp;
    use kiven_model::command::CommandBody;
    use kiven_model::{EnvironmentId, OperationId};

    /// A command of the database of that number; 0 is none.
    pub(crate) fn command(database: u8, id: &str) -> Command {
        Command {
            id: id.to_owned(),
            environment_id: EnvironmentId::from_random([1; 16]),
            operation_id: OperationId::from_random([3; 16]),
            database_id: (database > 0).then(|| DatabaseId::from_random([database; 16])),
            fence: 1,
            not_after: Timestamp::MAX,
            body: CommandBody::Inspect,
        }
    }

    fn started(lanes: &mut Lanes) -> Vec<String> {
        std::iter::from_fn(|| lanes.next()).map(|command| command.id).collect()
    }

    #[test]
    fn one_database_keeps_its_order_and_others_pass() {
        let mut lanes = Lanes::default();
        for (database, id) in [(1, "a1"), (1, "a2"), (0, "n1"), (2, "b1"), (0, "n2"), (1, "a3")] {
            assert!(lanes.admit(command(database, id)));
        }
        assert_eq!(started(&mut lanes), ["a1", "n1", "b1"]);
        lanes.ended(&command(0, "n1"));
        assert_eq!(started(&mut lanes), ["n2"]);
        lanes.ended(&command(1, "a1"));
        assert_eq!(started(&mut lanes), ["a2"]);
        assert!(started(&mut lanes).is_empty());
        for (database, id) in [(1, "a2"), (2, "b1"), (0, "n2")] {
            lanes.ended(&command(database, id));
        }
        assert_eq!(started(&mut lanes), ["a3"]);
        lanes.ended(&command(1, "a3"));
        assert!(lanes.is_idle() && lanes.waiting.is_empty() && lanes.turns.is_empty() && lanes.ids.is_empty());
    }

    #[test]
    fn a_doubled_command_is_taken_once_until_it_has_ended() {
        let mut lanes = Lanes::default();
        assert!(lanes.admit(command(1, "a")) && lanes.admit(command(1, "b")));
        assert!(!lanes.admit(command(1, "a")) && !lanes.admit(command(1, "b")), "waiting");
        assert_eq!(started(&mut lanes), ["a"]);
        assert!(!lanes.admit(command(1, "a")), "running");
        // An end that is told twice, or of another's command, frees nobody's place.
        lanes.ended(&command(1, "a"));
        lanes.ended(&command(1, "a"));
        lanes.ended(&command(2, "x"));
        assert_eq!(started(&mut lanes), ["b"]);
        assert!(lanes.admit(command(1, "a")), "ended");
    }

    #[test]
    fn places_and_room_are_bounded() {
        let mut lanes = Lanes::default();
        for database in 1..=ADMITTED_MAX {
            assert!(lanes.has_room());
            lanes.admit(command(u8::try_from(database).unwrap(), &database.to_string()));
        }
        assert!(!lanes.has_room());
        assert_eq!(started(&mut lanes).len(), RUNNING_MAX);
        lanes.ended(&command(1, "1"));
        assert!(lanes.has_room());
        assert_eq!(started(&mut lanes), [(RUNNING_MAX + 1).to_string()]);
    }

    #[test]
    fn a_busy_database_does_not_keep_others_from_their_turn() {
        let mut lanes = Lanes::default();
        for database in 1..=RUNNING_MAX {
            lanes.admit(command(u8::try_from(database).unwrap(), &format!("first of {database}")));
            lanes.admit(command(u8::try_from(database).unwrap(), &format!("second of {database}")));
        }
        lanes.admit(command(99, "late"));
        assert_eq!(started(&mut lanes).len(), RUNNING_MAX);
        lanes.ended(&command(1, "first of 1"));
        assert_eq!(started(&mut lanes), ["late"]);
    }

    #[test]
    fn once_closed_nothing_starts_and_the_stream_is_read_on() {
        let mut lanes = Lanes::default();
        (0..ADMITTED_MAX).for_each(|n| assert!(lanes.admit(command(1, &n.to_string()))));
        assert_eq!(started(&mut lanes), ["0"]);
        lanes.close();
        assert!(lanes.has_room() && !lanes.is_idle() && !lanes.admit(command(2, "new")));
        lanes.ended(&command(1, "0"));
        assert!(started(&mut lanes).is_empty() && lanes.is_idle());
    }
}
