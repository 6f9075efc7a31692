//! What the demo and the tests need from the machine, by package name.
use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Debian's packages, each with a program or file that shows it is there.
const PACKAGES: [(&str, &[&str]); 3] = [
    ("postgresql", &["/usr/lib/postgresql"]),
    ("pgbouncer", &["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"]),
    // Virtual wall time for `kiven dev --clock`.
    ("faketime", &["/usr/bin/faketime"]),
];
/// The client that is built where there is neither Terraform nor OpenTofu.
const OPENTOFU: &str = "github.com/opentofu/opentofu";
const OPENTOFU_VERSION: &str = "v1.12.6";
/// What holds dependencies against `deny.toml`.
const DENY_VERSION: &str = "0.20.2";

/// What functions are packaged with.
pub(crate) const PACKAGING: &str = "xtask/packaging/requirements.txt";

/// Python packages of the tests, each in an environment of its own: the package, its list of versions, what shows it is there,
/// and which tests are skipped without it.
const PYTHON: [(&str, &str, &str, &str); 3] = [
    ("schemathesis", "tests/schemathesis/requirements.txt", "bin/schemathesis", "the test of the API's contract"),
    ("ministack", "tests/ministack/requirements.txt", "bin/ministack", "the tests of the AWS adapters"),
    ("cargo-zigbuild", PACKAGING, "bin/cargo-zigbuild", "functions for other machines than this one"),
];

/// What the store's contract is held against, with its version: a list for Maven.
const DYNAMODB_LOCAL: &str = "tests/dynamodb-local/pom.xml";

/// Where what we install for ourselves is kept, outside of the clone.
pub(crate) fn cache() -> PathBuf {
    let cache =
        std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    cache.unwrap_or_else(std::env::temp_dir).join("kiven")
}

/// Installs what is missing.
pub(crate) fn run() -> Result<()> {
    let missing: Vec<&str> =
        PACKAGES.into_iter().filter(|(_, shown)| !shown.iter().any(|path| Path::new(path).exists())).map(|(name, _)| name).collect();
    if !missing.is_empty() {
        ensure!(on_path("apt-get"), "missing: {}. Install them with your system's package manager.", missing.join(", "));
        println!("installing {}", missing.join(", "));
        call(Command::new("apt-get").arg("update").arg("-qq"))?;
        call(Command::new("apt-get").args(["install", "-y", "-qq", "--no-install-recommends"]).args(&missing))?;
    }
    if crate::terraform::find().is_err() {
        opentofu()?;
    }
    for (package, list, shown, tests) in PYTHON {
        if let Err(error) = python(package, list, shown) {
            println!("{package} is not installed, so {tests} will be skipped: {error:#}");
        }
    }
    if let Err(error) = crate::manifests::fetch() {
        println!("the manifests of CloudNativePG are not here, so the tests of what they hold will be skipped: {error:#}");
    }
    if let Err(error) = dynamodb_local() {
        println!("DynamoDB Local is not installed, so the store's contract will not be held against it: {error:#}");
    }
    Ok(())
}

/// Fetches DynamoDB Local with Maven, as the machine configures it.
fn dynamodb_local() -> Result<()> {
    let pom = crate::root().join(DYNAMODB_LOCAL);
    let text = std::fs::read_to_string(&pom).context("the list of Java packages is missing")?;
    let version = text.split_once("<artifactId>DynamoDBLocal</artifactId>").and_then(|(_, rest)| rest.split_once("<version>"));
    let version = version.and_then(|(_, rest)| rest.split_once("</version>")).context("DynamoDB Local has no version")?.0;
    let folder = cache().join(format!("dynamodb-local-{version}"));
    if folder.join("installed").exists() {
        return Ok(());
    }
    ensure!(on_path("java") && on_path("mvn"), "there is no java or no mvn");
    println!("fetching DynamoDB Local {version}");
    let mut maven = Command::new("mvn");
    maven.args(["-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime", "-f"]).arg(&pom);
    call(maven.arg(format!("-DoutputDirectory={}", folder.join("lib").display())))?;
    // Written last: half a folder is none.
    Ok(std::fs::write(folder.join("installed"), version)?)
}

/// The environment of a package, of the version that its list names.
pub(crate) fn python_folder(package: &str, list: &str) -> Result<PathBuf> {
    let text = std::fs::read_to_string(crate::root().join(list)).context("the list of Python packages is missing")?;
    let pinned = format!("{package}==");
    let version = text.lines().find_map(|line| line.strip_prefix(&pinned)).with_context(|| format!("{package} has no version"))?;
    Ok(cache().join(format!("{package}-{version}")))
}

