//! The operator with real PostgreSQL processes: a cluster's whole life, and the deaths that it has to survive.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests are not seen as tests")]
mod world;

use kiven_fake_kube::{self as fake, Handle, kinds};
use serde_json::{Value, json};
use tokio::time::Instant;
use world::{NS, SECRET, WAIT, World, contains, has};

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_lives_sleeps_wakes_fails_over_and_goes() {
    let mut world = World::start().await;
    world.declare(2);
    world.healthy("apply to healthy, two instances", 2).await;
    world.psql("shop-rw", SECRET, "CREATE TABLE t(x text); INSERT INTO t VALUES('kept')").await.unwrap();
    assert!(world.psql("shop-rw", "wrong", "SELECT 1").await.unwrap_err().contains("password authentication failed"));
    assert_eq!(world.psql("shop-ro", SECRET, "SELECT pg_is_in_recovery()").await.unwrap(), "t");
    world.until("continuous archiving", |kube| has(&kube.get(&kinds::CLUSTERS, NS, "shop-a1b2c3-1").unwrap(), "ContinuousArchiving")).await;
    let wal =
        world.stored.lock().unwrap().iter().any(|(key, bytes)| key.starts_with("PUT /backups/db/db-1/wals/0000000100000000/") && *bytes == 16 << 20);
    assert!(wal, "{:?}", world.stored.lock().unwrap());
    let system = world.status()["systemID"].as_str().unwrap().to_owned();

    sleeps_and_wakes(&world, &system).await;
    let adopted = outlives_its_operator(&mut world).await;
    fails_over(&world, adopted, &system).await;
    is_maintained(&world).await;
    goes(&world).await;
}

async fn sleeps_and_wakes(world: &World, system: &str) {
    world.annotate("on");
    world.until("hibernation", |kube| has(&kube.get(&kinds::CLUSTERS, NS, "shop-a1b2c3-1").unwrap(), "cnpg.io/hibernation")).await;
    assert_eq!(world.servers(), Vec::<u32>::new());
    assert!(world.kube.list(&kinds::PODS, Some(NS), &fake::Selector::all()).is_empty());
    assert_eq!(world.kube.list(&kinds::VOLUME_CLAIMS, Some(NS), &fake::Selector::all()).len(), 2);
    assert_eq!(world.status()["phase"], "Cluster in healthy state");
    assert!(world.psql("shop-rw", SECRET, "SELECT 1").await.is_err());

    world.annotate("off");
    world.healthy("resume", 2).await;
    assert_eq!(world.psql("shop-rw", SECRET, "SELECT x FROM t").await.unwrap(), "kept");
    assert_eq!((world.status()["systemID"].as_str(), world.status()["timelineID"].as_u64()), (Some(system), Some(1)));
}

async fn outlives_its_operator(world: &mut World) -> u32 {
    let before = world.servers();
    world.running.take().unwrap().stop().await;
    let adopted = world.postmaster("shop-a1b2c3-1-1");
    assert!(before.contains(&adopted));
    assert!(world.servers().contains(&adopted));
    world.run();
    world.kube.patch(&kinds::CLUSTERS, NS, "shop-a1b2c3-1", &json!({ "spec": { "postgresql": { "parameters": { "work_mem": "6MB" } } } })).unwrap();
    let began = Instant::now();
    while world.psql("shop-rw", SECRET, "SHOW work_mem").await != Ok("6MB".into()) {
        assert!(began.elapsed() < WAIT, "the next operator did not take over");
    }
    assert_eq!(world.postmaster("shop-a1b2c3-1-1"), adopted);
    adopted
}

async fn fails_over(world: &World, adopted: u32, system: &str) {
    world.kill(adopted);
    world.until("promotion", |kube| kube.get(&kinds::CLUSTERS, NS, "shop-a1b2c3-1").unwrap()["status"]["currentPrimary"] == "shop-a1b2c3-1-2").await;
    world.healthy("the old primary's return", 2).await;
    world.psql("shop-rw", SECRET, "INSERT INTO t VALUES('after')").await.unwrap();
    assert_eq!(world.psql("shop-rw", SECRET, "SELECT count(*), pg_is_in_recovery() FROM t").await.unwrap(), "2|f");
    assert_eq!((world.status()["systemID"].as_str(), world.status()["timelineID"].as_u64()), (Some(system), Some(2)));
}

/// What maintenance asks for: a switchover in the status, another certificate where there is none.
async fn is_maintained(world: &World) {
    let first = "shop-a1b2c3-1-1";
    world.kube.patch_status(&kinds::CLUSTERS, NS, "shop-a1b2c3-1", &json!({ "targetPrimary": first })).unwrap();
    world.until("switchover", |kube| kube.get(&kinds::CLUSTERS, NS, "shop-a1b2c3-1").unwrap()["status"]["currentPrimary"] == first).await;
    world.healthy("healthy after a switchover", 2).await;
    assert_eq!(world.psql("shop-rw", SECRET, "SELECT count(*), pg_is_in_recovery() FROM t").await.unwrap(), "2|f");

    let secret = |kube: &Handle| kube.get(&kinds::SECRETS, NS, "shop-a1b2c3-1-server");
    let old = secret(&world.kube).unwrap();
    world.kube.delete(&kinds::SECRETS, NS, "shop-a1b2c3-1-server").unwrap();
    world.until("another certificate", |kube| secret(kube).is_ok_and(|new| new["metadata"]["uid"] != old["metadata"]["uid"])).await;
    assert_ne!(secret(&world.kube).unwrap()["data"]["tls.crt"], old["data"]["tls.crt"]);
    assert!(world.status()["certificates"]["expirations"]["shop-a1b2c3-1-server"].as_str().unwrap().ends_with(" +0000 UTC"));
    assert_eq!(world.psql("shop-rw", SECRET, "SELECT count(*) FROM t").await.unwrap(), "2");
}

