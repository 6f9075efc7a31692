//! The fleet: nodes of a newer machine image and another server certificate, each in its maintenance window and never outside of it.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "a test: it panics where something is not as expected")]
use jiff::Timestamp;
use kiven_model::OperationId;
use kiven_model::api::{DatabaseView, OperationView};
use kiven_model::lifecycle::DatabaseStatus;
use kiven_model::operation::OperationKind;
use kiven_tests::customer::database_request;
use kiven_tests::{Customer, Stack, within};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A Tuesday; machine images are of the first of March.
const BEGINS: &str = "2026-03-10T12:00:00Z";
/// More than 35 days later, on a Saturday: the default window is on Sunday from 02:00 to 04:00 UTC.
const OUTSIDE: &str = "2026-04-25T12:00:00Z";
const OPENS: &str = "2026-04-26T02:00:00Z";
const INSIDE: &str = "2026-04-26T02:30:00Z";
/// Two windows in which the certificate, good for 90 days, has less than 30 left, and a newer image is out too.
const LATER: [&str; 2] = ["2026-05-17T02:30:00Z", "2026-05-24T02:30:00Z"];
/// How long a decision may take after a jump of weeks.
const DECIDED_MAX: Duration = Duration::from_secs(60);

struct Fleet {
    stack: Stack,
    customer: Customer,
    database: DatabaseView,
    known: BTreeSet<OperationId>,
}

impl Fleet {
    async fn operations(&self) -> Vec<OperationView> {
        self.customer.client.operation_list(Some(&self.database.id)).await.unwrap()
    }

    /// Waits for one operation that was not there before, and for its good end.
    async fn maintained(&mut self) -> OperationView {
        let fresh = async || self.operations().await.into_iter().find(|one| !self.known.contains(&one.id));
        assert!(within(DECIDED_MAX, async || fresh().await.is_some()).await, "nothing was begun\n{}", self.stack.tail());
        let found = fresh().await.unwrap();
        let ended = self.customer.succeed(&found.id).await.unwrap_or_else(|error| panic!("{error:#}\n{}", self.stack.tail()));
        println!("{} in the window, after {} s", ended.kind.as_str(), ended.updated_at.duration_since(ended.created_at).as_secs());
        self.known.insert(found.id);
        ended
    }

    /// Zone by node of the database.
    async fn nodes(&self) -> BTreeMap<String, String> {
        self.customer.nodes(&self.database).await.unwrap()
    }

    /// The primary's zone.
    async fn primary_zone(&self) -> String {
        let pods = self.customer.objects("api/v1", "pods").await.unwrap();
        let primary = pods.iter().find(|pod| pod["metadata"]["labels"]["cnpg.io/instanceRole"] == "primary").unwrap();
        self.nodes().await.get(primary["spec"]["nodeName"].as_str().unwrap()).cloned().unwrap_or_default()
    }
}

#[tokio::test]
async fn maintenance_is_done_in_its_window_and_not_outside_of_it() {
    let stack = Stack::start_at("fleet", BEGINS).await.unwrap();
    let customer = Customer::connect(&stack).await.unwrap();
    let (database, operation) = customer.ask(&database_request(&customer.environment, "fleet", 2)).await.unwrap();
    customer.succeed(&operation).await.unwrap_or_else(|error| panic!("{error:#}\n{}", stack.tail()));
    let mut fleet = Fleet { known: BTreeSet::from([operation]), stack, customer, database };
    let (before, zone, volumes) = (fleet.nodes().await, fleet.primary_zone().await, fleet.customer.volumes(&fleet.database).await.unwrap());
    assert_eq!(before.values().collect::<BTreeSet<_>>().len(), 2, "two nodes in two zones: {before:?}");

    fleet.stack.clock_set(OUTSIDE).unwrap();
    let opens: Timestamp = OPENS.parse().unwrap();
    let looked = async || fleet.customer.client.database_get(&fleet.database.id).await.is_ok_and(|view| view.maintenance_due == Some(opens));
    assert!(within(DECIDED_MAX, looked).await, "{}", fleet.stack.tail());
    assert_eq!(fleet.operations().await.len(), 1, "nothing is begun on a Saturday");

    fleet.stack.clock_set(INSIDE).unwrap();
    assert_eq!(fleet.maintained().await.kind, OperationKind::PatchNodes);
    let after = fleet.nodes().await;
    assert!(after.keys().all(|node| !before.contains_key(node)), "every node is another: {before:?} {after:?}");
    assert_eq!(after.values().collect::<BTreeSet<_>>(), before.values().collect::<BTreeSet<_>>(), "in the same zones");
    assert_ne!(fleet.primary_zone().await, zone, "the primary left its zone before the nodes there were replaced");
    assert_eq!(fleet.customer.volumes(&fleet.database).await.unwrap(), volumes);

    let mut kinds = Vec::new();
    for window in LATER {
        fleet.stack.clock_set(window).unwrap();
        kinds.push(fleet.maintained().await.kind);
    }
    kinds.sort();
    assert_eq!(kinds, [OperationKind::PatchNodes, OperationKind::RotateCertificates], "one a window");
    let view = fleet.customer.client.database_get(&fleet.database.id).await.unwrap();
    assert_eq!(view.status, DatabaseStatus::Available);
    fleet.stack.end().await.unwrap();
}
