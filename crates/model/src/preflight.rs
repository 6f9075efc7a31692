//! Whether a cluster can carry databases: what was found in it, and what that means. Pure.
//!
//! The chart's hook looks, under the customer's rights, and the agent passes on what it wrote down; Kiven judges.
use crate::operators::{Component, Standing, standing};
use crate::{Code, Problem};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The driver of EBS volumes as the add-on brings it; the StorageClass names it.
pub const EBS_DRIVER: &str = "ebs.csi.aws.com";
/// The driver that EKS Auto Mode brings for its own nodes.
pub const AUTO_MODE_DRIVER: &str = "ebs.csi.eks.amazonaws.com";
/// Most entries of each list that is passed on.
pub const ENTRIES_MAX: usize = 20;

/// What was found in a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterFacts {
    /// When it was looked at.
    pub checked_at: Timestamp,
    /// CSI drivers for EBS volumes.
    pub volume_drivers: Vec<String>,
    /// Whether a snapshot controller runs.
    pub snapshot_controller: bool,
    /// Whether nodes are EKS Auto Mode's.
    pub auto_mode: bool,
    /// Nodes by zone.
    pub zones: BTreeMap<String, u32>,
    /// Operators and plugins, whoever installed them.
    pub operators: Vec<FoundOperator>,
    /// What would be refused to a database.
    pub refusals: Vec<Refusal>,
    /// Registries of images, and whether they answer from inside the cluster.
    pub registries: BTreeMap<String, bool>,
    /// Whether network policies have an effect.
    pub network_isolation: Isolation,
}

/// An operator or plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundOperator {
    /// Which.
    pub component: Component,
    /// Where.
    pub namespace: String,
    /// Of which version, as far as its image tells.
    pub version: Option<String>,
}

/// What admission refused when it was asked without effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The kind that was refused.
    pub kind: String,
    /// Who refused it: the webhook or the policy, as far as the answer names it.
    pub by: String,
}

/// Whether network policies have an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// A probe that was reached was no longer reached under a policy.
    Enforced,
    /// It was reached all the same.
    NotEnforced,
    /// Nobody could try.
    Unknown,
}

impl Isolation {
    /// The word as customers see it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enforced => "enforced",
            Self::NotEnforced => "not_enforced",
            Self::Unknown => "unknown",
        }
    }
}

/// How grave a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Gravity {
    /// No database can run.
    Blocks,
    /// Databases run with less than is promised.
    Warns,
    /// Good to know.
    Tells,
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Finding {
    /// How grave it is.
    pub gravity: Gravity,
    /// What, in words.
    pub message: String,
    /// What to do.
    pub hint: String,
}

fn finding(gravity: Gravity, message: impl Into<String>, hint: impl Into<String>) -> Finding {
    Finding { gravity, message: message.into(), hint: hint.into() }
}

/// What the facts mean, the gravest first.
#[must_use]
pub fn judge(facts: &ClusterFacts) -> Vec<Finding> {
    let ClusterFacts { checked_at: _, volume_drivers, snapshot_controller, auto_mode, zones, operators, refusals, registries, network_isolation } =
        facts;
    let mut found: Vec<Finding> = volumes(volume_drivers).into_iter().collect();
    found.extend(refusals.iter().map(|one| {
        let hint = "Exempt the namespace kiven-databases, or allow what the message of the policy names.";
        finding(Gravity::Blocks, format!("{} would be refused by {}", one.kind, one.by), hint)
    }));
    found.extend(operators.iter().filter_map(operator));
    if !snapshot_controller {
        let hint = "Install the EKS add-on snapshot-controller.";
        found.push(finding(Gravity::Warns, "there is no snapshot controller: backups are base backups only", hint));
    }
    if zones.len() < 2 {
        let hint = "Give the environment subnets in three zones, and the cluster nodes in them.";
        found.push(finding(Gravity::Tells, format!("the cluster's nodes are in {} zone", zones.len()), hint));
    }
    if *auto_mode {
        let hint = "Nothing: databases get managed node groups of their own beside it.";
        found.push(finding(Gravity::Tells, "the cluster has nodes of EKS Auto Mode, which carry no databases", hint));
    }
    found.extend(registries.iter().filter(|(_, answers)| !**answers).map(|(registry, _)| {
        let hint = "Open the way out, or name a mirror in the chart's `installer.registry` and `postgresql.images`.";
        finding(Gravity::Warns, format!("the registry {registry} does not answer from inside the cluster"), hint)
    }));
    found.extend(match network_isolation {
        Isolation::Enforced => None,
        Isolation::NotEnforced => {
            let hint = "Turn on network policies in the VPC CNI add-on (enableNetworkPolicy), or install another engine.";
            Some(finding(Gravity::Warns, "network policies have no effect: any pod of the cluster can reach databases", hint))
        }
        Isolation::Unknown => {
            let hint = "Look at the log of the job kiven-preflight, then run `helm upgrade` again.";
            Some(finding(Gravity::Tells, "whether network policies have an effect could not be tried", hint))
        }
    });
    found.sort_by_key(|one| one.gravity);
    found
}

