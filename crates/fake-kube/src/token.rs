//! ServiceAccount tokens: ES256 JWTs that anyone can verify with the issuer's published key.
use crate::error::ApiError;
use crate::{disk::private_file, object::random_hex};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING as ALGORITHM, EcdsaKeyPair, KeyPair as _, UnparsedPublicKey};
use serde_json::{Value, json};
use std::path::Path;

/// Shortest and longest life of a token that a client asks for, as the real TokenRequest bounds it. Whoever holds the server in
/// process may make others: virtual time is moved by more than a day at once.
pub(crate) const SECONDS_ASKED: std::ops::RangeInclusive<i64> = 600..=86_400;

/// Whom a token names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// `system:admin` or `system:serviceaccount:namespace:name`.
    pub username: String,
}

pub(crate) struct Issuer {
    pub(crate) url: String,
    key: EcdsaKeyPair,
    random: SystemRandom,
}

/// The ServiceAccount a token is for.
pub(crate) struct Subject<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    pub(crate) uid: &'a str,
}

impl Issuer {
    /// Opens the key kept in a folder, or makes one.
    pub(crate) fn open(url: String, folder: Option<&Path>) -> Result<Self, ApiError> {
        let random = SystemRandom::new();
        let path = folder.map(|folder| folder.join("issuer.key"));
        let kept = path.as_ref().and_then(|path| std::fs::read(path).ok());
        let pkcs8 = match kept {
            Some(bytes) => bytes,
            None => {
                let made = EcdsaKeyPair::generate_pkcs8(&ALGORITHM, &random).map_err(|_| ApiError::Issuer)?;
                if let Some(path) = &path {
                    private_file(path, made.as_ref())?;
                }
                made.as_ref().to_vec()
            }
        };
        let key = EcdsaKeyPair::from_pkcs8(&ALGORITHM, &pkcs8, &random).map_err(|_| ApiError::Issuer)?;
        Ok(Self { url, key, random })
    }

    fn key_id(&self) -> String {
        B64.encode(&ring::digest::digest(&ring::digest::SHA256, self.key.public_key().as_ref()).as_ref()[..12])
    }

    /// The discovery document of OpenID Connect.
    pub(crate) fn discovery(&self) -> Value {
        json!({
            "issuer": self.url, "jwks_uri": format!("{}/openid/v1/jwks", self.url), "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": ["ES256"] })
    }

    /// The published key; the uncompressed point is a tag byte, then x, then y.
    pub(crate) fn keys(&self) -> Value {
        let point = self.key.public_key().as_ref();
        json!({ "keys": [{ "kty": "EC", "use": "sig", "alg": "ES256", "crv": "P-256", "kid": self.key_id(),
            "x": B64.encode(&point[1..33]), "y": B64.encode(&point[33..65]) }] })
    }

    /// Signs a token; answers it with its expiry in seconds since 1970.
    pub(crate) fn issue(&self, subject: &Subject<'_>, audiences: &[String], seconds: i64, now: i64) -> Result<(String, i64), ApiError> {
        let expires = now + seconds;
        let audiences = if audiences.is_empty() { std::slice::from_ref(&self.url) } else { audiences };
        let header = json!({ "alg": "ES256", "kid": self.key_id(), "typ": "JWT" });
        let claims = json!({
            "iss": self.url, "aud": audiences, "exp": expires, "iat": now, "nbf": now, "jti": random_hex(16)?,
            "sub": format!("system:serviceaccount:{}:{}", subject.namespace, subject.name),
            "kubernetes.io": { "namespace": subject.namespace, "serviceaccount": { "name": subject.name, "uid": subject.uid } } });
        let signed = format!("{}.{}", B64.encode(header.to_string()), B64.encode(claims.to_string()));
        let signature = self.key.sign(&self.random, signed.as_bytes()).map_err(|_| ApiError::Issuer)?;
        Ok((format!("{signed}.{}", B64.encode(signature.as_ref())), expires))
    }

    /// The claims of a token of ours that is meant for this API server and has not expired.
    pub(crate) fn verify(&self, token: &str, now: i64) -> Result<Value, ApiError> {
        let claims = || -> Option<Value> {
            let (signed, signature) = token.rsplit_once('.')?;
            let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.key.public_key().as_ref());
            key.verify(signed.as_bytes(), &B64.decode(signature).ok()?).ok()?;
            let claims: Value = serde_json::from_slice(&B64.decode(signed.split_once('.')?.1).ok()?).ok()?;
            let for_us = claims["aud"].as_array()?.iter().any(|audience| audience == self.url.as_str());
            (for_us && claims["iss"] == self.url.as_str() && claims["exp"].as_i64()? > now).then_some(claims)
        };
        claims().ok_or(ApiError::Unauthorized)
    }
}
