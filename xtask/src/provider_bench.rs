//! `cargo xtask bench provider`: our providers beside peers on HashiCorp's Go framework, in one run.
use crate::local::release_of;
use anyhow::{Context, Result, ensure};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// A known release of hashicorp/time, built from its Go module.
const TIME: &str = "github.com/hashicorp/terraform-provider-time@v0.13.1";
/// Resources in the measured plans.
const RESOURCES: [u32; 3] = [1, 100, 1000];
/// Starts whose median is told.
const STARTS: usize = 15;
/// Runs of each plan; the median is told.
const PLANS: usize = 3;
/// How often /proc is looked at.
const LOOK_MS: u64 = 5;
/// What Terraform puts into the environment of a plugin.
const COOKIE: &str = "d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2";

/// One provider under measurement.
struct Peer {
    name: &'static str,
    /// `source` in `required_providers`.
    source: &'static str,
    binary: PathBuf,
    /// The module for so many resources; `None` measures start and size only.
    module: Option<fn(u32) -> String>,
}

fn things(kind: &str, count: u32) -> String {
    format!(
        "provider \"{kind}\" {{ folder = \"shelf\" }}\nresource \"{kind}_thing\" \"a\" {{\n  count = {count}\n  name = \"a${{count.index}}\"\n  tags = [\"one\", \
         \"two\"]\n  labels = {{ team = \"web\" }}\n  pooler = {{ mode = \"session\", size = 5 }}\n  rules = [{{ port = 80 }}, {{ port = 443 }}]\n}}\n"
    )
}

fn times(count: u32) -> String {
    format!("resource \"time_static\" \"a\" {{\n  count = {count}\n  triggers = {{ index = count.index }}\n}}\n")
}

fn peers() -> Result<Vec<Peer>> {
    let cache = crate::install::cache().join("peers");
    std::fs::create_dir_all(&cache)?;
    let go = |command: &mut Command| -> Result<()> {
        ensure!(command.status().context("there is no Go to build the peers with")?.success(), "a peer cannot be built");
        Ok(())
    };
    let framework = cache.join("peer-framework");
    go(Command::new("go")
        .args(["build", "-trimpath", "-ldflags=-s -w", "-o"])
        .arg(&framework)
        .arg(".")
        .current_dir(crate::root().join("xtask/peers/framework")))?;
    go(Command::new("go").args(["install", "-trimpath", "-ldflags=-s -w", TIME]).env("GOBIN", &cache))?;
    let kiven = release_of(&["-p", "kiven-terraform-provider"])?.join("terraform-provider-kiven");
    let sink = release_of(&["-p", "kiven-tfplugin", "--example", "kitchen-sink"])?.join("examples/kitchen-sink");
    let peer = |name, source, binary, module| Peer { name, source, binary, module };
    Ok(vec![
        peer("kiven", "kiven/kiven", kiven, None),
        peer("kitchen-sink (tfplugin)", "examples/sink", sink, Some(|count| things("sink", count))),
        peer("peer (Go framework)", "examples/peer", framework, Some(|count| things("peer", count))),
        peer("hashicorp/time", "hashicorp/time", cache.join("terraform-provider-time"), Some(times)),
    ])
}

/// Milliseconds from the start to the handshake line: the median of several.
pub(crate) fn start_ms(binary: &Path) -> Result<f64> {
    let mut all = Vec::new();
    for _ in 0..STARTS {
        let began = Instant::now();
        let mut child = Command::new(binary)
            .env("TF_PLUGIN_MAGIC_COOKIE", COOKIE)
            .env("PLUGIN_PROTOCOL_VERSIONS", "5,6")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("{} cannot be started", binary.display()))?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("it has no output")?).read_line(&mut line)?;
        all.push(began.elapsed().as_secs_f64() * 1000.0);
        child.kill()?;
        child.wait()?;
        ensure!(line.contains("|unix|") || line.contains("|tcp|"), "{} shook no hands: {line}", binary.display());
    }
    Ok(median(all))
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(0.0)
}

/// What a provider's own processes took: CPU seconds of all, and the largest memory of one in MiB.
#[derive(Debug, Default, Clone, Copy)]
struct Taken {
    wall_seconds: f64,
    cpu_seconds: f64,
    peak_mib: f64,
}

/// CPU ticks and peak memory in KiB of a process, when it runs this binary.
fn look(pid: &str, binary: &Path) -> Option<(u64, u64)> {
    let program = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    if program != binary {
        return None;
    }
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.split_whitespace().next()?.parse().ok()?;
    Some((ticks, peak))
}

/// Runs a command and watches the provider's processes beside it.
fn watched(command: &mut Command, binary: &Path) -> Result<Taken> {
    let binary = binary.canonicalize()?;
    let began = Instant::now();
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let mut seen: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let status = loop {
        for entry in std::fs::read_dir("/proc")?.flatten() {
            let Some(pid) = entry.file_name().to_str().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())).map(str::to_owned) else {
                continue;
            };
            if let Some(found) = look(&pid, &binary) {
                seen.insert(pid, found);
            }
        }
        if let Some(status) = child.try_wait()? {
            break status;
        }
        crate::local::pause(LOOK_MS);
    };
    let wall_seconds = began.elapsed().as_secs_f64();
    ensure!(status.success(), "{command:?} failed");
    let ticks: u64 = seen.values().map(|(ticks, _)| ticks).sum();
    let peak = seen.values().map(|(_, peak)| *peak).max().unwrap_or(0);
    // Linux counts 100 ticks a second (proc(5), sysconf(_SC_CLK_TCK)).
    Ok(Taken { wall_seconds, cpu_seconds: ticks as f64 / 100.0, peak_mib: peak as f64 / 1024.0 })
}

