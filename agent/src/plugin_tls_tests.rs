//! The plugin's certificates through the years, on virtual time.
use super::*;
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::cell::RefCell;
use std::sync::Arc;

#[derive(Default)]
struct Memory {
    secrets: RefCell<BTreeMap<String, Option<Pair>>>,
    restarts: RefCell<u32>,
    /// Writes until one fails.
    writes_left: RefCell<Option<u32>>,
}

impl Memory {
    fn pair(&self, name: &str) -> Pair {
        self.secrets.borrow()[name].clone().unwrap()
    }
}

impl Keep for Memory {
    async fn read(&self, name: &str) -> anyhow::Result<Kept> {
        Ok(match self.secrets.borrow().get(name) {
            None => Kept::Missing,
            Some(None) => Kept::Foreign,
            Some(Some(pair)) => Kept::Own(pair.clone()),
        })
    }
    async fn write(&self, name: &str, pair: &Pair) -> anyhow::Result<()> {
        if let Some(left) = self.writes_left.borrow_mut().as_mut() {
            *left = left.checked_sub(1).context("the process ends here")?;
        }
        self.secrets.borrow_mut().insert(name.to_owned(), Some(pair.clone()));
        Ok(())
    }
    async fn restart_plugin(&self, _: Timestamp) -> anyhow::Result<()> {
        *self.restarts.borrow_mut() += 1;
        Ok(())
    }
}

fn at(day: i64) -> Timestamp {
    "2027-01-01T06:30:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_hours(24 * day)
}

/// Whether who trusts one file accepts the server that shows another.
fn accepted(trusted: &Pair, shown: &Pair, name: &str, now: Timestamp) -> bool {
    let certificates = |pair: &Pair| -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(pair.certificate.as_bytes()).map(|one| one.unwrap().into_owned()).collect()
    };
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates(trusted));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
    let chain = certificates(shown);
    let now = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now.as_second()).unwrap()));
    verifier.verify_server_cert(&chain[0], &chain[1..], &ServerName::try_from(name.to_owned()).unwrap(), &[], now).is_ok()
}

#[tokio::test]
async fn through_seven_years_the_server_is_always_trusted_by_who_read_the_file_before() {
    let memory = Memory::default();
    assert_eq!(look(&memory, at(0)).await.unwrap(), [AUTHORITY, SERVER, CLIENT]);
    assert_eq!(*memory.restarts.borrow(), 0, "nothing runs yet");
    let (mut renewals, mut authorities) = (0, 0);
    for day in 1..2600 {
        let before = memory.pair(SERVER);
        let written = look(&memory, at(day)).await.unwrap();
        renewals += u32::from(written.contains(&SERVER));
        authorities += u32::from(written.contains(&AUTHORITY));
        let after = memory.pair(SERVER);
        for name in ["barman-cloud", "barman-cloud.kiven-system.svc"] {
            // A new authority is the one change that needs both sides to read again: the restart and the operator's own watch.
            let trusted = if written.contains(&AUTHORITY) { &after } else { &before };
            assert!(accepted(trusted, &after, name, at(day)), "day {day} {name}");
        }
        assert!(!accepted(&after, &after, "somebody.else", at(day)));
    }
    // Every 59 days, for the certificate begins a day before it is made; the authority after two thirds of ten years.
    assert_eq!((renewals, authorities), (2600 / 60, 1));
    assert_eq!(*memory.restarts.borrow(), renewals);
}

#[tokio::test]
async fn a_process_that_ends_anywhere_is_made_good_by_the_next_look() {
    for writes in 0..3 {
        let memory = Memory::default();
        *memory.writes_left.borrow_mut() = Some(writes);
        assert!(look(&memory, at(0)).await.is_err());
        *memory.writes_left.borrow_mut() = None;
        look(&memory, at(0)).await.unwrap();
        assert!(look(&memory, at(1)).await.unwrap().is_empty());
        assert!(accepted(&memory.pair(SERVER), &memory.pair(SERVER), "barman-cloud", at(1)));
        assert!(memory.pair(CLIENT).certificate.ends_with(&memory.pair(AUTHORITY).certificate));
    }
}

#[tokio::test]
async fn what_is_somebody_elses_is_left_alone() {
    let memory = Memory::default();
    memory.secrets.borrow_mut().insert(SERVER.to_owned(), None);
    assert_eq!(look(&memory, at(0)).await.unwrap(), [AUTHORITY, CLIENT]);
    memory.secrets.borrow_mut().insert(AUTHORITY.to_owned(), None);
    assert!(look(&memory, at(0)).await.is_err());
}

#[tokio::test]
async fn what_cannot_be_read_is_made_anew() {
    let memory = Memory::default();
    look(&memory, at(0)).await.unwrap();
    memory.secrets.borrow_mut().insert(CLIENT.to_owned(), Some(Pair { certificate: "broken".to_owned(), key: String::new() }));
    assert_eq!(look(&memory, at(0)).await.unwrap(), [CLIENT]);
    assert_eq!(*memory.restarts.borrow(), 1);
}
