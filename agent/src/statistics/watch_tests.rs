//! What statistics have to do with what is watched: a volume that fills is told of at once, and who is to be paused is left at once.
use crate::hostile_tests::{fake, generation};
use crate::objects::{annotate, api, cnpg, resource};
use crate::outbox::Outbox;
use crate::watch::World;
use kiven_data_services::cnpg::{Cnpg, HIBERNATION};
use kiven_data_services::{DataService, Generation};
use kiven_fake_kube::{Handle, kinds};
use kiven_model::database::Power;
use kiven_model::event::Happening;
use kiven_model::names::{DATABASE_NAMESPACE, SYSTEM_NAMESPACE};
use kiven_model::report::ReportBody;
use kiven_model::statistics::VolumeUse;
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long anything may take that is to happen at once.
const AT_ONCE: Duration = Duration::from_secs(1);
/// How long the first lists may take.
const LISTED_MAX: Duration = Duration::from_secs(10);

/// A database with one instance, and what watches it.
struct Scene {
    kube: Handle,
    client: kube::Client,
    generation: Generation,
    outbox: Arc<Outbox>,
    world: Arc<World>,
}

impl Scene {
    async fn begin() -> Self {
        let (kube, client) = fake().await;
        let generation = generation(1, "shop");
        let cluster = generation.names().cluster;
        kube.create(&kinds::NAMESPACES, json!({ "metadata": { "name": DATABASE_NAMESPACE } })).unwrap();
        let objects = Cnpg.cluster(&generation, Power::On);
        let object = objects.into_iter().find(|object| object["kind"] == "Cluster").unwrap();
        kube.create(&kinds::CLUSTERS, object).unwrap();
        let (name, labels) = (format!("{cluster}-1"), json!({ "cnpg.io/cluster": cluster, "cnpg.io/podRole": "instance" }));
        let metadata = json!({ "name": name, "namespace": DATABASE_NAMESPACE, "labels": labels });
        kube.create(&kinds::VOLUME_CLAIMS, json!({ "metadata": metadata, "spec": { "volumeName": "pv-1" } })).unwrap();
        kube.patch_status(&kinds::VOLUME_CLAIMS, DATABASE_NAMESPACE, &name, &json!({ "capacity": { "storage": "100Gi" } })).unwrap();
        kube.create(&kinds::PODS, json!({ "metadata": metadata, "spec": { "containers": [{ "name": "postgres" }] } })).unwrap();
        let status = json!({ "phase": "Running", "podIP": "127.0.0.1", "conditions": [{ "type": "Ready", "status": "True" }] });
        kube.patch_status(&kinds::PODS, DATABASE_NAMESPACE, &name, &status).unwrap();
        let outbox = Arc::new(Outbox::default());
        let world = World::start(client.clone(), Arc::clone(&outbox), SYSTEM_NAMESPACE.to_owned(), false);
        let scene = Self { kube, client, generation, outbox, world };
        let mut targets = scene.world.targets();
        let one = targets.wait_for(|targets| targets.len() == 1 && targets[0].instance == name && targets[0].inside == "shop");
        tokio::time::timeout(LISTED_MAX, one).await.unwrap().unwrap();
        scene
    }

    fn instance(&self) -> String {
        format!("{}-1", self.generation.names().cluster)
    }

    /// So many GiB are used: the next event, if one comes at once.
    async fn used(&self, gib: u64) -> Option<Happening> {
        let mut used = VolumeUse { data_bytes: gib << 30, wal_bytes: 0, temporary_bytes: 0, unarchived: 0, capacity_bytes: None };
        self.world.fill(&self.instance(), &mut used);
        assert_eq!(used.capacity_bytes, Some(100 << 30));
        let event = async {
            loop {
                match self.outbox.take() {
                    Some((_, ReportBody::Event(event))) => return event.what,
                    Some(_) => {}
                    None => self.outbox.ready.notified().await,
                }
            }
        };
        tokio::time::timeout(AT_ONCE, event).await.ok()
    }
}

#[tokio::test]
async fn a_volume_that_fills_is_told_of_within_a_second_once_at_each_threshold() {
    let scene = Scene::begin().await;
    let claim = scene.instance();
    let filling = |percent| Some(Happening::VolumeFilling { claim: claim.clone(), percent });
    assert_eq!(scene.used(50).await, None);
    assert_eq!(scene.used(81).await, filling(81));
    assert_eq!(scene.used(84).await, None, "it was told");
    assert_eq!(scene.used(97).await, filling(97), "two thresholds at once are one event");
    assert_eq!(scene.used(93).await, None, "it has hardly emptied");
    scene.kube.stop().await;
}

#[tokio::test]
async fn an_instance_is_left_at_once_when_its_database_is_to_be_paused_or_its_pod_goes() {
    let scene = Scene::begin().await;
    let mut targets = scene.world.targets();
    let clusters = cnpg(&scene.client, DATABASE_NAMESPACE, "Cluster", "clusters");
    let cluster = scene.generation.names().cluster;
    for (power, left) in [("on", 0), ("off", 1)] {
        let began = Instant::now();
        annotate(&clusters, &cluster, json!({ HIBERNATION: power })).await.unwrap();
        tokio::time::timeout(AT_ONCE, targets.wait_for(|targets| targets.len() == left)).await.unwrap().unwrap();
        assert!(began.elapsed() < AT_ONCE);
    }
    let pods = api(&scene.client, DATABASE_NAMESPACE, &resource("", "v1", "Pod", "pods"));
    crate::objects::delete(&pods, &scene.instance()).await.unwrap();
    tokio::time::timeout(AT_ONCE, targets.wait_for(Vec::is_empty)).await.unwrap().unwrap();
    scene.kube.stop().await;
}
