//! A Cluster made by hand, of the same size and settings, on the same nodes: what CloudNativePG does by itself.
use crate::figures::Figures;
use crate::given::{DATABASES, Given};
use crate::life;
use crate::writer::{Target, Writer, authority};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Its name.
pub const NAME: &str = "e2e-plain";
/// How long each part of it may take.
const PART_MAX: Duration = Duration::from_secs(300);

/// The Cluster by hand: instances, image, resources, volume, settings, synchronous standby and archive like Kiven's; no pooler.
fn cluster(like: &Value) -> Value {
    let spec = &like["spec"];
    let mut plugin = spec["plugins"][0].clone();
    plugin["parameters"] = json!({ "barmanObjectName": NAME });
    let mut parameters = spec["postgresql"]["parameters"].clone();
    parameters.as_object_mut().unwrap().remove("kiven.revision");
    let mut postgresql = json!({ "parameters": parameters });
    if !spec["postgresql"]["synchronous"].is_null() {
        postgresql["synchronous"] = spec["postgresql"]["synchronous"].clone();
    }
    json!({
        "apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster", "metadata": { "name": NAME, "namespace": DATABASES },
        "spec": {
            "instances": spec["instances"], "imageCatalogRef": spec["imageCatalogRef"], "resources": spec["resources"],
            "storage": { "size": spec["storage"]["size"], "storageClass": spec["storage"]["storageClass"] },
            "affinity": { "tolerations": spec["affinity"]["tolerations"], "nodeSelector": { "kiven.io/pool": "local" } },
            "postgresql": postgresql, "plugins": [plugin],
        },
    })
}

/// An archive of its own in Kiven's bucket: gzip, else the plugin's own defaults.
async fn archive(given: &Given, like: &Value) -> Value {
    let of_kiven = like["spec"]["plugins"][0]["parameters"]["barmanObjectName"].as_str().unwrap();
    let of_kiven = given.get("objectstore", of_kiven).await.unwrap()["spec"]["configuration"].clone();
    let path = of_kiven["destinationPath"].as_str().unwrap();
    let configuration = json!({
        "destinationPath": format!("{path}-plain"), "s3Credentials": of_kiven["s3Credentials"], "wal": { "compression": "gzip" },
    });
    json!({
        "apiVersion": "barmancloud.cnpg.io/v1", "kind": "ObjectStore", "metadata": { "name": NAME, "namespace": DATABASES },
        "spec": { "configuration": configuration },
    })
}

/// Lives the same life as Kiven's database, driven by kubectl.
pub async fn live(given: &Given, like: &Value, image: &str, figures: &mut Figures) {
    let mut object = cluster(like);
    let began = Instant::now();
    given.apply(&[archive(given, like).await, object.clone()]).await.unwrap();
    given.healthy(NAME, PART_MAX).await;
    figures.plain("provision, s", began.elapsed());
    let target = Target {
        name: NAME.to_owned(),
        host: format!("{NAME}-rw.{DATABASES}.svc"),
        user: "app".to_owned(),
        database: "app".to_owned(),
        password_secret: format!("{NAME}-app"),
        authority: authority(given, &format!("{NAME}-ca")).await.unwrap(),
        image: image.to_owned(),
    };
    let writer = Writer::start(given, &target).await;
    let rows = writer.settle().await;
    let began = Instant::now();
    for kind in ["requests", "limits"] {
        object["spec"]["resources"][kind]["memory"] = json!("2Gi");
    }
    given.apply(std::slice::from_ref(&object)).await.unwrap();
    life::resized(given, NAME, 2).await;
    figures.plain("resize, s", began.elapsed());
    figures.plain_gap("resize: writes stop, s", writer.gap_since(rows).await);
    figures.plain_gap("switchover: writes stop, s", life::switchover(given, NAME, &writer).await);
    figures.plain_gap("loss of the primary: writes stop, s", life::lose_primary(given, NAME, &writer).await);
    let acknowledged = writer.stop().await;
    power(given, &target, acknowledged, figures).await;
    remove(given, NAME).await;
    given.run(&["-n", DATABASES, "delete", "objectstore", NAME]).await.unwrap();
}

/// Hibernation by its annotation, and back.
async fn power(given: &Given, target: &Target, acknowledged: BTreeSet<i64>, figures: &mut Figures) {
    let annotate = async |value: &str| {
        given.merge("cluster", NAME, &json!({ "metadata": { "annotations": { "cnpg.io/hibernation": value } } }), false).await.unwrap()
    };
    let began = Instant::now();
    annotate("on").await;
    let off = async || {
        let object = given.get("cluster", NAME).await.ok()?;
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|one| one["type"] == "cnpg.io/hibernation" && one["status"] == "True").then_some(())
    };
    given.until("the plain Cluster is hibernated", PART_MAX, off).await;
    figures.plain("pause, s", began.elapsed());
    let writer = Writer::begin(given, target, acknowledged).await;
    let began = Instant::now();
    annotate("off").await;
    figures.plain("resume to the first row, s", writer.first_row().await - began);
    given.healthy(NAME, PART_MAX).await;
    figures.plain("resume, s", began.elapsed());
    let (acknowledged, lost) = writer.lost(target).await;
    println!("plain: {acknowledged} acknowledged rows, {lost} lost");
    writer.stop().await;
}

/// Removes a Cluster made by hand, and the volumes that its class keeps.
pub async fn remove(given: &Given, name: &str) {
    let volumes = given.volumes(name).await.unwrap();
    given.run(&["-n", DATABASES, "delete", "cluster", name, "--ignore-not-found"]).await.unwrap();
    let gone = async || given.volumes(name).await.ok()?.is_empty().then_some(());
    given.until("the claims of a Cluster made by hand are gone", PART_MAX, gone).await;
    for (_, _, volume) in volumes {
        let patch = json!({ "spec": { "persistentVolumeReclaimPolicy": "Delete" } }).to_string();
        given.run(&["patch", "pv", &volume, "--type=merge", "-p", &patch]).await.unwrap();
    }
}