/// Makes a Python environment in the cache and installs a package into it, through pip as the machine configures it.
fn python(package: &str, list: &str, shown: &str) -> Result<()> {
    let requirements = crate::root().join(list);
    let text = std::fs::read_to_string(&requirements).context("the list of Python packages is missing")?;
    let folder = python_folder(package, list)?;
    let installed = folder.join("requirements.txt");
    if folder.join(shown).exists() && std::fs::read_to_string(&installed).is_ok_and(|before| before == text) {
        return Ok(());
    }
    ensure!(on_path("python3"), "there is no python3");
    println!("installing {}", folder.file_name().unwrap_or_default().display());
    if !Command::new("python3").args(["-c", "import ensurepip"]).stderr(Stdio::null()).status()?.success() && on_path("apt-get") {
        call(Command::new("apt-get").args(["install", "-y", "-qq", "--no-install-recommends", "python3-venv"]))?;
    }
    call(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
    call(Command::new(folder.join("bin/pip")).args(["install", "--quiet", "--disable-pip-version-check", "--requirement"]).arg(&requirements))?;
    std::fs::write(&installed, text).with_context(|| format!("cannot write {}", installed.display()))
}

/// What hands a linker for every glibc to cargo; installed when it is missing.
pub(crate) fn packaging() -> Result<PathBuf> {
    python("cargo-zigbuild", PACKAGING, "bin/cargo-zigbuild")?;
    python_folder("cargo-zigbuild", PACKAGING)
}

/// The PATH with a folder before all others.
pub(crate) fn path_with(folder: PathBuf) -> Result<std::ffi::OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    Ok(std::env::join_paths(std::iter::once(folder).chain(std::env::split_paths(&path)))?)
}

/// Builds what checks licences and duplicates of dependencies, once; where it cannot be built, that check is skipped.
pub(crate) fn deny() {
    if deny_if_there().is_some() {
        return;
    }
    println!("building cargo-deny {DENY_VERSION} (once; minutes)");
    let mut cargo = Command::new(env!("CARGO"));
    // A target folder of its own, which cargo removes: the shared one would keep all of it.
    cargo.args(["install", "--quiet", "--locked", "cargo-deny", "--version", DENY_VERSION, "--root"]).arg(deny_root());
    if let Err(error) = call(cargo.env_remove("CARGO_TARGET_DIR").env("CARGO_PROFILE_RELEASE_LTO", "off")) {
        println!("cargo-deny is not installed, so licences and duplicates of dependencies will not be checked: {error:#}");
    }
}

fn deny_root() -> PathBuf {
    cache().join(format!("cargo-deny-{DENY_VERSION}"))
}

/// cargo-deny, when it is there already.
pub(crate) fn deny_if_there() -> Option<PathBuf> {
    let own = deny_root().join("bin/cargo-deny");
    if own.exists() { Some(own) } else { on_path("cargo-deny").then(|| PathBuf::from("cargo-deny")) }
}

pub(crate) fn on_path(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

fn call(command: &mut Command) -> Result<()> {
    let status = command.env("DEBIAN_FRONTEND", "noninteractive").status().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(status.success(), "{command:?} failed");
    Ok(())
}

/// OpenTofu, when it is there already.
pub(crate) fn tofu_if_there() -> Option<PathBuf> {
    let own = crate::terraform::own_client();
    if on_path("tofu") { Some(PathBuf::from("tofu")) } else { own.exists().then_some(own) }
}

/// Whether Go is there.
pub(crate) fn has_go() -> bool {
    Command::new("go").arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// OpenTofu: the one on the PATH, or one that is built once and kept.
pub(crate) fn tofu() -> Result<PathBuf> {
    if tofu_if_there().is_none() {
        opentofu()?;
    }
    tofu_if_there().context("OpenTofu was built, and is not there")
}

/// Builds OpenTofu from the Go module proxy, with the replacements of its own go.mod, which a dependent module must repeat.
fn opentofu() -> Result<()> {
    if !has_go() {
        bail!("neither terraform nor tofu (1.8 or newer) is on the PATH, and there is no Go to build OpenTofu with: install one of them");
    }
    println!("building OpenTofu {OPENTOFU_VERSION} with Go");
    let scratch = std::env::temp_dir().join("kiven-opentofu");
    std::fs::create_dir_all(&scratch)?;
    let go = |arguments: &[&str]| -> Result<String> {
        let output = Command::new("go").args(arguments).current_dir(&scratch).env("GOFLAGS", "-mod=mod").stderr(Stdio::inherit()).output()?;
        ensure!(output.status.success(), "go {} failed", arguments.join(" "));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let module = format!("{OPENTOFU}@{OPENTOFU_VERSION}");
    let described: serde_json::Value = serde_json::from_str(&go(&["mod", "download", "-json", &module])?)?;
    let own = std::fs::read_to_string(described["GoMod"].as_str().context("Go does not say where go.mod is")?)?;
    let replacements: Vec<&str> = own.lines().filter(|line| line.contains("=>")).map(|line| line.trim_start_matches("replace ").trim()).collect();
    let mut text = format!("module scratch\n\ngo 1.25\n\nrequire {OPENTOFU} {OPENTOFU_VERSION}\n\n");
    for replacement in replacements {
        text.push_str(&format!("replace {replacement}\n"));
    }
    std::fs::write(scratch.join("go.mod"), text)?;
    std::fs::write(scratch.join("tools.go"), format!("//go:build tools\n\npackage scratch\n\nimport _ \"{OPENTOFU}/cmd/tofu\"\n"))?;
    let target = crate::terraform::own_client();
    std::fs::create_dir_all(target.parent().context("no folder for the client")?)?;
    go(&["build", "-o", &target.display().to_string(), &format!("{OPENTOFU}/cmd/tofu")])?;
    Ok(())
}
