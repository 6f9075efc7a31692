//! Sealing what an agent reads for a person, so that whoever carries it cannot read it.
//!
//! Invariants: nothing here invents cryptography: batches are sealed with HPKE (RFC 9180, base mode: DHKEM X25519 HKDF-SHA256,
//! HKDF-SHA256, ChaCha20-Poly1305), keys are certified with Ed25519 (RFC 8032). A batch is bound to database, session and sequence: at
//! another place it does not open. A batch seals with a fresh key of its own, so no state outlives it. No I/O.
mod batch;
mod certificate;

pub use batch::{Batch, Line};
pub use certificate::{SigningKey, TrustedKey, is_certified};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable, single_shot_open, single_shot_seal};
use kiven_model::logs::SealedBatch;
use kiven_model::{DatabaseId, LogSessionId};

/// What sealed batches are for: another use of the same key would have another text.
const INFO: &[u8] = b"kiven log batch v1";
/// Bytes of an encapsulated X25519 key.
const ENCAPSULATED_BYTES: usize = 32;

type PublicKey = <X25519HkdfSha256 as Kem>::PublicKey;
type PrivateKey = <X25519HkdfSha256 as Kem>::PrivateKey;
type Encapsulated = <X25519HkdfSha256 as Kem>::EncappedKey;

/// Why something cannot be sealed, opened or signed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The reader's key is no X25519 public key.
    #[error("the reader's key is not an X25519 public key")]
    ReaderKey,
    /// Nothing could be sealed to the reader's key.
    #[error("nothing can be sealed to the reader's key")]
    Seal,
    /// Changed on its way, of another place, or sealed to another key.
    #[error("a batch does not open: it was changed on its way, is of another session, or is sealed to another key")]
    Open,
    /// What was in it is no batch.
    #[error("a batch opened and cannot be read")]
    Content,
    /// A private key that cannot be used.
    #[error("the key is not an Ed25519 private key in a PEM file (PKCS #8), as `openssl genpkey -algorithm ed25519` writes it")]
    SigningKey,
    /// A public key that cannot be used.
    #[error("the key is not an Ed25519 public key, as it stands between the lines of a PEM file")]
    TrustedKey,
}

/// Where a batch belongs.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Whose log.
    pub database: &'a DatabaseId,
    /// Whose session.
    pub session: &'a LogSessionId,
    /// Which batch.
    pub sequence: u64,
}

impl Place<'_> {
    fn bound(&self) -> String {
        format!("{}\n{}\n{}", self.database, self.session, self.sequence)
    }
}

/// A reader's key pair, for one session.
pub struct Reader {
    private: PrivateKey,
    public: PublicKey,
}

impl Reader {
    /// A fresh one, from the system's randomness.
    #[must_use]
    pub fn generate() -> Self {
        let (private, public) = X25519HkdfSha256::gen_keypair();
        Self { private, public }
    }

    /// Its public half, hexadecimal.
    #[must_use]
    pub fn public_key(&self) -> String {
        hex::encode(self.public.to_bytes())
    }

    /// Opens a batch of this reader's session; what it says of its place is not believed.
    ///
    /// # Errors
    /// When it was changed, is another session's or another database's, or is no batch.
    pub fn open(&self, database: &DatabaseId, session: &LogSessionId, sealed: &SealedBatch) -> Result<Batch, SealError> {
        let place = Place { database, session, sequence: sealed.sequence };
        let bytes = STANDARD.decode(&sealed.sealed).map_err(|_| SealError::Open)?;
        let (encapsulated, ciphertext) = bytes.split_at_checked(ENCAPSULATED_BYTES).ok_or(SealError::Open)?;
        let plaintext = open(&self.private, INFO, encapsulated, ciphertext, place.bound().as_bytes())?;
        Batch::read(&plaintext)
    }
}

fn open(private: &PrivateKey, info: &[u8], encapsulated: &[u8], ciphertext: &[u8], bound: &[u8]) -> Result<Vec<u8>, SealError> {
    let encapsulated = Encapsulated::from_bytes(encapsulated).map_err(|_| SealError::Open)?;
    single_shot_open::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(&OpModeR::Base, private, &encapsulated, info, ciphertext, bound)
        .map_err(|_| SealError::Open)
}

/// A reader's public key, to which is sealed.
#[derive(Clone)]
pub struct ReaderKey(PublicKey);

