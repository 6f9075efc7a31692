//! Networks that break: between the agent and the API server, and between the agent and Kiven. What happened meanwhile is told after.
use crate::cluster::{Admin, DATABASES, WAIT_MAX};
use crate::database::Database;
use crate::process::Agent;
use crate::relay::{Kiven, Talk};
use crate::{events, installed, operator};
use kiven_model::command::{CommandBody, CommandOutcome, CommandOutput};
use kiven_model::event::Happening;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

const DONE: CommandOutcome = CommandOutcome::Done(CommandOutput::Nothing);
/// Changes whose way to the relay is measured.
const CHANGES: usize = 50;
/// How long one change is listened for while it is not known whether the agent tells already.
const FIRST_LOOK: Duration = Duration::from_secs(2);

/// A line that can be cut: what runs over it ends, and nobody gets through until it is mended.
struct Line {
    address: SocketAddr,
    whole: watch::Sender<bool>,
}

impl Line {
    async fn to(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let whole = watch::Sender::new(true);
        let state = whole.subscribe();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (target, mut state) = (target.clone(), state.clone());
                tokio::spawn(async move {
                    if !*state.borrow() {
                        return;
                    }
                    let Ok(mut onward) = TcpStream::connect(&target).await else { return };
                    tokio::select! {
                        _ = state.wait_for(|whole| !*whole) => {}
                        _ = copy_bidirectional(&mut stream, &mut onward) => {}
                    }
                });
            }
        });
        Self { address, whole }
    }

    fn cut(&self) {
        self.whole.send_replace(false);
    }

    fn mend(&self) {
        self.whole.send_replace(true);
    }
}

/// The operator lets another instance be the primary.
async fn fail_over(admin: &Admin, cluster: &str, to: u32) -> String {
    let primary = format!("{cluster}-{to}");
    let status = json!({ "status": { "currentPrimary": primary, "targetPrimary": primary } });
    let clusters = admin.of(DATABASES, "postgresql.cnpg.io/v1", "Cluster");
    clusters.patch_status(cluster, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    primary
}

/// How long it takes until Kiven knows of a primary.
async fn told(kiven: &Kiven, cluster: &str, primary: &str, since: Instant) -> Duration {
    let known = |talk: &Talk| talk.observed.get(cluster).filter(|seen| seen.primary.as_deref() == Some(primary)).map(drop);
    kiven.heard("the new primary", known).await;
    since.elapsed()
}

#[tokio::test]
async fn what_happens_behind_a_broken_line_is_told_when_it_is_whole() {
    let admin = Admin::connect().await;
    let kiven = Kiven::start(&admin, "").await;
    installed::install(&installed::values(&kiven));
    let server = admin.config.cluster_url.authority().unwrap().to_string();
    let (to_cluster, to_relay) = (Line::to(server).await, Line::to(kiven.relay.to_string()).await);
    let relay = ("KIVEN_RELAY_ADDRESS", format!("localhost:{}", to_relay.address.port()));
    let url = format!("https://127.0.0.1:{}/", to_cluster.address.port());
    let _agent = Agent::start_at(&admin, &kiven, &url, &[relay]).await;
    let shop = Database::new(&kiven.environment, "shop", 1);
    for (step, objects) in shop.objects() {
        assert_eq!(kiven.ask(&shop.apply(step, objects)).await, DONE, "{step}");
    }
    operator::run(&admin, &shop).await;
    told(&kiven, &shop.cluster, &format!("{}-1", shop.cluster), Instant::now()).await;
    let now = events_are_told_at_once(&admin, &kiven, &shop).await;
    events::each_is_told(&admin, &kiven, &shop).await;

    // The cluster is out of reach: a command waits or is to be asked again, and nothing is lost.
    to_cluster.cut();
    let primary = fail_over(&admin, &shop.cluster, 3 - now).await;
    let hand_over = |step: &str| shop.command(step, CommandBody::HandOver { cluster: shop.cluster.clone() });
    let blind = kiven.ask(&hand_over("blind")).await;
    assert!(matches!(blind, CommandOutcome::Retry(_)), "{blind:?}");
    to_cluster.mend();
    let after = told(&kiven, &shop.cluster, &primary, Instant::now()).await;
    println!("told {:.1} s after the API server was in reach again", after.as_secs_f64());
    assert_eq!(kiven.ask(&hand_over("seeing")).await, DONE);

    // Kiven is out of reach: the cluster goes on, and the next session tells.
    to_relay.cut();
    let primary = fail_over(&admin, &shop.cluster, now).await;
    to_relay.mend();
    let after = told(&kiven, &shop.cluster, &primary, Instant::now()).await;
    println!("told {:.1} s after the relay was in reach again", after.as_secs_f64());
    assert_eq!(kiven.ask(&hand_over("again")).await, DONE);
    installed::uninstall(&admin).await;
}

/// From the operator's word in the API server to the relay. How long that takes is shown here and held by `cargo xtask bench agent`.
/// Answers which instance the primary is at the end.
async fn events_are_told_at_once(admin: &Admin, kiven: &Kiven, shop: &Database) -> u32 {
    let mut instance = first_event(admin, kiven, shop).await;
    let mut took = Vec::with_capacity(CHANGES);
    for _ in 0..CHANGES {
        instance = 3 - instance;
        let before = kiven.count_events();
        let since = Instant::now();
        let primary = fail_over(admin, &shop.cluster, instance).await;
        kiven.heard("the new primary as an event", |talk| changes_to(talk, before, &primary)).await;
        took.push(since.elapsed());
    }
    took.sort_unstable();
    let (median, worst) = (took[CHANGES / 2], took[CHANGES - 1]);
    println!("{CHANGES} changes of a Cluster at the relay: median {} ms, longest {} ms", median.as_millis(), worst.as_millis());
    instance
}

/// Whether, after so many events, one came that names this primary.
fn changes_to(talk: &Talk, before: usize, primary: &str) -> Option<()> {
    let is_it = |what: &Happening| matches!(what, Happening::Failover { to, .. } | Happening::Switchover { to, .. } if to == primary);
    talk.events.iter().skip(before).any(|event| is_it(&event.what)).then_some(())
}

/// Changes the primary until one change is told: an agent tells nothing before it has listed everything once, and observes before that.
/// Answers which instance the primary is then.
async fn first_event(admin: &Admin, kiven: &Kiven, shop: &Database) -> u32 {
    let deadline = Instant::now() + WAIT_MAX;
    for instance in [2, 1].into_iter().cycle() {
        let before = kiven.count_events();
        let primary = fail_over(admin, &shop.cluster, instance).await;
        if kiven.hears_within(FIRST_LOOK, |talk| changes_to(talk, before, &primary)).await.is_some() {
            return instance;
        }
        assert!(Instant::now() < deadline, "no change of the primary was told within {} s", WAIT_MAX.as_secs());
    }
    unreachable!("the cycle has no end")
}
