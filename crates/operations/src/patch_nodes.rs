//! Patch nodes: new machine images under the database, group by group, the primary's last and after a switchover.
use crate::input::DatabaseInput;
use crate::settle;
use crate::steps::{AwaitPatch, AwaitWhole, LeaveZone, PATCH_ATTEMPTS_MAX, ReadPrimaryZone, StartPatch};
use kiven_durable::{Body, Cx, Outcome, Stop};
use kiven_model::operation::{Operation, OperationKind};
use kiven_ports::account::NodeGroup;
use kiven_ports::{PortError, Ports, Write};

/// See the module.
#[derive(Debug, Clone, Copy)]
pub struct PatchNodes;

impl<P: Ports> Body<P> for PatchNodes {
    const KIND: OperationKind = OperationKind::PatchNodes;
    const VERSION: u32 = 1;
    type Input = DatabaseInput;
    /// The groups whose nodes are new.
    type Output = Vec<String>;

    async fn run(cx: Cx<P>, input: DatabaseInput) -> Result<Vec<String>, Stop> {
        cx.step(AwaitWhole::before(&input)).await?;
        let primary = cx.step(ReadPrimaryZone::of(&input)).await?;
        cx.no_way_back().await?; // an old image is not brought back: what has begun is brought to its end
        let mut patched = Vec::new();
        for group in primary_last(&input, primary.as_deref()) {
            // Asked before each group: a failover may have moved the primary meanwhile.
            cx.step(LeaveZone::of(&input, &group)).await?;
            for attempt in 1..=PATCH_ATTEMPTS_MAX {
                let Some(update) = cx.step(StartPatch::of(&input, &group, attempt)).await? else { break };
                if cx.step(AwaitPatch::of(&input, &group, attempt, update)).await? {
                    patched.push(group.name.clone());
                    break;
                }
            }
            cx.step(AwaitWhole::after(&input, &group)).await?;
        }
        Ok(patched)
    }

    async fn settle(ports: &P, operation: &Operation, outcome: &Outcome) -> Result<Vec<Write>, PortError> {
        settle::database(ports, operation, outcome, settle::unchanged).await
    }
}

fn primary_last(input: &DatabaseInput, primary: Option<&str>) -> Vec<NodeGroup> {
    let mut groups = input.node_groups();
    // Stable: the others stay in the order of their zones.
    groups.sort_by_key(|group| primary.is_some() && input.zone_of(group) == primary);
    groups
}