impl ReaderKey {
    /// Reads one from its hexadecimal form.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: &str) -> Result<Self, SealError> {
        let bytes = hex::decode(text).map_err(|_| SealError::ReaderKey)?;
        PublicKey::from_bytes(&bytes).map(Self).map_err(|_| SealError::ReaderKey)
    }

    /// Seals a batch for its place.
    ///
    /// # Errors
    /// When the key is one to which nothing can be sealed.
    pub fn seal(&self, place: Place<'_>, batch: &Batch) -> Result<SealedBatch, SealError> {
        let (plaintext, bound) = (batch.text(), place.bound());
        let (encapsulated, ciphertext) =
            single_shot_seal::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(&OpModeS::Base, &self.0, INFO, plaintext.as_bytes(), bound.as_bytes())
                .map_err(|_| SealError::Seal)?;
        let mut bytes = encapsulated.to_bytes().to_vec();
        bytes.extend_from_slice(&ciphertext);
        Ok(SealedBatch {
            session_id: place.session.clone(),
            database_id: place.database.clone(),
            sequence: place.sequence,
            sealed: STANDARD.encode(bytes),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiven_model::logs::{BATCH_BYTES_MAX, BatchHeader, SEALED_BYTES_MAX};

    fn database(seed: u8) -> DatabaseId {
        DatabaseId::from_random([seed; 16])
    }

    fn session(seed: u8) -> LogSessionId {
        LogSessionId::from_random([seed; 16])
    }

    fn batch(text: &str) -> Batch {
        let line = Line { pod: "shop-1".to_owned(), text: text.to_owned() };
        Batch { header: BatchHeader { previous: 3, dropped: 2, ended: None }, lines: vec![line] }
    }

    fn sealed(reader: &Reader) -> SealedBatch {
        let place = Place { database: &database(1), session: &session(2), sequence: 7 };
        ReaderKey::parse(&reader.public_key()).unwrap().seal(place, &batch("CANARY")).unwrap()
    }

    #[test]
    fn only_the_reader_opens_it_and_only_at_its_place() {
        let (reader, other) = (Reader::generate(), Reader::generate());
        let sealed = sealed(&reader);
        assert!(!serde_json::to_string(&sealed).unwrap().contains("CANARY"));
        assert_eq!(reader.open(&database(1), &session(2), &sealed).unwrap(), batch("CANARY"));
        let refused = |reader: &Reader, database: &DatabaseId, session: &LogSessionId, sealed: &SealedBatch| {
            assert!(matches!(reader.open(database, session, sealed), Err(SealError::Open)));
        };
        refused(&other, &database(1), &session(2), &sealed);
        refused(&reader, &database(9), &session(2), &sealed);
        refused(&reader, &database(1), &session(9), &sealed);
        refused(&reader, &database(1), &session(2), &SealedBatch { sequence: 8, ..sealed.clone() });
        let mut bytes = STANDARD.decode(&sealed.sealed).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        refused(&reader, &database(1), &session(2), &SealedBatch { sealed: STANDARD.encode(&bytes), ..sealed.clone() });
        for cut in ["", "AAAA", "not base64"] {
            refused(&reader, &database(1), &session(2), &SealedBatch { sealed: cut.to_owned(), ..sealed.clone() });
        }
    }

    #[test]
    fn two_seals_of_one_batch_have_nothing_in_common() {
        let reader = Reader::generate();
        assert_ne!(sealed(&reader).sealed.get(..40), sealed(&reader).sealed.get(..40));
    }

    #[test]
    fn keys_that_are_none_are_refused() {
        for wrong in ["", "0a", &"zz".repeat(32), &"0a".repeat(31)] {
            assert!(ReaderKey::parse(wrong).is_err(), "{wrong}");
        }
        // A point of small order gives everybody the same secret.
        let place = Place { database: &database(1), session: &session(2), sequence: 7 };
        let weak = ReaderKey::parse(&"00".repeat(32));
        assert!(weak.is_err() || weak.unwrap().seal(place, &batch("x")).is_err());
    }

    #[test]
    fn the_largest_batch_fits_what_carries_it() {
        let reader = Reader::generate();
        let whole = batch(&"x".repeat(BATCH_BYTES_MAX));
        let place = Place { database: &database(1), session: &session(2), sequence: u64::MAX };
        let sealed = ReaderKey::parse(&reader.public_key()).unwrap().seal(place, &whole).unwrap();
        assert!(sealed.sealed.len() <= SEALED_BYTES_MAX, "{}", sealed.sealed.len());
    }

    /// RFC 9180, A.2.1: what others seal with this suite opens here.
    #[test]
    fn the_suite_is_the_one_of_the_standard() {
        let bytes = |text: &str| hex::decode(text).unwrap();
        let private = PrivateKey::from_bytes(&bytes("8057991eef8f1f1af18f4a9491d16a1ce333f695d4db8e38da75975c4478e0fb")).unwrap();
        let opened = open(
            &private,
            &bytes("4f6465206f6e2061204772656369616e2055726e"),
            &bytes("1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a"),
            &bytes("1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db21993c62ce81883d2dd1b51a28"),
            &bytes("436f756e742d30"),
        );
        assert_eq!(opened.unwrap(), b"Beauty is truth, truth beauty");
    }
}
