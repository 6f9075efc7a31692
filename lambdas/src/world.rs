//! The ports as deployed.
use crate::Config;
use jiff::Timestamp;
use kiven_aws::Sdk;
use kiven_aws::account::Account;
use kiven_aws::store::{Queue, SqsDoorbell, Store};
use kiven_ports::{Clock, Ports, Random};
use std::time::Duration;

/// The wall clock.
#[derive(Debug, Clone, Copy)]
pub struct WallClock;

impl Clock for WallClock {
    fn now(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "this is the port's implementation")]
        Timestamp::now()
    }
    async fn sleep(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

/// The operating system's randomness.
#[derive(Debug, Clone, Copy)]
pub struct OsRandom;

impl Random for OsRandom {
    fn bits(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        if getrandom::fill(&mut bytes).is_err() {
            // Ids would repeat: nothing that follows could be trusted.
            std::process::abort();
        }
        bytes
    }
}

/// Store, account, doorbell, clock, randomness.
pub struct World {
    sdk: Sdk,
    store: Store,
    account: Account,
    doorbell: SqsDoorbell,
}

impl World {
    /// Connects to nothing yet.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let sdk = Sdk::new(&config.aws);
        let doorbell = SqsDoorbell::new(Queue::new(&sdk, &config.doorbell_url));
        let principal = match &config.assume {
            Some(role) => sdk.assuming(role, &format!("kiven-{}", config.function.as_str())),
            None => sdk.clone(),
        };
        Self { store: Store::new(&sdk, &config.store), account: Account::new(principal), doorbell, sdk }
    }

    /// The function's own connections.
    #[must_use]
    pub fn sdk(&self) -> &Sdk {
        &self.sdk
    }
}

impl Ports for World {
    type Records = Store;
    type Account = Account;
    type Agents = Store;
    type Doorbell = SqsDoorbell;
    type Clock = WallClock;
    type Random = OsRandom;

    fn records(&self) -> &Store {
        &self.store
    }
    fn account(&self) -> &Account {
        &self.account
    }
    fn agents(&self) -> &Store {
        &self.store
    }
    fn doorbell(&self) -> &SqsDoorbell {
        &self.doorbell
    }
    fn clock(&self) -> &WallClock {
        &WallClock
    }
    fn random(&self) -> &OsRandom {
        &OsRandom
    }
}