fn volumes(drivers: &[String]) -> Option<Finding> {
    let has = |driver: &str| drivers.iter().any(|one| one == driver);
    if has(EBS_DRIVER) {
        return None;
    }
    let message = if has(AUTO_MODE_DRIVER) {
        "the EBS CSI driver of EKS Auto Mode serves its own nodes only"
    } else {
        "the EBS CSI driver is not in the cluster"
    };
    Some(finding(Gravity::Blocks, message, format!("Install the EKS add-on aws-ebs-csi-driver: volumes are provisioned by {EBS_DRIVER}.")))
}

fn operator(one: &FoundOperator) -> Option<Finding> {
    let version = one.version.as_deref().unwrap_or("of an unknown version");
    match standing(one.component, version) {
        Standing::Listed(_) => None,
        Standing::KnownBad(why) => {
            let message = format!("{} {version} in {} is known to hurt databases: {why}", one.component, one.namespace);
            Some(finding(Gravity::Warns, message, "Bring it to a version that docs/errors/KV-414.md allows."))
        }
        Standing::Unlisted => {
            let message = format!("{} {version} in {} is not a version that Kiven has tried", one.component, one.namespace);
            Some(finding(Gravity::Warns, message, "Bring it to a version that Kiven lists."))
        }
    }
}

/// The one problem that all blocking findings are; `None` where nothing blocks.
#[must_use]
pub fn blocked(facts: &ClusterFacts) -> Option<Problem> {
    let blocking: Vec<String> =
        judge(facts).into_iter().filter(|one| one.gravity == Gravity::Blocks).map(|one| format!("{}. {}", one.message, one.hint)).collect();
    (!blocking.is_empty()).then(|| {
        let problem = Problem::new(Code::CLUSTER_UNFIT, "The cluster lacks what databases need.").detail(blocking.join(" "));
        problem.hint("Mend it, run `helm upgrade` so that the cluster is looked at again, then apply again.")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> ClusterFacts {
        let operator =
            |component, version: &str| FoundOperator { component, namespace: "kiven-system".to_owned(), version: Some(version.to_owned()) };
        ClusterFacts {
            checked_at: Timestamp::UNIX_EPOCH,
            volume_drivers: vec![EBS_DRIVER.to_owned()],
            snapshot_controller: true,
            auto_mode: false,
            zones: ["a", "b", "c"].map(|zone| (zone.to_owned(), 1)).into(),
            operators: vec![operator(Component::Operator, "1.29.2"), operator(Component::Plugin, "0.14.0")],
            refusals: Vec::new(),
            registries: [("ghcr.io".to_owned(), true)].into(),
            network_isolation: Isolation::Enforced,
        }
    }

    fn check(change: impl Fn(&mut ClusterFacts), expected: &[(Gravity, &str)]) {
        let mut facts = good();
        change(&mut facts);
        let found = judge(&facts);
        let said: Vec<(Gravity, &str)> = found.iter().map(|one| (one.gravity, one.message.as_str())).collect();
        assert_eq!(said.len(), expected.len(), "{said:?}");
        for ((gravity, message), (grave, part)) in said.iter().zip(expected) {
            assert!(gravity == grave && message.contains(part), "{message} {part}");
        }
        assert!(found.iter().all(|one| !one.hint.is_empty()));
        assert_eq!(blocked(&facts).is_some(), expected.iter().any(|(gravity, _)| *gravity == Gravity::Blocks));
    }

    #[test]
    fn each_fact_has_its_meaning() {
        use Gravity::{Blocks, Tells, Warns};
        check(|_| {}, &[]);
        check(|facts| facts.volume_drivers.clear(), &[(Blocks, "EBS CSI driver is not")]);
        check(|facts| facts.volume_drivers = vec![AUTO_MODE_DRIVER.to_owned()], &[(Blocks, "Auto Mode serves its own")]);
        check(|facts| facts.snapshot_controller = false, &[(Warns, "snapshot controller")]);
        check(|facts| facts.auto_mode = true, &[(Tells, "Auto Mode")]);
        check(|facts| drop(facts.zones.split_off("b")), &[(Tells, "in 1 zone")]);
        check(|facts| facts.operators[0].version = Some("1.30.0".to_owned()), &[(Warns, "11202")]);
        check(|facts| facts.operators[0].version = None, &[(Warns, "unknown version")]);
        check(
            |facts| facts.refusals = vec![Refusal { kind: "Pod".to_owned(), by: "kyverno".to_owned() }],
            &[(Blocks, "Pod would be refused by kyverno")],
        );
        check(|facts| facts.registries = [("r.example".to_owned(), false)].into(), &[(Warns, "r.example does not answer")]);
        check(|facts| facts.network_isolation = Isolation::NotEnforced, &[(Warns, "no effect")]);
        check(|facts| facts.network_isolation = Isolation::Unknown, &[(Tells, "could not be tried")]);
        check(
            |facts| {
                facts.volume_drivers.clear();
                facts.auto_mode = true;
                facts.snapshot_controller = false;
            },
            &[(Blocks, "EBS"), (Warns, "snapshot"), (Tells, "Auto Mode")],
        );
    }
}