async fn goes(world: &World) {
    world.kube.delete(&kinds::CLUSTERS, NS, "shop-a1b2c3-1").unwrap();
    let released =
        |kube: &Handle| kube.list(&kinds::VOLUMES, None, &fake::Selector::all()).iter().all(|volume| volume["status"]["phase"] == "Released");
    world.until("deletion", released).await;
    assert_eq!(world.servers(), Vec::<u32>::new());
    assert!(world.kube.list(&kinds::VOLUME_CLAIMS, Some(NS), &fake::Selector::all()).is_empty());
    for volume in world.kube.list(&kinds::VOLUMES, None, &fake::Selector::all()) {
        let name = volume["metadata"]["name"].as_str().unwrap();
        assert!(world.folder.path().join("state/volumes").join(name).join("pgdata/PG_VERSION").exists());
        world.kube.patch(&kinds::VOLUMES, "", name, &json!({ "spec": { "persistentVolumeReclaimPolicy": "Delete" } })).unwrap();
    }
    world.until("volumes removed", |kube| kube.list(&kinds::VOLUMES, None, &fake::Selector::all()).is_empty()).await;
    assert_eq!(std::fs::read_dir(world.folder.path().join("state/volumes")).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_instance_has_a_pooler_backups_and_restarts_after_a_kill() {
    let world = World::start().await;
    world.declare(1);
    world.healthy("apply to healthy, one instance", 1).await;
    let cluster = json!({ "name": "shop-a1b2c3-1" });
    let create = |kind, name: &str, spec: Value| {
        drop(world.kube.create(kind, json!({ "metadata": { "name": name, "namespace": NS }, "spec": spec })).unwrap())
    };
    create(
        &kinds::POOLERS,
        "shop-pooler",
        json!({ "cluster": cluster, "instances": 1, "type": "rw", "pgbouncer": { "poolMode": "transaction", "parameters": { "default_pool_size": "5" } } }),
    );
    create(&kinds::SCHEDULED_BACKUPS, "shop", json!({ "cluster": cluster, "schedule": "0 0 0 * * *", "immediate": true, "method": "plugin" }));
    create(&kinds::DATABASES, "shop-more", json!({ "cluster": cluster, "name": "more", "owner": "shop" }));
    let ready = |kube: &Handle| kube.get(&kinds::PODS, NS, "shop-pooler-1").is_ok_and(|pod| has(&pod, "Ready"));
    world.until("pooler", ready).await;
    assert_eq!(world.psql("shop-pooler", SECRET, "SELECT current_user").await.unwrap(), "shop");
    world.until("database", |kube| kube.get(&kinds::DATABASES, NS, "shop-more").unwrap()["status"]["applied"] == true).await;
    let completed =
        |kube: &Handle| kube.list(&kinds::BACKUPS, Some(NS), &fake::Selector::all()).iter().any(|backup| backup["status"]["phase"] == "completed");
    world.until("backup", completed).await;
    let backup = world.kube.list(&kinds::BACKUPS, Some(NS), &fake::Selector::all())[0].clone();
    assert_eq!(backup["status"]["beginWal"].as_str().map(str::len), Some(24));
    let stored = world
        .stored
        .lock()
        .unwrap()
        .iter()
        .any(|(key, bytes)| key.starts_with("PUT /backups/db/db-1/base/") && key.ends_with("/base.tar") && *bytes > 1 << 20);
    assert!(stored);

    restarts(&world).await;
    assert!(!contains(&world.folder.path().join("state"), "it's a "), "the password is in a file of the state folder");
    world.kube.patch(&kinds::POOLERS, NS, "shop-pooler", &json!({ "spec": { "instances": 0 } })).unwrap();
    world.until("pooler gone", |kube| kube.get(&kinds::PODS, NS, "shop-pooler-1").is_err()).await;
}

async fn restarts(world: &World) {
    let killed = world.postmaster("shop-a1b2c3-1-1");
    world.kill(killed);
    world
        .until("crash noticed", |kube| kube.get(&kinds::CLUSTERS, NS, "shop-a1b2c3-1").unwrap()["status"]["phase"] != "Cluster in healthy state")
        .await;
    world.healthy("restart after a kill", 1).await;
    assert_ne!(world.postmaster("shop-a1b2c3-1-1"), killed);

    let patch = json!({ "spec": { "postgresql": { "parameters": { "max_connections": "42", "work_mem": "5MB" } } } });
    world.kube.patch(&kinds::CLUSTERS, NS, "shop-a1b2c3-1", &patch).unwrap();
    let restarted = world.postmaster("shop-a1b2c3-1-1");
    let restarts = |kube: &Handle| kube.get(&kinds::CLUSTERS, NS, "shop-a1b2c3-1").unwrap()["status"]["phase"] == "Applying configuration";
    world.until("restart for a setting", restarts).await;
    world.healthy("healthy again", 1).await;
    assert_ne!(world.postmaster("shop-a1b2c3-1-1"), restarted);
    assert_eq!(world.psql("shop-rw", SECRET, "SELECT current_setting('max_connections') || current_setting('work_mem')").await.unwrap(), "425MB");
}
