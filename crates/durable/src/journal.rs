//! The record of one operation during one drive: what is recorded, and the one place that commits.
use crate::body::Stop;
use jiff::Timestamp;
use kiven_model::OperationId;
use kiven_model::operation::{EventKind, Operation, OperationEvent, StepRecord};
use kiven_ports::{PortError, Ports, Records, Write};
use std::sync::Arc;

/// The operation as of the last commit.
pub(crate) struct Journal {
    pub(crate) head: Arc<Operation>,
    pub(crate) steps: Vec<StepRecord>,
}

/// What one commit changes besides the head's version and time.
#[derive(Default)]
pub(crate) struct Change {
    pub(crate) steps: Vec<StepRecord>,
    pub(crate) events: Vec<(EventKind, Option<String>, String)>,
    pub(crate) writes: Vec<Write>,
}

impl Journal {
    /// Loads an operation with its steps.
    pub(crate) async fn load<P: Ports>(ports: &P, id: &OperationId) -> Result<Option<Self>, PortError> {
        let Some(head) = ports.records().operation_get(id).await? else { return Ok(None) };
        let steps = ports.records().operation_steps(id).await?;
        Ok(Some(Self { head: Arc::new(head), steps }))
    }

    /// Commits a change of the head with steps and events, all or nothing.
    pub(crate) async fn commit<P: Ports>(
        &mut self,
        ports: &P,
        now: Timestamp,
        change: Change,
        edit: impl FnOnce(&mut Operation),
    ) -> Result<(), Stop> {
        let expected = self.head.version;
        let mut head = Operation::clone(&self.head);
        edit(&mut head);
        head.version = expected + 1;
        head.updated_at = now;
        let mut writes = change.writes;
        for (kind, step, message) in change.events {
            head.events += 1;
            writes.push(Write::Event(head.id.clone(), Box::new(OperationEvent { sequence: head.events, at: now, step, kind, message })));
        }
        writes.extend(change.steps.iter().map(|step| Write::Step(head.id.clone(), Box::new(step.clone()))));
        writes.push(Write::Operation { record: Box::new(head.clone()), expected: Some(expected) });
        ports.records().records_commit(writes).await.map_err(|error| Stop::Lost(error.to_string()))?;
        self.head = Arc::new(head);
        for step in change.steps {
            match self.steps.iter_mut().find(|known| known.ordinal == step.ordinal) {
                Some(known) => *known = step,
                None => self.steps.push(step),
            }
        }
        Ok(())
    }
}
