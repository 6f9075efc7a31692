//! No password, no API key and no agent's token lies where it must not: Terraform's state, logs, records, blobs.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "a test: it panics where something is not as expected")]
use base64::Engine;
use kiven_model::EnvironmentId;
use kiven_model::api::EnvironmentRequest;
use kiven_model::enrolment::{AgentTokenUse, EnrolRequest, EnrolResponse};
use kiven_tests::customer::environment_request;
use kiven_tests::needles::{Needle, base64_at, files_below, forms, percent_all, search, search_files};
use kiven_tests::{Stack, Terraform, terraform};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Passwords of roles, from the file that the stack keeps for people.
fn passwords(stack: &Stack) -> BTreeSet<Needle> {
    let text = std::fs::read_to_string(stack.state.join("pgpass")).unwrap();
    let mut needles = BTreeSet::new();
    for line in text.lines() {
        // Host, port, database and user hold no colon; in passwords `\` and `:` are escaped.
        let parts: Vec<&str> = line.splitn(5, ':').collect();
        let password = parts[4].replace("\\:", ":").replace("\\\\", "\\");
        assert!(password.len() >= 20, "the password of {} is short", parts[3]);
        needles.extend(forms(&format!("the password of {}", parts[3]), &password));
    }
    assert!(!needles.is_empty(), "pgpass holds no password");
    needles
}

/// Where nothing secret may be: everything but `secrets/`, `run/`, `pgpass` and PostgreSQL's data, whose logs count.
fn public_files(stack: &Stack) -> Vec<PathBuf> {
    let state = &stack.state;
    let mut files: Vec<PathBuf> = std::fs::read_dir(state).unwrap().flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    files.retain(|path| path.file_name().is_some_and(|name| name != "pgpass"));
    for folder in ["logs", "blobs", "ca"] {
        files.extend(files_below(&state.join(folder)));
    }
    files.extend(files_below(&state.join("cluster")).into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "log")));
    files.push(stack.base().join("out.log"));
    files
}

