//! The shipped AWS adapters on an emulation that enforces IAM: with exactly the onboarding policy, without each of its
//! permissions in turn, and with everything that AWS does besides.
//!
//! `cargo xtask test aws` runs it and prints which test has sent which call. Where MiniStack or Terraform is missing, the tests
//! are skipped by name.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops where it fails")]

mod account;
mod contracts;
mod denial;
mod differences;
mod life;
mod module;
mod nodes;
mod onboarding;
mod permissions;
mod real;
mod stage;
mod twin;

use account::Customer;
use kiven_aws::account::Account;
use kiven_tests::ministack::{self, MiniStack};
use onboarding::Documents;
use serde_json::json;

/// The account that every simulated world is in.
pub(crate) const ACCOUNT: &str = "123456789012";

/// What a test begins with.
pub(crate) struct World {
    pub(crate) aws: MiniStack,
    pub(crate) documents: Documents,
    pub(crate) customer: Customer,
    pub(crate) account: Account,
}

/// Runs a test on a stack of its own: unoptimised, an operation's nested futures are larger than a test thread's.
pub(crate) fn deep<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    const STACK_BYTES: usize = 64 << 20;
    let run = move || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test());
    let ended = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(run).unwrap().join();
    if let Err(panic) = ended {
        std::panic::resume_unwind(panic);
    }
}

/// An emulated AWS of its own with a customer in it; `None` where something is not installed, which has been said.
pub(crate) async fn begin(test: &str) -> Option<World> {
    let aws = emulation(test).await?;
    let documents = onboarding::documents()?;
    let customer = Customer::new(&aws, ACCOUNT).await.unwrap();
    let account = account::adapter(&aws).await.unwrap();
    Some(World { aws, documents, customer, account })
}

/// An emulated AWS of its own.
pub(crate) async fn emulation(test: &str) -> Option<MiniStack> {
    let python = ministack::find(&format!("aws: {test}"))?;
    let aws = MiniStack::start(&python).await.unwrap();
    aws.switch("label", &json!({"test": test})).await.unwrap();
    Some(aws)
}
