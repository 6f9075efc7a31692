//! One watched kind: a small store of what is there, and whether it has been listed once.
use crate::objects::{api, resource};
use crate::strip::strip;
use futures_util::StreamExt;
use kiven_data_services::cnpg::DATABASE_LABEL;
use kiven_model::names::DATABASE_NAMESPACE;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::runtime::reflector::{Store, reflector, store};
use kube::runtime::{WatchStreamExt, watcher};
use std::sync::Arc;
use tokio::sync::{Notify, watch};

/// A kind that is watched.
pub(crate) struct Watched {
    store: Store<DynamicObject>,
    listed: watch::Receiver<bool>,
}

impl Watched {
    /// Watches one kind in the databases' namespace; every change rings.
    pub(crate) fn kind(client: &Client, resource: &ApiResource, changed: &Arc<Notify>) -> Self {
        Self::start(api(client, DATABASE_NAMESPACE, resource), watcher::Config::default(), resource, changed)
    }

    /// Watches the databases' nodes, whose labels say the zone.
    pub(crate) fn nodes(client: &Client, changed: &Arc<Notify>) -> Self {
        let nodes = resource("", "v1", "Node", "nodes");
        Self::start(Api::all_with(client.clone(), &nodes), watcher::Config::default().labels(DATABASE_LABEL), &nodes, changed)
    }

    fn start(api: Api<DynamicObject>, config: watcher::Config, resource: &ApiResource, changed: &Arc<Notify>) -> Self {
        let writer = store::Writer::new(resource.clone());
        let (store, list) = (writer.as_reader(), watch::Sender::new(false));
        let (changed, kind, listed) = (Arc::clone(changed), resource.kind.clone(), list.subscribe());
        let stripped = kind.clone();
        let stream = reflector(writer, watcher(api, config).default_backoff().modify(move |object| strip(&stripped, object)));
        tokio::spawn(async move {
            let mut stream = std::pin::pin!(stream);
            while let Some(event) = stream.next().await {
                match event {
                    Ok(event) => {
                        // The store has it already: the reflector writes before it passes on.
                        if matches!(event, watcher::Event::InitDone) {
                            list.send_replace(true);
                        }
                        changed.notify_one();
                    }
                    Err(error) => tracing::warn!(%error, kind, "watch interrupted"),
                }
            }
        });
        Self { store, listed }
    }

    /// What is there now.
    pub(crate) fn state(&self) -> Vec<Arc<DynamicObject>> {
        self.store.state()
    }

    /// Whether it has been listed once.
    pub(crate) fn is_listed(&self) -> bool {
        *self.listed.borrow()
    }

    /// Waits for the first list. The store's own `wait_until_ready` wakes the last of its waiters alone: the others would wait for ever.
    pub(crate) async fn listed(&self) {
        if self.listed.clone().wait_for(|listed| *listed).await.is_err() {
            // Without its watch nothing is ever listed.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn everybody_who_waits_for_the_first_list_is_woken() {
        let (_server, client) = crate::hostile_tests::fake().await;
        let watched = Arc::new(Watched::kind(&client, &resource("", "v1", "Service", "services"), &Arc::default()));
        // On one thread they all wait before the watch has begun.
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let watched = Arc::clone(&watched);
                tokio::spawn(async move { watched.listed().await })
            })
            .collect();
        for one in waiting {
            tokio::time::timeout(Duration::from_secs(10), one).await.expect("it is woken").unwrap();
        }
        watched.listed().await;
    }
}