/// A token of an environment whose agent enrols with one: the first is spent, the second revoked.
async fn agent_token(stack: &Stack, number: u8) -> anyhow::Result<String> {
    let (client, id) = (stack.client()?, EnvironmentId::from_random([200 + number; 16]));
    let name = format!("tokens-{number}");
    let request = EnvironmentRequest { eks_cluster_name: name.clone(), agent_enrolment: Some("token".to_owned()), ..environment_request(&name) };
    client.environment_put(&id, &request).await?;
    let made = client.agent_token_create(&id).await?;
    if number == 0 {
        let next = client.agent_token_create(&id).await?;
        let enrol = format!("http://127.0.0.1:{}/v1/agents/enrol", stack.port("enrol")?);
        let key = rcgen::KeyPair::generate()?;
        let request = rcgen::CertificateParams::new(Vec::new())?.serialize_request(&key)?.pem()?;
        let used = AgentTokenUse { token: made.token.clone(), next_sha256: "0a".repeat(32) };
        let asked = EnrolRequest { environment_id: id, service_account_token: None, agent_token: Some(used), certificate_request: request };
        let http = reqwest::Client::new();
        let first = http.post(&enrol).json(&asked).send().await?;
        anyhow::ensure!(first.status().is_success(), "the token was refused: {}", first.text().await?);
        let answer: EnrolResponse = first.json().await?;
        anyhow::ensure!(answer.certificate.contains("BEGIN CERTIFICATE"), "a certificate comes back");
        let second = http.post(&enrol).json(&asked).send().await?;
        anyhow::ensure!(second.status() == reqwest::StatusCode::FORBIDDEN, "a token is spent once, and the answer was {}", second.status());
        client.agent_token_revoke(&asked.environment_id, &next.id).await?;
    } else {
        client.agent_token_revoke(&id, &made.id).await?;
    }
    Ok(made.token)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_secret_is_written_where_it_must_not_be() {
    let Some(program) = terraform::find("secrets") else { return };
    let stack = Stack::start("secrets").await.unwrap();
    let work = async {
        let terraform = Terraform::quickstart(program, &stack).await?;
        for power in ["on", "off", "on"] {
            terraform.apply(power).await?;
        }
        let shown = terraform.ok(&["show", "-json"]).await?;
        let mut needles = passwords(&stack);
        let mut found = search("terraform show -json", shown.as_bytes(), &needles);
        needles.extend(forms("the API key", stack.secret("api-key")?.trim()));
        for number in 0..2 {
            needles.extend(forms(&format!("an agent's token {number}"), &agent_token(&stack, number).await?));
        }
        let mut files = public_files(&stack);
        let databases = files.iter().filter(|path| path.to_string_lossy().contains(".sqlite")).count();
        anyhow::ensure!(databases >= 2, "the records' files are not where they are looked for: {files:?}");
        files.extend(["terraform.tfstate", "terraform.tfstate.backup"].map(|name| terraform.folder.join(name)));
        let (more, read) = search_files(&files, &needles)?;
        found.extend(more);
        anyhow::ensure!(found.is_empty(), "secrets lie where they must not: {found:#?}");
        eprintln!("{read} files hold none of {} forms of secrets", needles.len());

        // The same search finds what is planted among the same files.
        let lines = std::fs::read_to_string(stack.state.join("pgpass"))?;
        let password = lines.lines().next().and_then(|line| line.rsplit(':').next()).unwrap_or_default();
        std::fs::write(stack.state.join("logs/planted.jsonl"), format!("{{\"message\":\"{password}\"}}"))?;
        let (found, _) = search_files(&public_files(&stack), &needles)?;
        anyhow::ensure!(found.iter().any(|found| found.place.ends_with("planted.jsonl")), "a planted password was not found");
        anyhow::Ok(())
    };
    if let Err(error) = work.await {
        panic!("{error:#}\n{}", stack.tail());
    }
    stack.end().await.unwrap();
}

#[test]
fn every_form_of_a_planted_secret_is_found() {
    let secret = "s3cr/t+Pa:ss word&9xYz0123";
    let needles = forms("planted", secret);
    let url: String = secret.bytes().map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") }).collect();
    let mut planted = vec![("plain", secret.to_owned()), ("URL-encoded", url), ("URL-encoded", percent_all(secret.as_bytes()))];
    for (offset, url_safe) in [(0, false), (1, false), (2, false), (0, true), (1, true), (2, true)] {
        planted.push(("base64", base64_at(secret.as_bytes(), offset, url_safe)));
    }
    for (form, text) in planted {
        let hay = format!("{{\"x\":\"before{text}after\"}}");
        let found = search("here", hay.as_bytes(), &needles);
        assert!(found.iter().any(|found| found.form == form), "{form} was not found in {hay}");
    }
    assert!(search("here", b"nothing of it", &needles).is_empty());
}

#[test]
fn base64_is_found_whatever_stands_around_it() {
    let secret = "correcthorsebatterystaple";
    let needles = forms("planted", secret);
    for before in ["", "a", "ab", "abc", "user:", "password="] {
        for after in ["", "!", "!!", "\n"] {
            let text = base64::engine::general_purpose::STANDARD.encode(format!("{before}{secret}{after}"));
            let found = search("here", text.as_bytes(), &needles);
            assert!(found.iter().any(|found| found.form == "base64"), "not found in {text} ({before:?}, {after:?})");
        }
    }
}

#[test]
fn a_value_broken_over_two_pages_is_found_by_its_halves() {
    let secret = "0123456789abcdefghijABCDEFGHIJ";
    let broken = format!("{}\0\0page\0\0{}", &secret[..19], &secret[19..]);
    assert!(!search("here", broken.as_bytes(), &forms("planted", secret)).is_empty());
}