/// The module with its provider at hand.
fn prepare(folder: &Path, peer: &Peer, module: &str) -> Result<PathBuf> {
    let plugins = folder.join("plugins");
    std::fs::create_dir_all(folder.join("shelf"))?;
    std::fs::create_dir_all(&plugins)?;
    let kind = peer.source.rsplit('/').next().unwrap_or_default();
    // A copy, so that the processes that are watched are this run's own.
    let binary = plugins.join(format!("terraform-provider-{kind}"));
    std::fs::copy(&peer.binary, &binary)?;
    let rc = format!("provider_installation {{\n  dev_overrides {{ \"{}\" = {plugins:?} }}\n  direct {{}}\n}}\n", peer.source);
    std::fs::write(folder.join("settings.tfrc"), rc)?;
    let required = format!("terraform {{\n  required_providers {{ {kind} = {{ source = \"{}\" }} }}\n}}\n", peer.source);
    std::fs::write(folder.join("main.tf"), required + module)?;
    Ok(binary)
}

/// Plans with refresh of so many resources that are there already.
fn plan(client: &Path, peer: &Peer, module: &str) -> Result<Taken> {
    let folder = std::env::temp_dir().join(format!("kiven-bench-{}", std::process::id()));
    let binary = prepare(&folder, peer, module)?;
    let command = |arguments: &[&str]| {
        let mut command = Command::new(client);
        command.args(arguments).current_dir(&folder).env("TF_CLI_CONFIG_FILE", folder.join("settings.tfrc")).env("CHECKPOINT_DISABLE", "1");
        command
    };
    watched(&mut command(&["apply", "-auto-approve", "-no-color"]), &binary)?;
    let all = (0..PLANS).map(|_| watched(&mut command(&["plan", "-no-color"]), &binary)).collect::<Result<Vec<_>>>()?;
    std::fs::remove_dir_all(&folder)?;
    let of = |pick: fn(&Taken) -> f64| median(all.iter().map(pick).collect());
    Ok(Taken { wall_seconds: of(|one| one.wall_seconds), cpu_seconds: of(|one| one.cpu_seconds), peak_mib: of(|one| one.peak_mib) })
}

/// Measures all, prints the table and holds it against what is promised.
pub(crate) fn run() -> Result<Json> {
    let client = crate::terraform::find()?;
    let peers = peers()?;
    let mut figures = serde_json::Map::new();
    println!("{:<26} {:>9} {:>9}   plan with refresh: wall s / provider's CPU s / peak MiB", "", "start ms", "size MB");
    for peer in &peers {
        let size_mb = std::fs::metadata(&peer.binary)?.len() as f64 / 1e6;
        let start = start_ms(&peer.binary)?;
        let mut own = json!({ "start_ms": start, "size_mb": size_mb });
        let mut line = format!("{:<26} {start:>9.1} {size_mb:>9.1}", peer.name);
        for count in RESOURCES.into_iter().filter(|_| peer.module.is_some()) {
            let module = peer.module.map(|module| module(count)).unwrap_or_default();
            let taken = plan(&client, peer, &module)?;
            line.push_str(&format!("   {count}: {:.2} / {:.2} / {:.1}", taken.wall_seconds, taken.cpu_seconds, taken.peak_mib));
            own[format!("plan_{count}")] =
                json!({ "wall_seconds": taken.wall_seconds, "cpu_seconds": taken.cpu_seconds, "peak_mib": taken.peak_mib });
        }
        println!("{line}");
        figures.insert(peer.name.to_owned(), own);
    }
    let figures = Json::Object(figures);
    promises(&figures)?;
    Ok(figures)
}

/// Most of the peer's CPU that is promised, at every number of resources.
const CPU_MOST: f64 = 0.25;
/// Most of the peer's peak memory that is promised.
const MEMORY_MOST: f64 = 0.1;

/// What is promised of the provider, and whether this run kept it.
///
/// Of memory the largest plan is judged: the program itself, which is all that there is to see with few resources, is a third of
/// the peer's with one resource; what a resource adds to it is what grows.
fn promises(figures: &Json) -> Result<()> {
    let number = |peer: &str, path: &[&str]| path.iter().fold(&figures[peer], |at, name| &at[*name]).as_f64().unwrap_or(f64::INFINITY);
    let beside = |count: u32, what: &str| {
        let plan = format!("plan_{count}");
        number("kitchen-sink (tfplugin)", &[&plan, what]) / number("peer (Go framework)", &[&plan, what])
    };
    let mut rows = vec![
        ("start to handshake, ms".to_owned(), number("kiven", &["start_ms"]), Some(5.0)),
        ("stripped binary, MB".to_owned(), number("kiven", &["size_mb"]), Some(10.0)),
    ];
    let largest = RESOURCES[RESOURCES.len() - 1];
    for count in RESOURCES {
        rows.push((format!("CPU beside the peer, {count} resources"), beside(count, "cpu_seconds"), Some(CPU_MOST)));
        let most = (count == largest).then_some(MEMORY_MOST);
        rows.push((format!("peak memory beside the peer, {count} resources"), beside(count, "peak_mib"), most));
    }
    let mut broken = 0;
    for (what, found, most) in rows {
        let kept = most.is_none_or(|most| found <= most);
        let most = most.map_or_else(|| "not judged".to_owned(), |most| format!("at most {most}"));
        println!("{what:<46} {found:>7.2}  {most}{}", if kept { "" } else { "  BROKEN" });
        broken += usize::from(!kept);
    }
    ensure!(broken == 0, "{broken} promises are broken");
    Ok(())
}
